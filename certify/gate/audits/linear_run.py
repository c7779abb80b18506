"""The audit of a linear model from start to end: attacks on this very release, and on shadow models of the method."""

import time
from collections.abc import Callable

import numpy as np

from certify.attacks import worst_case
from certify.attacks.audits.fleet import audit_fleet
from certify.attacks.audits.instance import Instance, audit_instance
from certify.attacks.audits.membership import Levels, require_models
from certify.attacks.audits.rebuilding import audit_reconstruction
from certify.attacks.observations import Cell, Observations
from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import ConfigurationError
from certify.core.rounding import format_upper
from certify.core.streams import stream
from certify.gate.audits.linear import Linear, fit, noisy, observe
from certify.gate.audits.method import described, method_of
from certify.gate.audits.plan import Plan, plan_of, pool_size, shown_seconds
from certify.gate.audits.seen import Seen
from certify.gate.inputs import Inputs
from certify.gate.load import LoadedSpec
from certify.gate.measure import Measurement, measure
from certify.gate.spec import AuditSpec

_PAIRS = 20
"""Draws of the noise on both versions that reconstruction is tried on."""
_OTHERS = 2000
"""Retained records, at most, that reconstruction is compared with."""


def audit_linear(inputs: Inputs, measured: Measurement) -> Seen:
    """Run the attacks of [audit] on a linear model and its certificate.

    Args:
        inputs: what the spec names.
        measured: the certificate that attacks are held against.

    Raises:
        ConfigurationError, InputError: what [audit] says or names makes no sense.
        TooLittlePowerError: too few shadow models.
    """
    loaded = inputs.loaded
    plan, given = plan_of(loaded), loaded.spec.audit
    assert given is not None  # plan_of refuses a spec without it
    _refuse_foreign(loaded, given)
    seen = Seen(loaded, plan, Levels(plan.fpr, given.confidence, 1 - plan.alpha / plan.findings, plan.delta))
    seen.linear = Linear(inputs, measured)
    seen.left_out = [f"{name}: it is for networks alone" for name in plan.skipped]
    begun = time.monotonic()
    if plan.membership:
        _play(seen, seen.linear, given)
    else:
        seen.source, seen.method = "checkpoints", loaded.spec.release.unlearner or "the model under review"
    for name in plan.instance:
        (_likelihood_ratio if name == "likelihood-ratio" else _reconstruction)(seen, seen.linear, given)
    seen.seconds = time.monotonic() - begun
    return seen


def _refuse_foreign(loaded: LoadedSpec, given: AuditSpec) -> None:
    for name in ("scores", "canaries"):
        if getattr(given, name) is not None:
            raise ConfigurationError(
                "is for networks: linear models are refitted here",
                where=f"{loaded.path}: audit.{name}",
                mend="remove it",
            )
    if "request" in given.forget_sets:
        raise ConfigurationError(
            '"request" is for networks: refitted on this request, a linear model is the same each time, and its certificate is of it',
            where=f"{loaded.path}: audit.forget_sets",
            mend='use "random" or "memorised"',
        )


def _play(seen: Seen, linear: Linear, given: AuditSpec) -> None:
    """One fleet for each kind of forget set, as for networks; an attack's epsilon must not exceed the shadows' certificates."""
    require_models(given.models)  # too few are refused before any is fitted
    unlearner = method_of(seen.loaded, "convex")
    seen.method = described(unlearner)
    wanted = list(dict.fromkeys(given.forget_sets))
    if "memorised" in wanted and "random" not in wanted:
        wanted.insert(0, "random")
    first: Observations | None = None
    for kind in wanted:
        hard = None if kind == "random" else _hard(kind, linear, given, first)
        observations = observe(linear, unlearner, given, kind=kind, hard=hard)
        first = observations if kind == "random" else first
        seen.trained += 2 * given.models
        if kind not in given.forget_sets:
            continue
        name = "all" if kind == "random" else kind
        certified = float(np.max(linear.certified[name]))
        found = audit_fleet(
            observations,
            seen.plan.membership,
            seen.plan.games,
            seen.levels,
            rates=seen.plan.rates,
            epsilon=min(seen.plan.epsilon, certified),
            slice_name=name,
            seed=given.seed,
        )
        seen.fleets[name] = (observations, found)
        seen.left_out += found.left_out
        seen.notes.append(f"{name}: shadow models are certified for epsilon {format_upper(certified)} at most")


