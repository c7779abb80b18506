"""The audit of a network: fleets and retrained models trained where they are not at hand, and attacked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from certify.attacks.audits.membership import require_models
from certify.attacks.audits.request import require_retrained
from certify.core.interrupts import when_interrupted
from certify.gate.audits.coins import audit_coins
from certify.gate.audits.ensembles import method_at_work, read_audited
from certify.gate.audits.fleets_run import play_fleets
from certify.gate.audits.forecast import expected
from certify.gate.audits.observe import Fleets
from certify.gate.audits.plan import LONG, shown_seconds
from certify.gate.audits.review import Review
from certify.gate.audits.seen import Seen
from certify.gate.load import LoadedSpec
from certify.gate.spec import AuditSpec


def look_at_networks(
    seen: Seen, given: AuditSpec, device: str | None, tell: Callable[[str], None], *, restart: bool
) -> None:
    """Train, unlearn and attack what the spec asks for.

    Args:
        seen: filled with what was found.
        given: the spec's audit.
        device: instead of the spec's.
        tell: called with one line on what is worth knowing while it goes on.
        restart: train all models anew.

    Raises:
        ConfigurationError, InputError, TooLittlePowerError: as for :func:`certify.gate.audits.run.audit`.
    """
    plan, release = seen.plan, seen.loaded.spec.release
    if plan.membership:
        require_models(given.models)  # too few are refused before any is trained
    inputs = read_audited(seen.loaded, device)
    seen.inputs = inputs
    seen.left_out += inputs.left_out
    method = method_at_work(seen.loaded, inputs) if plan.membership else None
    named = release.unlearner or "a method that is not named"
    ensembles = None if inputs.ensembles is None else inputs.ensembles.replay
    seen.method = next((one.identity for one in (method, ensembles) if one is not None), named)
    fleets = Fleets(seen.loaded, inputs, plan, method, tell, restart=restart)
    needs_retrained = bool(plan.request) or plan.coins
    if plan.membership or (needs_retrained and not release.retrained):
        fleets.require_training()
    if needs_retrained:
        if not release.retrained:
            require_retrained(given.replicates)
        fleets.require_room_for_weights()
    seen.source = "fleet" if plan.membership or not release.retrained else "checkpoints"
    with when_interrupted(fleets.left), _executor(seen.loaded, fleets):
        seen.forecast = expected(fleets, plan)
        _announce(seen.forecast, f" {given.models:,} shadow models" if plan.membership else "", tell)
        if plan.membership:
            play_fleets(seen, given, fleets)
        if needs_retrained:
            seen.review = Review.of(seen.loaded, inputs, fleets)
    if seen.review is not None:
        seen.request += seen.review.audits(plan, given)
        seen.left_out += seen.review.left_out
        if plan.coins:
            seen.request.append(audit_coins(seen.loaded, seen.review, plan))
    seen.trained, seen.kept = fleets.trained, fleets.kept
    if seen.kept:  # a forecast of all of it says nothing of a run that made a part
        seen.forecast = None


def _announce(seconds: float | None, what: str, tell: Callable[[str], None]) -> None:
    if seconds is not None and seconds >= LONG:
        tell(f"about {shown_seconds(seconds)} to train and unlearn{what}; `certify audit --forecast` says for what")


@contextmanager
def _executor(loaded: LoadedSpec, fleets: "Fleets") -> Iterator[None]:
    """Blocks are made on the machines of [compute] scheduler, where one is named."""
    address = loaded.spec.compute.scheduler
    if address is None:
        yield
        return
    from certify.attacks.fleets.executors import dask_client, prepare_workers

    release = loaded.spec.release
    modules = [name.partition(":")[0] for name in (release.architecture, release.train) if name]
    with dask_client(address) as client:
        prepare_workers(client, str(loaded.path.resolve().parent), modules)
        fleets.executor = client
        yield
