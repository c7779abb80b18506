"""Shadow models of a linear model: refitted exactly, unlearned by the method under audit, retrained, and released with noise."""

import zlib
from dataclasses import dataclass, field

import numpy as np

from certify.attacks.fleets.assignment import random_assignment
from certify.attacks.observations import Cell, Observations
from certify.attacks.scores.phi import phi
from certify.convex.curvature import NoiseShape, curvature_shape
from certify.convex.problem import Problem, bind
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import AssumptionViolatedError
from certify.core.progress import track
from certify.core.streams import stream
from certify.gate.audits.plan import forget_share, pool_size
from certify.gate.inputs import Inputs
from certify.gate.measure import Measurement, measure
from certify.gate.spec import AuditSpec
from certify.models.weights import LinearWeights
from certify.unlearners import ConvexTask, Request, Unlearner
from certify.unlearners.evidence import Budget, Meter
from certify.unlearners.methods.retrain import minimise

_CLASSES = ("logistic", "softmax")
_ITERATIONS = 200
_LARGEST = 1e100
"""Losses beyond are cut there: a loss that grows exponentially under much noise must not end an audit."""


@dataclass(eq=False)
class Linear:
    """What is known of a linear model while it is audited.

    Attributes:
        inputs: what the spec names.
        measured: its certificate.
        rows: of each fleet, positions of the records its models are seen through.
        shares: of each fleet, the share of a model's training records that it forgets.
        certified: of each fleet, epsilon that each unlearned model is certified for, (K,); infinite where it is not.
    """

    inputs: Inputs
    measured: Measurement
    rows: dict[str, IntArray] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    certified: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def largest(self) -> float:
        """Largest epsilon that an unlearned model of the fleets is certified for."""
        return max((float(np.max(values)) for values in self.certified.values()), default=0.0)


def fit(problem: Problem, start: FloatArray) -> FloatArray:
    """The minimiser, from a start that is near it or not: the solvers of ``retrain``."""
    meter = Meter(problem, Budget())
    return meter.solve(start) if problem.objective.bent else minimise(meter, start, _ITERATIONS, "refitting")


def noisy(
    parameters: FloatArray, noise_std: float, shape: NoiseShape | None, random: np.random.Generator
) -> FloatArray:
    """Parameters as a release would have them: with Gaussian noise of the policy's shape. A simulation, seeded; never released."""
    if shape is None:
        return parameters + noise_std * random.normal(size=parameters.shape)
    coordinates = shape.coordinates(parameters)
    return shape.parameters(coordinates + noise_std * random.normal(size=coordinates.shape), parameters.shape)


def signal(probe: Problem, y: AnyArray, parameters: FloatArray) -> FloatArray:
    """What a model says of each record, (n,): phi where the loss is one of classes, minus the loss elsewhere."""
    with np.errstate(over="ignore", invalid="ignore"):
        scores = probe.scores(parameters)
        if probe.objective.loss in _CLASSES and not probe.objective.one_vs_rest:
            return phi(scores, y)
        values = -probe.loss.value(scores, probe.targets)
    return np.clip(np.nan_to_num(values, nan=-_LARGEST), -_LARGEST, _LARGEST)


def pool_of(inputs: Inputs, given: AuditSpec, kind: str, hard: IntArray | None) -> IntArray:
    """Positions of the records that shadow models may forget, or never see."""
    records = len(inputs.dataset)
    if hard is not None:
        return np.sort(hard)
    size = pool_size(records, len(inputs.forgotten), given)
    return np.sort(stream(given.seed, f"pool of {kind} records").permutation(records)[:size])


def observe(
    linear: Linear, unlearner: Unlearner, given: AuditSpec, *, kind: str = "random", hard: IntArray | None = None
) -> Observations:
    """A fleet of K linear models, seen through the records of its pool.

    Each is the minimiser on its members (all records but those that it never sees), unlearned by the method, retrained exactly, and
    released four times with noise of its own: original, unlearned, retrained, and retrained again.

    Args:
        linear: filled with the pool and with the certificate of every unlearned model.
        unlearner: the method under audit.
        given: [audit].
        kind: "random", or what kind of records the pool holds.
        hard: positions of the pool; drawn by chance where it is not given.

    Raises:
        InputError, ConfigurationError: what the method says of these records.
    """
    inputs, seed = linear.inputs, given.seed if kind == "random" else given.seed + zlib.crc32(kind.encode())
    data, records, pool = inputs.dataset, len(inputs.dataset), pool_of(inputs, given, kind, hard)
    assignment = random_assignment(
        given.models, records, seed=seed, out=given.out_share, forget=forget_share(given), candidates=pool
    )
    outputs, objective = inputs.problem.outputs, inputs.objective
    whole = bind(objective, data.X, data.y, outputs, data.sample_weight)
    start = fit(whole, inputs.model.parameters)
    seen = data.take(pool)
    probe = bind(objective, seen.X, seen.y, outputs)
    worlds: dict[str, list[FloatArray]] = {world: [] for world in ("original", "unlearned", "retrained", "again")}
    certified = []
    for number, row in enumerate(track(assignment, "shadow models")):
        forget, members = np.flatnonzero(row == int(Cell.FORGET)), np.flatnonzero(row != int(Cell.OUT))
        original = fit(whole.reweighted(whole.weights * (row != int(Cell.OUT))), start)
        task = ConvexTask(objective, data, LinearWeights.from_parameters(original, intercept=objective.fit_intercept))
        request = Request.at(data, forget, members)
        result = unlearner.forget(task, request, seed=int(stream(seed, f"unlearning/{number}").integers(2**53)))
        kept = task.retained_problem(request)
        shape = curvature_shape(kept) if inputs.noise_shape is not None else None
        certified.append(_certified(linear, kept, result.state, shape))
        retrained = fit(kept, original)
        models = {"original": original, "unlearned": result.state, "retrained": retrained, "again": retrained}
        for world, parameters in models.items():
            random = stream(seed, f"release/{world}/{number}")
            released = noisy(parameters, inputs.loaded.spec.policy.noise_std, shape, random)
            worlds[world].append(signal(probe, seen.y, released))
    name = "all" if kind == "random" else kind
    linear.rows[name], linear.certified[name] = pool, np.array(certified)
    linear.shares[name] = float(np.mean(np.sum(assignment == 2, axis=1) / np.sum(assignment > 0, axis=1)))
    return Observations(
        assignment[:, pool].astype(np.int64),
        {world: {"phi": np.stack(rows)} for world, rows in worlds.items()},
        data.ids[pool],
    )


def _certified(linear: Linear, kept: Problem, parameters: FloatArray, shape: NoiseShape | None) -> float:
    try:
        return measure(kept, parameters, linear.inputs.loaded.spec.policy, shape).epsilon
    except AssumptionViolatedError:
        return np.inf
