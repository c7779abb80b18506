"""An audit from start to end: what the spec asks for, trained, looked at, judged."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from certify.attacks.audits.doing_nothing import without_empty_passes, without_passes_of_ruined
from certify.attacks.audits.findings import RequestAudit
from certify.attacks.audits.fleet import FleetAudit, audit_fleet
from certify.attacks.audits.membership import ENOUGH_MODELS, Levels, require_models
from certify.attacks.audits.request import audit_release, require_retrained
from certify.attacks.observations import Cell, Observations
from certify.core.arguments import as_whole
from certify.core.arrays import IntArray
from certify.core.errors import ArgumentError, ConfigurationError, TooLittlePowerError
from certify.core.interrupts import when_interrupted
from certify.gate.audits.coins import audit_coins, audit_given_coins
from certify.gate.audits.early import Early, watched
from certify.gate.audits.plan import Plan, plan_of, pool_size
from certify.gate.audits.scores import Scores, read_scores
from certify.gate.audits.seen import Seen
from certify.gate.check import CheckResult
from certify.gate.inputs import load_inputs
from certify.gate.load import LoadedSpec, load_spec
from certify.gate.measure import measure
from certify.gate.spec import AuditSpec

if TYPE_CHECKING:
    from certify.gate.audits.observe import Fleets

_LONG = 60.0
"""Seconds that are worth a line before they are spent."""


def audit(
    spec: str | Path | None = None,
    *,
    models: int | None = None,
    device: str | None = None,
    restart: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> CheckResult:
    """Run the audits of a spec.

    Args:
        spec: path of the spec; certify.toml or [tool.certify] of pyproject.toml when absent.
        models: shadow models, instead of the spec's.
        device: instead of the spec's.
        restart: train all models anew.
        tell: called with one line on what is worth knowing while it goes on.

    Raises:
        ConfigurationError, InputError: what the spec says or names makes no sense (exit 2 on the command line).
        TooLittlePowerError: too few models for any answer (exit 3).
        AssumptionViolatedError: nothing can be audited (exit 4).
    """
    models = _as_models(models)
    return audit_loaded(load_spec(spec), models=models, device=device, restart=restart, tell=tell)


def audit_loaded(
    loaded: LoadedSpec,
    *,
    models: int | None = None,
    device: str | None = None,
    restart: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> CheckResult:
    """:func:`audit` of a spec that was read before."""
    from certify.gate.audits.document import audit_document

    loaded = _with_models(loaded, models)
    plan, given = plan_of(loaded), _given(loaded)  # refuses an impossible [audit] before anything is read
    _refuse_models(plan, given, models)
    if loaded.spec.release.kind == "glm":
        return _of_linear(loaded, models)
    levels = Levels(plan.fpr, given.confidence, 1 - plan.alpha / plan.findings, plan.delta)
    seen = Seen(loaded, plan, levels, asked=models)
    begun = time.monotonic()
    if given.scores is not None:
        _look_at_scores(seen, given)
    else:
        _look_at_networks(seen, given, device, tell, restart=restart)
    seen.seconds = time.monotonic() - begun
    return CheckResult(audit_document(seen))


def _of_linear(loaded: LoadedSpec, models: int | None) -> CheckResult:
    """A linear model's attacks, held against its certificate."""
    from certify.gate.audits.linear_document import linear_document
    from certify.gate.audits.linear_run import audit_linear

    inputs = load_inputs(loaded)
    measured = measure(inputs.problem, inputs.model.parameters, loaded.spec.policy, inputs.noise_shape)
    seen = audit_linear(inputs, measured)
    seen.asked = models
    return CheckResult(linear_document(seen))


def _given(loaded: LoadedSpec) -> AuditSpec:
    assert loaded.spec.audit is not None  # plan_of refuses a spec without it
    return loaded.spec.audit


def _as_models(models: int | None) -> int | None:
    """An argument of ours, as the spec's own key is checked."""
    if models is None:
        return None
    count = as_whole(models, "models")
    if count < 2:
        raise ArgumentError(f"must be at least 2, not {count}", where="models", mend="train shadow models")
    return count