def _hard(kind: str, linear: Linear, given: AuditSpec, first: Observations | None) -> IntArray:
    """Positions of the pool of hard records."""
    data, size = linear.inputs.dataset, pool_size(len(linear.inputs.dataset), len(linear.inputs.forgotten), given)
    size = min(size, max(64, len(data) // 4))  # the hardest quarter at most, or "hard" would mean nothing
    if kind == "memorised":
        assert first is not None
        gap = worst_case.memorisation(first.get("original"), first.assignment != int(Cell.OUT)).gap
        size = min(size, int(np.isfinite(gap).sum()))
        return np.asarray(linear.rows["all"][worst_case.hardest(gap, size, seed=given.seed)])
    if not isinstance(data.X, np.ndarray):
        raise ConfigurationError(
            f"{kind} records are found by distances, which needs dense features in memory",
            where=f"{linear.inputs.loaded.path}: audit.forget_sets",
            mend='use "random" or "memorised"',
        )
    features = np.asarray(data.X, dtype=np.float64)
    if kind == "outliers":
        return worst_case.hardest(worst_case.outlyingness(features), size, seed=given.seed)
    return worst_case.coherent_cluster(features, size, seed=given.seed)


def _likelihood_ratio(seen: Seen, linear: Linear, given: AuditSpec) -> None:
    """The release against the refitted reference, in the coordinates of the noise."""
    inputs, policy, measured = linear.inputs, seen.loaded.spec.policy, linear.measured
    shape = inputs.noise_shape
    refitted = fit(inputs.problem, inputs.model.parameters)
    seen.trained += 1
    # the distance of the refitted weights to the minimiser is certified too: what is proven wrong of the certificate is proven
    slack = measure(inputs.problem, refitted, policy, shape).mu

    def coordinates(w: FloatArray) -> FloatArray:
        return w.ravel() if shape is None else shape.coordinates(w)

    instance = Instance(
        coordinates(inputs.model.parameters), coordinates(refitted), policy.noise_std, slack, policy.delta
    )
    seen.request.append(
        audit_instance(
            instance,
            certified=measured.epsilon,
            limit=seen.plan.epsilon,
            confidence=given.confidence,
            strict=seen.levels.strict,
            seed=given.seed,
        )
    )


def _reconstruction(seen: Seen, linear: Linear, given: AuditSpec) -> None:
    """What the pair of versions gives away; shown, never judged."""
    inputs, release = linear.inputs, seen.loaded.spec.release
    if inputs.original is None:
        seen.left_out.append("reconstruction: it needs the model before the deletion (release.original)")
        return
    if inputs.objective.bent:
        seen.left_out.append(
            "reconstruction: it reads gradients, which an objective with kinks does not have everywhere"
        )
        return
    before, after = inputs.original.parameters, inputs.model.parameters
    first, policy = release.original_noise_std or 0.0, seen.loaded.spec.policy
    pairs = []
    for draw in range(_PAIRS):
        random = stream(given.seed, f"versions/{draw}")
        earlier = before + first * random.normal(size=before.shape)
        pairs.append((earlier, noisy(after, policy.noise_std, inputs.noise_shape, random)))
    rows = np.sort(stream(given.seed, "others").permutation(len(inputs.retained))[:_OTHERS])
    seen.request.append(
        audit_reconstruction(
            before,
            pairs,
            inputs.problem,
            after,
            _dense(inputs.dataset.take(inputs.forgotten).X),
            _dense(inputs.retained.take(rows).X),
            confidence=given.confidence,
        )
    )


def _dense(features: object) -> FloatArray:
    dense = features.toarray() if hasattr(features, "toarray") else features
    return np.asarray(dense, dtype=np.float64)


def expected_linear(inputs: Inputs, plan: Plan, given: AuditSpec, clock: Callable[[], float] = time.monotonic) -> float:
    """Seconds that refits will take, by one of them."""
    begun = clock()
    fit(inputs.problem, inputs.model.parameters)
    seconds = clock() - begun
    if not plan.membership:
        return seconds
    return 5 * seconds * given.models * len(set(given.forget_sets))  # two refits, the method, a certificate, reading


def forecast_linear(inputs: Inputs, plan: Plan, given: AuditSpec, clock: Callable[[], float] = time.monotonic) -> str:
    """What the audit will cost, by one refit."""
    total = expected_linear(inputs, plan, given, clock)
    if not plan.membership:
        return f"one model is refitted: about {max(1.0, total):.0f} seconds"
    fleets = len(set(given.forget_sets))
    return (
        f"{given.models:,} linear models are refitted twice and unlearned once for {fleets} kind{'s'[: fleets > 1]} of forget sets: "
        f"about {shown_seconds(max(1.0, total))}, and the attacks themselves"
    )
