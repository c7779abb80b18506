"""What an audit will cost, told before the first training."""

from certify.attacks.audits.membership import references_and_targets
from certify.attacks.fleets.assignment import fixed_assignment
from certify.attacks.fleets.cost import Cost
from certify.attacks.fleets.cost import forecast as of_fleet
from certify.gate.audits.method import Method, method_of
from certify.gate.audits.observe import Fleets
from certify.gate.audits.plan import Plan
from certify.gate.load import LoadedSpec
from certify.gate.networks import read_network_inputs


def forecast(loaded: LoadedSpec, plan: Plan, device: str | None) -> str:
    """The forecast in words, one line a fleet.

    Raises:
        ConfigurationError, InputError, TooLittlePowerError: as for the audit itself.
    """
    given = loaded.spec.audit
    assert given is not None
    if given.scores is not None:
        return "nothing is trained: the scores were made elsewhere"
    costs = costs_of(loaded, plan, device)
    if not costs:
        return "nothing is trained: the weights were made elsewhere"
    total = sum(cost.seconds for cost in costs.values())
    lines = [f"{name}: {cost}" for name, cost in costs.items()]
    return "\n".join(
        [*lines, f"in all about {shown_seconds(total)}; what is kept in {given.cache} is not trained again"]
    )


def costs_of(loaded: LoadedSpec, plan: Plan, device: str | None) -> dict[str, Cost]:
    """The forecast of each fleet."""
    given = loaded.spec.audit
    assert given is not None
    if plan.membership:
        references_and_targets(given.models)
    inputs = read_network_inputs(loaded, device, needs_original=False)
    method = Method(method_of(loaded), inputs.task) if plan.membership else None
    fleets = Fleets(loaded, inputs, plan, method, lambda _: None)
    found: dict[str, Cost] = {}
    if plan.membership:
        fleets.require_training()
        kinds = dict.fromkeys([*(["random"] if "memorised" in given.forget_sets else []), *given.forget_sets])
        one = of_fleet(fleets.task, fleets.fleet_plan(), fleets.assignment("random"), method)
        found |= {f"forget sets, {kind}": one for kind in kinds}
    if (plan.request or plan.coins) and not loaded.spec.release.retrained:
        fleets.require_training()
        rows = fixed_assignment(given.replicates, len(inputs.task), forget=inputs.request.forgotten)
        found["retrained models of this request"] = of_fleet(
            fleets.task, fleets.fleet_plan(worlds=("retrained",)), rows
        )
        if "parameter-distance" in plan.request and fleets.couples:
            found["retrained from the initial weights"] = found["retrained models of this request"]
    return found


def shown_seconds(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