def _refuse_models(plan: Plan, given: AuditSpec, models: int | None) -> None:
    """A number of shadow models that nobody would train is not passed over in silence.

    Raises:
        ConfigurationError: the scores were made elsewhere, or no attack is on shadow models.
    """
    if models is None:
        return
    if given.scores is not None:
        raise ConfigurationError(
            "the scores hold the models that there are", where="models", mend="leave it out, or score more models"
        )
    if not plan.membership:
        raise ConfigurationError(
            "no attack of the spec is on shadow models",
            where="models",
            mend="leave it out; audit.replicates says how many models of this request are retrained",
        )


def _with_models(loaded: LoadedSpec, models: int | None) -> LoadedSpec:
    if models is None or loaded.spec.audit is None:
        return loaded
    changed = loaded.spec.audit.model_copy(update={"models": models})
    return replace(loaded, spec=loaded.spec.model_copy(update={"audit": changed}))


def _play(seen: Seen, name: str, observations: Observations) -> None:
    """All membership attacks on one fleet."""
    given, plan = _given(seen.loaded), seen.plan
    found = audit_fleet(
        observations,
        plan.membership,
        plan.games,
        seen.levels,
        rates=plan.rates,
        epsilon=plan.epsilon,
        slice_name=name,
        seed=given.seed,
    )
    _keep(seen, name, observations, found)


def _keep(seen: Seen, name: str, observations: Observations, found: FleetAudit) -> None:
    left = without_empty_passes(found, observations, seen.levels, seen.plan.rates)
    seen.fleets[name] = (observations, without_passes_of_ruined(left, seen.plan.games))
    seen.left_out += found.left_out


def _look_at_scores(seen: Seen, given: AuditSpec) -> None:
    """Scores made elsewhere: nothing is trained or loaded."""
    assert given.scores is not None
    scores = read_scores(seen.loaded.resolve(given.scores), given.scale)
    seen.source, seen.scores = "scores", scores
    if scores.cut is not None:
        seen.notes.append(f"scores: {scores.cut}")
    release = seen.loaded.spec.release
    seen.method = release.unlearner or "a method that is not named"
    if seen.plan.membership:
        reasons = {game: _cannot_be_played(scores.fleet, game) for game in seen.plan.games}
        games = tuple(game for game, reason in reasons.items() if reason is None)
        seen.left_out += [f"the game {game}: {reason}" for game, reason in reasons.items() if reason is not None]
        if games:
            seen.plan = replace(seen.plan, games=games)
            with _naming(scores):
                _play(seen, "all", scores.fleet)
    for name in seen.plan.request:
        if name == "release-lira" and scores.release is not None and scores.retrained is not None:
            with _naming(scores):
                seen.request.append(_release(seen, scores.release, scores.retrained, scores.original))
        else:
            seen.left_out.append(f"{name}: the scores do not hold what it needs")
    if seen.plan.coins:
        seen.request.append(audit_given_coins(seen.loaded, scores, seen.plan))


@contextmanager
def _naming(scores: Scores) -> Iterator[None]:
    """Too few models are said of the scores file, with the array that is to blame."""
    try:
        yield
    except TooLittlePowerError as error:
        mend = f"score {ENOUGH_MODELS} models of each world or more"
        what = error.what if scores.cut is None else f"{error.what} ({scores.cut})"
        if scores.cut is not None and scores.cut.startswith("'original' has 1 row "):
            mend += "; the one model before the deletion is release_original"
        raise TooLittlePowerError(what, where=scores.record.path, mend=mend) from None


def _cannot_be_played(fleet: Observations, game: str) -> str | None:
    """Why the assignment has no trials for a game; None where it has."""
    cells = {"retrain": (Cell.FORGET,), "privacy": (Cell.FORGET, Cell.OUT), "retain-side": (Cell.RETAIN, Cell.OUT)}
    masks = [fleet.assignment == int(cell) for cell in cells[game]]
    if not all(mask.any() for mask in masks):
        return "the scores hold no records for it"
    if game == "privacy" and not fleet.has("retrained"):
        # whole classes forgotten together, say, look unlike records never seen to honest retraining as well
        return "without retrained models nothing shows that records were given to forget by chance, one by one"
    tried, both = masks[0].any(axis=0), masks[0].any(axis=0) & masks[-1].any(axis=0)
    if 2 * np.count_nonzero(both) < np.count_nonzero(tried):
        return "most records are on one side of it in all models, so that hard records could not be told from remembered ones"
    return None


