"""noise_shape = "curvature" from the spec to the released file: its law, its guarantee, its price, its refusals."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_path import load

from certify import attacks
from certify.cli.app import _run
from certify.convex.objective import Objective
from certify.convex.problem import Problem, bind
from certify.convex.solve import newton_step
from certify.core.errors import AssumptionViolatedError, ConfigurationError
from certify.core.verdict import Verdict
from certify.gate import inputs as inputs_module
from certify.gate import release as release_module
from certify.gate.check import check
from certify.gate.inputs import Inputs, load_inputs
from certify.gate.load import load_spec
from certify.gate.measure import charged_mu, measure
from certify.gate.release import noised, release
from certify.gate.verify import verify
from certify.models.weights import load_weights
from certify.privacy import gaussian
from certify.privacy.noise import GRID_BITS
from certify.reports.formats import FORMATS, render

CURVED, NOISE_STD = 'noise_shape = "curvature"', 0.25
DRAWS, DELTA, CONFIDENCE = 10_000, 1e-5, 1 - 1e-6


project = load("gate/release_project")


def make(folder: Path, more: str = CURVED, noise_std: float = NOISE_STD, forget: tuple[int, ...] = (3, 7)) -> Path:
    path: Path = project.make(folder, forget, more)
    path.write_text(path.read_text().replace("noise_std = 0.05", f"noise_std = {noise_std}"))
    return path


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return make(tmp_path / "p")


def read(spec: Path) -> Inputs:
    return load_inputs(load_spec(spec))


def shape_of(inputs: Inputs) -> Any:
    assert inputs.noise_shape is not None
    return inputs.noise_shape


def with_noise(inputs: Inputs, noise_std: float) -> Inputs:
    """The same inputs under another noise_std."""
    policy = inputs.loaded.spec.policy.model_copy(update={"noise_std": noise_std})
    loaded = replace(inputs.loaded, spec=inputs.loaded.spec.model_copy(update={"policy": policy}))
    return replace(inputs, loaded=loaded)


# ------------------------------------------------------------------------------------------------ release and verify


def test_a_release_is_certified_booked_and_verified(spec: Path) -> None:
    done = release(spec)
    assert done.result.verdict is Verdict.PASS
    assert done.certificate is not None
    part, shaped = done.result.report.release, done.result.report.shaped_noise
    assert part is not None
    assert shaped is not None
    assert part.noise_shape == "curvature"
    assert shaped.distance < shaped.limit
    assert part.charged_mu >= (done.result.report.guarantee.mu or 1) >= (shaped.distance + shaped.rounding) / NOISE_STD
    assert verify(done.certificate).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("key", "value"),
    [("distance", 1e-20), ("limit", 9.0), ("ratio", 1.0), ("rounding", 0.0)],
)
def test_a_changed_number_of_the_shape_is_found_by_verify(spec: Path, tmp_path: Path, key: str, value: float) -> None:
    path = spec.parent / "certificate.json"
    document = check(spec).document
    document["shaped_noise"][key] = value
    path.write_text(json.dumps(document))
    found = verify(path)
    assert found.verdict is Verdict.FAIL
    assert any(finding.what == f"shaped_noise.{key}" for finding in found.findings)


def test_a_certificate_of_isotropic_noise_is_none_of_shaped_noise(spec: Path) -> None:
    document = check(spec).document
    document["policy"]["noise_shape"] = "isotropic"
    (spec.parent / "certificate.json").write_text(json.dumps(document))
    assert verify(spec.parent / "certificate.json").verdict is Verdict.FAIL


def test_what_is_certified_and_what_is_drawn_use_one_matrix(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []

    def counted(problem: Problem) -> Any:
        built.append(original(problem))
        return built[-1]

    original = inputs_module.curvature_shape
    monkeypatch.setattr(inputs_module, "curvature_shape", counted)
    assert release(spec).weights is not None
    assert len(built) == 1


def test_the_released_weights_are_grid_points_mapped_back(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[np.ndarray] = []

    def recorded(values: np.ndarray, noise_std: float) -> np.ndarray:
        drawn.append(sampler(values, noise_std))
        return drawn[-1]

    sampler = release_module.add_noise
    monkeypatch.setattr(release_module, "add_noise", recorded)
    done = release(spec)
    assert done.weights is not None
    (point,) = drawn
    # noise_std is a power of two, so that floats of this size are grid points themselves
    step = Fraction(NOISE_STD) / 2**GRID_BITS
    assert all((Fraction(value) / step).denominator == 1 for value in point.tolist())
    shape = shape_of(read(spec))
    released = load_weights(done.weights)[0].coef.reshape(1, -1)
    gap = np.linalg.norm(shape.coordinates(released) - point)
    assert gap <= 2.0**-45 * np.linalg.cond(shape.factor) * np.linalg.norm(point)
    # control: the weights under review are nowhere near that point
    assert np.linalg.norm(shape.coordinates(read(spec).model.parameters) - point) > 0.01 * NOISE_STD


# ---------------------------------------------------------------------------------------------------- what it costs


def test_the_ledger_charges_the_policys_mu_whatever_the_euclidean_tolerance(tmp_path: Path) -> None:
    policies = [read(make(tmp_path / name, f"{CURVED}\n{more}")).loaded.spec.policy for name, more in
                (("a", ""), ("b", "tolerance = 1e-6"))]  # fmt: skip
    charges = {charged_mu(policy) for policy in policies}
    assert len(charges) == 1
    assert charges.pop() == pytest.approx(gaussian.mu(1.0, 1e-5), rel=1e-3)
    # control: under isotropic noise a tolerance makes a release cheaper
    assert charged_mu(policies[1].model_copy(update={"noise_shape": "isotropic"})) < 1e-5


@pytest.mark.parametrize("noise_std", [1e-150, 1e-30, 1e-3, 1.0, 1e150])
@pytest.mark.parametrize("tolerance", [None, 1e-300, 1.0])
def test_whatever_passes_costs_no_more_than_is_charged(spec: Path, noise_std: float, tolerance: float | None) -> None:
    inputs = read(spec)
    policy = inputs.loaded.spec.policy.model_copy(update={"noise_std": noise_std, "tolerance": tolerance})
    for factor in (1.0, 1 + 1e-9, 1 + 1e-3):
        measured = measure(inputs.problem, inputs.model.parameters * factor, policy, inputs.noise_shape)
        assert not measured.meets(policy) or measured.mu <= charged_mu(policy)


def test_the_tolerance_limits_the_euclidean_distance(tmp_path: Path) -> None:
    result = check(make(tmp_path / "p", f"{CURVED}\ntolerance = 1e-20"))
    verdicts = {entry.id: entry.verdict for entry in result.report.checks}
    assert (verdicts["tolerance"], verdicts["privacy"]) == (Verdict.FAIL, Verdict.PASS)
    assert result.report.policy.distance_limit == 1e-20


def test_a_spent_budget_names_the_knob_that_helps(tmp_path: Path) -> None:
    result = check(make(tmp_path / "p", f"{CURVED}\nmax_total_mu = 0.1"))
    remedy = next(entry.remedy for entry in result.report.checks if entry.id == "ledger")
    assert remedy is not None
    assert "lower policy.epsilon" in remedy


# -------------------------------------------------------------------------------------------- the shape and its world


def test_the_factor_is_the_same_whoever_is_forgotten_and_wherever_they_stood(tmp_path: Path) -> None:
    spec, factors = make(tmp_path / "p"), []
    stored = dict(np.load(spec.parent / "train.npz"))
    kept = ~np.isin(np.arange(300), (3, 7))
    retained = {name: array[kept] for name, array in stored.items()}
    for seed, extra in ((1, 1), (2, 40)):  # other people in the forget set, in other places
        generator = np.random.default_rng(seed)
        strangers = {
            "X": generator.normal(size=(extra, 3)) * 50,
            "y": generator.integers(0, 2, extra),
            "ids": np.array([f"stranger-{seed}-{number}" for number in range(extra)]),
        }
        order = generator.permutation(298 + extra)
        np.savez(
            spec.parent / "train.npz",
            **{name: np.concatenate([retained[name], strangers[name]])[order] for name in stored},
        )
        (spec.parent / "forget.txt").write_text("\n".join(strangers["ids"]))
        np.savez(spec.parent / "unlearned.npz", coef=generator.normal(size=3))  # and other weights
        factors.append(shape_of(read(spec)).factor)
    assert np.array_equal(*factors)
    assert np.array_equal(factors[0], shape_of(read(make(tmp_path / "q"))).factor)
    # control: one retained record more is another shape
    assert not np.array_equal(factors[0], shape_of(read(make(tmp_path / "r", forget=(3,)))).factor)


def test_the_covariance_of_many_releases_is_that_of_the_policy(spec: Path) -> None:
    stored = dict(np.load(spec.parent / "train.npz"))
    stored["X"] = stored["X"] * [1.0, 3.0, 9.0]
    np.savez(spec.parent / "train.npz", **stored)
    inputs = read(spec)
    draws = np.array([noised(inputs).coef.ravel() for _ in range(3000)]) - inputs.model.parameters
    shape = shape_of(inputs)
    whitened = draws @ shape.factor / NOISE_STD
    # each entry of the sample covariance has a standard deviation of at most sqrt(2/3000) = 0.026
    assert np.abs(whitened.T @ whitened / len(draws) - np.eye(3)).max() < 6 * 0.026
    covariance = NOISE_STD**2 * np.linalg.inv(shape.factor @ shape.factor.T)
    assert np.allclose(np.cov(draws.T), covariance, atol=6 * 0.026 * np.abs(covariance).max())
    # control: isotropic noise of the same total variance is told apart
    assert np.abs(np.cov(draws.T) - np.eye(3) * np.trace(covariance) / 3).max() > 6 * 0.026 * np.abs(covariance).max()


class World:
    """Releases of one set of weights, and of the retrained ones, with the policy's noise drawn by a fast stand-in."""

    def __init__(self, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inputs = read(spec)
        generator = np.random.default_rng(8)
        monkeypatch.setattr(
            release_module, "add_noise", lambda q, noise_std: q + noise_std * generator.normal(size=q.shape)
        )
        self.reference = self.inputs.model.parameters
        for _ in range(20):
            gradient = self.inputs.problem.gradient(self.reference)
            self.reference = self.reference - newton_step(self.inputs.problem, self.reference, gradient)

    def proved(self, w: np.ndarray, noise_std: float, cut: float) -> float:
        """Epsilon proved by the best test: the log-likelihood ratio, linear in ``R'(x - w*)``, cut at a place fixed beforehand."""
        released = [replace(self.inputs.model, parameters=parameters) for parameters in (w, self.reference)]
        shape = shape_of(self.inputs)
        direction = (w - self.reference).ravel() @ shape.factor
        length = np.linalg.norm(direction)
        counts = []
        for model in released:
            inputs = with_noise(replace(self.inputs, model=model), noise_std)
            inputs.__dict__["noise_shape"] = shape
            x = np.array([noised(inputs).coef.ravel() for _ in range(DRAWS)]) - self.reference
            counts.append(int(np.sum(x @ shape.factor @ direction / length > length / 2 + cut * noise_std)))
        found = attacks.epsilon_lower_bound(counts[0], DRAWS, counts[1], DRAWS, DELTA, CONFIDENCE)
        return float(found)

    def certified(self, w: np.ndarray, noise_std: float) -> float:
        policy = with_noise(self.inputs, noise_std).loaded.spec.policy
        return measure(self.inputs.problem, w, policy, shape_of(self.inputs)).epsilon


@pytest.mark.parametrize("mu", [0.5, 1.0])
def test_the_best_attacker_does_not_beat_the_certificate(
    tmp_path: Path, mu: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(make(tmp_path / "p"), monkeypatch)
    w = world.reference + np.array([[0.01, -0.02, 0.03]])
    policy = world.inputs.loaded.spec.policy
    shaped = measure(world.inputs.problem, w, policy, shape_of(world.inputs)).shaped
    assert shaped is not None
    noise_std = float(shaped.shift) / mu
    certified = world.certified(w, noise_std)
    assert max(world.proved(w, noise_std, cut) for cut in (0.0, 1.0)) <= certified
    # control: noise an eighth as strong as certified is caught by the same attack
    assert world.proved(w, noise_std / 8, 0.0) > certified


# --------------------------------------------------------------------------------------------- reports and refusals


def test_every_report_says_what_is_claimed(spec: Path) -> None:
    result = check(spec)
    for name in ("text", "html", "markdown"):
        content = render(result.report, name)
        text = " ".join((content.decode() if isinstance(content, bytes) else content).split())
        assert "covariance s^2 M^-1 (s = 0.25, M the curvature at w = 0 on the retained records)" in text.replace(
            "<sup>", "^"
        ).replace("</sup>", "").replace("−", "-"), name
        assert "noise of standard deviation 0.25" not in text, name
    assert set(FORMATS) >= {"text", "html", "markdown"}


def test_an_isotropic_report_does_not_speak_of_a_shape(tmp_path: Path) -> None:
    document = check(make(tmp_path / "p", more="")).document
    assert document["shaped_noise"] is None
    assert document["policy"]["noise_shape"] == "isotropic"
    assert "M^-1" not in json.dumps(document)


def test_the_assumptions_name_what_the_shape_rests_on(spec: Path) -> None:
    known = {item.id: item.status for item in check(spec).report.assumptions}
    assert known["noise-shape"] == known["noise-curvature"] == "verified"


def test_a_model_that_was_not_unlearned_fails_and_is_not_released(tmp_path: Path) -> None:
    spec = make(tmp_path / "p", noise_std=1e-4)
    shutil.copy(spec.parent / "original.npz", spec.parent / "unlearned.npz")
    done = release(spec)
    assert done.result.verdict is Verdict.FAIL
    assert done.weights is None
    assert done.result.report.next_steps[-1].epsilon <= 1.0  # looked ahead in the same norm


def test_an_unknown_shape_is_a_mistake_in_the_spec(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"policy\.noise_shape must be"):
        check(make(tmp_path / "p", more='noise_shape = "round"'))


@pytest.mark.parametrize(("error", "code"), [(ConfigurationError, 2), (AssumptionViolatedError, 4)])
def test_a_model_that_cannot_have_the_shape_is_refused_in_one_line(
    spec: Path, error: type[Exception], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Problem) -> Any:
        raise error("too many", where="policy.noise_shape", mend="use noise_shape = 'isotropic'")  # type: ignore[call-arg]

    monkeypatch.setattr(inputs_module, "curvature_shape", refuse)
    for command in ("check", "release"):
        assert _run([command, str(spec)]) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert "certify.toml: policy.noise_shape: too many; use noise_shape = 'isotropic'" in " ".join(err.split())
        assert "Traceback" not in err


def test_noise_beyond_float64_is_refused_and_nothing_is_booked(tmp_path: Path) -> None:
    spec = make(tmp_path / "p", noise_std=1e150)
    stored = dict(np.load(spec.parent / "train.npz"))
    np.savez(spec.parent / "train.npz", **{**stored, "X": stored["X"] * 1e-165})
    np.savez(spec.parent / "unlearned.npz", coef=np.zeros(3))
    spec.write_text(spec.read_text().replace("l2 = 5.0", "l2 = 1e-320"))
    with pytest.raises(ConfigurationError, match="too large for float64"):
        release(spec)
    assert not [path for path in spec.parent.iterdir() if "released" in path.name]


def test_without_convexity_the_refusal_is_about_convexity(spec: Path) -> None:
    spec.write_text(spec.read_text().replace("l2 = 5.0", "l2 = 0.0"))
    result = check(spec)
    assert result.verdict is Verdict.REFUSED
    assert next(entry for entry in result.report.checks if entry.id == "strong-convexity").verdict is Verdict.REFUSED


# ------------------------------------------------------------------------------------------------------------ utility


def graded(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    X = generator.normal(size=(1500, 8)) * np.logspace(-2, 1, 8)
    return X, (X @ np.logspace(2, -1, 8) / 2 + generator.logistic(size=1500) > 0).astype(int)


def rise(problem: Problem, w: np.ndarray, noise_std: float, inverse: np.ndarray | None) -> float:
    """Expected rise of the objective: half the trace of covariance times Hessian."""
    hessian = problem.hessian(w)
    return 0.5 * noise_std**2 * float(np.trace(hessian) if inverse is None else np.sum(inverse * hessian))


def at_equal_mu(problem: Problem, w: np.ndarray) -> tuple[float, float, Callable[[int], tuple[np.ndarray, np.ndarray]]]:
    """Rises of the objective at certified mu = 0.005, isotropic and shaped, and what gives weights with noise of both kinds."""
    curved = inputs_module.curvature_shape(problem)
    policy: Any = type("Policy", (), {"noise_shape": "curvature", "noise_std": 1.0, "delta": 1e-5})
    measured = measure(problem, w, policy, curved)
    assert measured.shaped is not None
    plain, shaped = float(measured.bound.distance) / 0.005, float(measured.shaped.shift) / 0.005
    inverse = np.linalg.inv(curved.factor @ curved.factor.T)

    def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
        normal = np.random.default_rng(seed).normal(size=w.size)
        return w + plain * normal.reshape(w.shape), w + curved.parameters(shaped * normal, w.shape)

    return rise(problem, w, plain, None), rise(problem, w, shaped, inverse), draw


def test_at_equal_mu_the_shaped_noise_costs_less_on_an_ill_conditioned_problem() -> None:
    X, y = graded(np.random.default_rng(4))
    full, kept = (bind(Objective("logistic", 0.01), X[rows], y[rows]) for rows in (slice(None), slice(10, None)))
    w = np.zeros((1, 8))
    for _ in range(25):
        w = w - newton_step(full, w, full.gradient(w))
    w = w - newton_step(kept, w, kept.gradient(w))
    isotropic, shaped, draw = at_equal_mu(kept, w)
    assert shaped < isotropic / 100
    drawn = [draw(seed) for seed in range(30)]
    values = np.mean([[kept.value(noisy) for noisy in pair] for pair in drawn], axis=0)
    accuracy = np.mean([[np.mean((X @ noisy[0] > 0) == y) for noisy in pair] for pair in drawn], axis=0)
    assert values[1] - kept.value(w) < (values[0] - kept.value(w)) / 100
    assert accuracy[1] > accuracy[0] + 0.01
    assert accuracy[1] > np.mean((X @ w[0] > 0) == y) - 0.005


def test_it_costs_more_where_the_error_lies_in_the_steepest_direction() -> None:
    # what the documentation says against the shape, so that nobody believes it to be better always
    X, y = graded(np.random.default_rng(4))
    problem = bind(Objective("logistic", 1.0), X, y)
    w = np.zeros((1, 8))
    for _ in range(25):
        w = w - newton_step(problem, w, problem.gradient(w))
    steepest = np.linalg.eigh(problem.hessian(w))[1][:, -1]
    isotropic, shaped, _ = at_equal_mu(problem, w + 1e-7 * steepest)
    assert shaped > isotropic
