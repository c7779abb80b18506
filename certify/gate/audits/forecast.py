"""What an audit will cost, told before the first training."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from certify.attacks.audits.membership import require_models
from certify.attacks.fleets.cost import Cost
from certify.attacks.fleets.cost import forecast as of_fleet
from certify.attacks.fleets.fleet import begun
from certify.attacks.fleets.plan import FleetPlan
from certify.attacks.fleets.store import FleetStore
from certify.core.arrays import AnyArray
from certify.core.errors import CertifyError
from certify.gate.audits.ensembles import Replay, method_at_work, read_audited
from certify.gate.audits.method import Method
from certify.gate.audits.observe import Fleets
from certify.gate.audits.plan import Plan, shown_seconds
from certify.gate.audits.sets import kinds_of, with_their_source
from certify.gate.load import LoadedSpec

_ENOUGH = 1024
"""Models whose records are drawn for a forecast; a million would take minutes to draw."""


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
        require_models(given.models)
    inputs = read_audited(loaded, device)
    method = method_at_work(loaded, inputs) if plan.membership else None
    fleets = Fleets(loaded, inputs, plan, method, lambda _: None)
    return _costs(fleets, _fleets(fleets, plan))


@dataclass(frozen=True, eq=False)
class _Fleet:
    """A fleet that an audit trains, and the names of all that cost as much; of many models the first rows, one being like the other."""

    names: tuple[str, ...]
    models: int
    rows: AnyArray
    plan: FleetPlan
    method: Method | Replay | None


def _fleets(fleets: Fleets, plan: Plan) -> Iterator[_Fleet]:
    given = fleets.loaded.spec.audit
    assert given is not None
    if plan.membership:
        fleets.require_training()
        few = min(given.models, _ENOUGH)
        kinds = with_their_source(kinds_of(given, fleets.inputs))
        if "request" in kinds:
            plan_of_it = fleets.plan_by_chance("request")
            rows = fleets.assignment("request", models=few)
            yield _Fleet(("forget sets, request",), given.models, rows, plan_of_it, fleets.method)
        names = tuple(f"forget sets, {kind}" for kind in kinds if kind != "request")
        if names:
            rows = fleets.assignment("random", models=few)
            yield _Fleet(names, given.models, rows, fleets.plan_by_chance("random"), fleets.method)
    if (plan.request or plan.coins) and not fleets.loaded.spec.release.retrained:
        fleets.require_training()
        rows, how = fleets.assignment_of_this_request(), fleets.plan_of_this_request()
        names = ("retrained models of this request",)
        if "parameter-distance" in plan.request and fleets.couples:
            names = (*names, "retrained from the initial weights")
        yield _Fleet(names, len(rows), rows, how, None)


def _costs(fleets: Fleets, trained: Iterable[_Fleet], store: FleetStore | None = None) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    for one in trained:
        whole = len(one.rows) == one.models  # what is found out about a part of a fleet is not kept as its own
        cost = of_fleet(fleets.task, one.plan, one.rows, one.method, store=store if whole else None)
        found |= dict.fromkeys(one.names, cost if whole else cost.of(one.models))
    return found


def expected(fleets: Fleets, plan: Plan) -> float | None:
    """Seconds that training and unlearning will take, before the first training.

    None where that is not to be had for a few steps: an earlier run began the same audit, a cluster makes the blocks, or the user's own
    function trains, which would have to be run. What is wrong with the fleet is left for its run to say.
    """
    store = fleets.store()
    if fleets.executor is not None or fleets.inputs.task.train is not None:
        return None
    try:
        trained = list(_fleets(fleets, plan))
        if store is not None and not fleets.restart and any(_begun(fleets, one, store) for one in trained):
            return None
        return sum(cost.seconds for cost in _costs(fleets, trained, store).values()) or None
    except CertifyError:
        return None


def _begun(fleets: Fleets, one: "_Fleet", store: FleetStore) -> bool:
    return begun(fleets.task, one.plan, one.models, one.method, store)