def _release(seen: Seen, released: object, retrained: object, original: object) -> RequestAudit:
    return audit_release(
        np.asarray(released, dtype=np.float64),
        np.asarray(retrained, dtype=np.float64),
        None if original is None else np.asarray(original, dtype=np.float64),
        fpr=seen.plan.fpr,
        limit=seen.plan.rates["retrain"],
        confidence=1 - seen.plan.alpha,
    )


def _look_at_networks(
    seen: Seen, given: AuditSpec, device: str | None, tell: Callable[[str], None], *, restart: bool
) -> None:
    from certify.gate.audits.ensembles import method_at_work, read_audited
    from certify.gate.audits.forecast import expected, shown_seconds
    from certify.gate.audits.observe import Fleets
    from certify.gate.audits.review import Review

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
    if needs_retrained and not release.retrained:
        require_retrained(given.replicates)
    seen.source = "fleet" if plan.membership or not release.retrained else "checkpoints"
    with when_interrupted(fleets.left), _executor(seen.loaded, fleets):
        seen.forecast = expected(fleets, plan)
        if seen.forecast is not None and seen.forecast >= _LONG:
            tell(f"about {shown_seconds(seen.forecast)} to train and unlearn; `certify audit --forecast` says for what")
        if plan.membership:
            _play_fleets(seen, given, fleets)
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


def _play_fleets(seen: Seen, given: AuditSpec, fleets: "Fleets") -> None:
    """One fleet for each kind of forget set; the hard ones are chosen by the random one, or by the records themselves."""
    wanted = list(dict.fromkeys(given.forget_sets))
    if "memorised" in wanted and "random" not in wanted:
        wanted.insert(0, "random")
    first: Observations | None = None
    for kind in wanted:
        blocks = fleets.by_chance(kind, None if kind == "random" else _hard(kind, seen, given, first))
        name = "all" if kind == "random" else kind
        if kind not in given.forget_sets or not (given.stop_early and watched(seen.plan.membership)):
            observations = Observations.join(list(blocks))
            if kind in given.forget_sets:
                _play(seen, name, observations)
        else:
            observations = _watch(seen, name, blocks)
        first = observations if kind == "random" else first


def _watch(seen: Seen, name: str, blocks: Iterator[Observations]) -> Observations:
    """The same with a look after each block."""
    early = Early(seen.plan, seen.levels, _given(seen.loaded).seed, name)
    with closing(blocks):  # type: ignore[type-var]  # a generator
        observations, stopped = early.watch(blocks)
    found = stopped or early.corrected(early.audit(observations))
    _keep(seen, name, observations, found)
    looked = f"stopped after {observations.models} models" if stopped else "went to the last model"
    seen.notes.append(
        f"{name}: looked after each block, {looked}; p-values hold at any time (at least {early.p_value:.2g})"
    )
    return observations


def _hard(kind: str, seen: Seen, given: AuditSpec, first: Observations | None) -> IntArray:
    """The pool of hard records."""
    from certify.attacks import worst_case

    assert seen.inputs is not None
    X = np.asarray(seen.inputs.task.X)
    features = X.reshape(len(X), -1).astype(np.float64)
    size = pool_size(len(X), len(seen.inputs.request.forgotten), given)
    size = min(size, max(64, len(X) // 4))  # the hardest quarter at most, or "hard" would mean nothing
    if kind == "memorised":
        assert first is not None
        scores = worst_case.memorisation(first.get("original"), first.assignment != int(Cell.OUT)).gap
        size = min(size, int(np.isfinite(scores).sum()))
    elif kind == "outliers":
        scores = worst_case.outlyingness(features)
    else:
        return worst_case.coherent_cluster(features, size, seed=given.seed)
    return worst_case.hardest(scores, size, seed=given.seed)


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


def forecast_audit(spec: str | Path | None = None, *, models: int | None = None, device: str | None = None) -> str:
    """What an audit will train, and about how long that takes; nothing is trained but a few steps.

    Raises:
        ConfigurationError, InputError, TooLittlePowerError: as for :func:`audit`.
    """
    from certify.gate.audits.forecast import forecast

    models = _as_models(models)
    loaded = _with_models(load_spec(spec), models)
    plan = plan_of(loaded)
    _refuse_models(plan, _given(loaded), models)
    if loaded.spec.release.kind == "glm":
        from certify.gate.audits.linear_run import forecast_linear

        return forecast_linear(load_inputs(loaded), plan, _given(loaded))
    return forecast(loaded, plan, device)
