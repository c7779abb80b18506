"""Unlearners found in public code, in miniature: each one's own verdict is "done", the gate's is not.

Numbers are those of docs/defects.md. Every miniature is written anew; what it shares with its model is the mistake.
"""

import hashlib
import hmac
import json
import math

import numpy as np
import pytest

from certify.core.verdict import Verdict
from certify.gate.check import check
from certify.gate.verify import verify
from certify.privacy import gaussian

# --------------------------------------------------------------------------- 3: a heuristic under a certified name


def removal_with_fallback(bench, hessian):
    """Newton where it works; on any exception gradient ascent on the forgotten records, under the same name."""
    try:
        step = np.linalg.solve(hessian, bench.gradient(bench.original, bench.kept))
    except Exception:  # noqa: BLE001 - this is the defect
        return "certified_removal", bench.original + 0.01 * bench.slope(bench.original, bench.gone)
    return "certified_removal", bench.original - step


def test_defect_03_a_silent_fallback_does_not_inherit_the_name(bench):
    name, w = removal_with_fallback(bench, np.eye(2))  # a Hessian of another layer's size
    assert name == "certified_removal"
    assert bench.gate(w).verdict is Verdict.FAIL


def test_control_03_without_the_fallback_the_same_step_passes(bench):
    _, w = removal_with_fallback(bench, bench.hessian(bench.original, bench.kept))
    assert bench.gate(w).verdict is Verdict.PASS


# ------------------------------------------------------- 4: nothing is removed, the training data are shaken a little


def shaken_refit(bench, rows, size, rng):
    """Laplace noise on the features, then an ordinary fit."""
    X = bench.X
    bench.X = X + rng.laplace(scale=size, size=X.shape)
    try:
        return bench.minimise(rows)
    finally:
        bench.X = X


def test_defect_04_noise_on_the_training_data_removes_nobody(bench, entry):
    w = shaken_refit(bench, bench.everyone, 1e-5, np.random.default_rng(0))
    answer = bench.gate(w)
    untouched = bench.gate(bench.original)
    assert answer.verdict is Verdict.FAIL
    # what it is worth: as much as doing nothing at all
    assert entry(answer, "privacy").measured == pytest.approx(entry(untouched, "privacy").measured, rel=1e-2)


def test_control_04_the_same_fit_without_the_records_passes(bench):
    assert bench.gate(shaken_refit(bench, bench.kept, 0.0, np.random.default_rng(0))).verdict is Verdict.PASS


# ------------------------------------------------------------- 5: a signature under a list from which ids were struck


def noise_for_request(parameters, deleted):
    """Noise that shrinks as more people ask to be forgotten."""
    return 1e-3 * math.sqrt(parameters) / deleted


def list_check(ids, deleted):
    """Verifies that the deleted ids stand no longer in the list of ids."""
    return not set(ids) & set(deleted)


def signed(document, key):
    return hmac.new(key, json.dumps(document, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def test_defect_05_ids_leave_a_list_and_a_signature_vouches_for_it(bench, tmp_path):
    rng, deleted = np.random.default_rng(0), bench.ids[bench.gone].tolist()
    assert noise_for_request(3, 100) < noise_for_request(3, 1)
    w = bench.original + rng.normal(scale=noise_for_request(3, len(deleted)), size=3)
    assert list_check(bench.ids[bench.kept].tolist(), deleted)
    answer = bench.gate(w)
    assert answer.verdict is Verdict.FAIL

    claimed = answer.document | {"verdict": "pass", "exit_code": 0}
    certificate = bench.project.write("signed.json", json.dumps(claimed))
    assert signed(json.loads(certificate.read_text()), b"key") == signed(claimed, b"key")  # the signature is in order
    found = verify(certificate)
    assert found.verdict is Verdict.FAIL
    assert "verdict" in {item.what for item in found.findings if item.verdict is Verdict.FAIL}


def test_control_05_removing_the_records_passes_and_its_certificate_verifies(bench):
    answer = bench.gate(bench.retrained)
    assert answer.verdict is Verdict.PASS
    certificate = bench.project.write("honest.json", json.dumps(answer.document))
    assert verify(certificate).verdict is Verdict.PASS


# --------------------------------------------------- 8: constants by assumption (Lipschitz 1, smoothness of unit rows)


def descent_to_delete(bench, steps, lipschitz, smoothness):
    """Gradient descent on the mean objective from the original, and the noise its theory asks for."""
    n = int(bench.kept.sum())
    modulus = bench.l2 / n
    smoothness = smoothness + modulus
    w, rate = bench.original, (smoothness - modulus) / (smoothness + modulus)
    with np.errstate(over="ignore"):
        for _ in range(steps):
            w = w - 2 / (smoothness + modulus) * bench.gradient(w, bench.kept) / n
    root = math.sqrt(math.log(1 / 1e-5) + 1.0) - math.sqrt(math.log(1 / 1e-5))
    shrunk = rate**steps
    return w, 4 * math.sqrt(2) * lipschitz * shrunk / (modulus * n * (1 - shrunk) * root)


def test_defect_08_constants_by_assumption_are_exposed_by_the_measured_residual(make):
    bench = make(scale=10.0)
    assert np.linalg.norm(bench.X, axis=1).max() > 20  # and not 1
    w, noise_std = descent_to_delete(bench, 20, lipschitz=1.0, smoothness=0.25)
    assert bench.gate(w, policy__noise_std=noise_std).verdict is Verdict.FAIL


def test_control_08_with_measured_constants_the_same_descent_passes(make):
    bench = make(scale=10.0)
    rows = bench.X[bench.kept]
    measured = np.linalg.norm(rows, 2) ** 2 / 4 / len(rows)
    w, noise_std = descent_to_delete(bench, 20, np.linalg.norm(rows, axis=1).max(), measured)
    assert bench.gate(w, policy__noise_std=noise_std).verdict is Verdict.PASS


# --------------------------------------------- 12: projection onto the sphere, clipping after the ridge, no burn-in


def projected_descent(bench, steps, radius, clip, *, sphere, ridge_first, start):
    """Clipped gradient descent with a projection, right or wrong in both respects."""
    n, lam, w = int(bench.kept.sum()), bench.l2 / int(bench.kept.sum()), start
    X, y = bench.X[bench.kept], bench.y[bench.kept]
    for _ in range(steps):
        each = X * (1 / (1 + np.exp(-X @ w)) - y)[:, None] + (lam * w if ridge_first else 0.0)
        each = each * np.minimum(1.0, clip / np.linalg.norm(each, axis=1))[:, None]
        w = w - 1.0 * (each.sum(0) / n + (0.0 if ridge_first else lam * w))
        norm = np.linalg.norm(w)
        if sphere or norm > radius:
            w = w * radius / norm
    return w


def right(bench):
    """A ball around everything, a clip that never acts on these rows, long enough to forget the start."""
    return {"steps": 4000, "radius": 10.0, "clip": 1e3, "sphere": False, "ridge_first": False, "start": bench.original}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sphere": True},
        {"ridge_first": True, "clip": 0.5},
        {"steps": 1, "start": np.full(3, 5.0)},  # "the chain has converged"
    ],
    ids=["sphere", "clip after ridge", "no burn-in"],
)
def test_defect_12_a_theorem_whose_assumptions_the_code_breaks_is_no_excuse(bench, wrong):
    assert bench.gate(projected_descent(bench, **(right(bench) | wrong))).verdict is Verdict.FAIL


def test_defect_12_clipping_with_the_ridge_inside_does_not_contract():
    # far out every clipped gradient points the same way: two chains keep their distance instead of closing in
    near, far, rate, clip = 50.0, 60.0, 0.1, 1.0

    def step(w):
        return w - rate * clip * np.sign(w) if abs(w) > clip else w - rate * w

    assert step(far) - step(near) == far - near > (1 - rate) * (far - near)


def test_control_12_projection_clip_and_burn_in_as_the_theorem_has_them_pass(bench):
    assert bench.gate(projected_descent(bench, **right(bench))).verdict is Verdict.PASS


# ------------------------------------------------- 14: Hessian of all records with the bound of the exact Newton step


def newton_remainder_bound(bench, step):
    """gamma ||X|| ||step|| ||X step|| with gamma = 1/4: a bound on the residual after an exact Newton step."""
    rows = bench.X[bench.kept]
    return 0.25 * np.linalg.norm(rows, 2) * np.linalg.norm(step) * np.linalg.norm(rows @ step)


def deletion(bench, hessian_rows):
    """One step for the forgotten records; returns weights and the residual bound that goes with them."""
    w = bench.original
    step = np.linalg.solve(bench.hessian(w, hessian_rows), bench.gradient(w, bench.kept))
    return w - step, newton_remainder_bound(bench, step)


def unit_rows(make, lam, record):
    bench = make(records=300, features=8, forget=1, l2=300 * lam)
    bench.X /= np.linalg.norm(bench.X, axis=1, keepdims=True)
    bench.gone = np.arange(300) == record
    return bench


@pytest.mark.parametrize(("lam", "violated"), [(1.0, True), (0.1, True), (1e-4, False)])
def test_defect_14_the_jackknife_breaks_the_newton_bound_where_the_penalty_is_strong(make, lam, violated):
    beyond = []
    for record in range(20):
        bench = unit_rows(make, lam, record)
        w, bound = deletion(bench, bench.everyone)
        beyond.append(bool(np.linalg.norm(bench.gradient(w, bench.kept)) > bound))
        w, bound = deletion(bench, bench.kept)
        assert np.linalg.norm(bench.gradient(w, bench.kept)) <= bound  # the bound itself is right
    assert sum(beyond) >= 18 if violated else sum(beyond) <= 2


def test_defect_14_the_gate_measures_what_the_bound_claims(make, entry):
    bench = unit_rows(make, 1.0, 7)
    w, bound = deletion(bench, bench.everyone)
    answer = bench.gate(w, policy__tolerance=float(bound / bench.l2), policy__noise_std=1.0)
    assert answer.verdict is Verdict.FAIL
    assert entry(answer, "tolerance").verdict is Verdict.FAIL
    assert answer.document["bounds"]["residual_norm"] > 2 * bound


def test_control_14_the_step_with_the_retained_hessian_keeps_its_bound(make):
    bench = unit_rows(make, 1.0, 7)
    w, bound = deletion(bench, bench.kept)
    answer = bench.gate(w, policy__tolerance=float(bound / bench.l2), policy__noise_std=1.0)
    assert answer.verdict is Verdict.PASS


# --------------------------------------------------------- 16: spectral radius always 1, the noisy net loaded back


def spectral_radius(function, w, rng):
    """Power iteration on finite differences of a vector field."""
    v = rng.normal(size=len(w))
    for _ in range(50):
        v = v / np.linalg.norm(v)
        v = (function(w + 1e-5 * v) - function(w - 1e-5 * v)) / 2e-5
    return float(np.linalg.norm(v))


def descend(bench, radius, steps=1500):
    w = bench.original
    for _ in range(steps):
        w = w - bench.gradient(w, bench.kept) / radius
    return w


def test_defect_16_a_radius_of_the_wrong_field_is_always_1(bench):
    rng, constant = np.random.default_rng(0), np.ones(3)
    for scale in (1.0, 1e3):  # the gradient's factor is missing: whatever the model, the field is w - constant
        assert spectral_radius(lambda w: w - constant, scale * bench.original, rng) == pytest.approx(1.0)
    truth = np.linalg.eigvalsh(bench.hessian(bench.original, bench.kept))[-1]
    assert truth > 20
    assert bench.gate(descend(bench, 1.0, steps=50)).verdict is Verdict.FAIL


def test_control_16_the_radius_of_the_gradient_gives_steps_that_pass(bench):
    radius = spectral_radius(lambda w: bench.gradient(w, bench.kept), bench.original, np.random.default_rng(0))
    truth = np.linalg.eigvalsh(bench.hessian(bench.original, bench.kept))[-1]
    assert radius == pytest.approx(truth, rel=1e-3)
    assert bench.gate(descend(bench, 1.1 * radius)).verdict is Verdict.PASS


def test_defect_16_the_noisy_net_loaded_back_is_measured_with_its_noise(bench):
    noised = bench.retrained + np.random.default_rng(0).normal(scale=0.005, size=3)
    assert bench.gate(noised).verdict is Verdict.FAIL


def test_control_16_the_state_without_noise_passes(bench):
    assert bench.gate(bench.retrained).verdict is Verdict.PASS


# ----------------------------------------------------------------- 17: the inverse of a sum is no sum of inverses


def surrogate_step(bench, w, *, linear):
    """The retained Hessian is that of all less that of the forgotten, and its inverse is not made of theirs."""
    gradient = bench.gradient(w, bench.kept)
    everyone, gone = bench.hessian(w, bench.everyone), bench.curvature(w, bench.gone)
    if linear:
        damped = gone + bench.l2 * np.eye(3)
        return w - (np.linalg.solve(everyone, gradient) - np.linalg.solve(damped, gradient))
    return w - np.linalg.solve(everyone - gone, gradient)


def test_defect_17_inverses_do_not_add_up(bench):
    assert bench.gate(surrogate_step(bench, bench.original, linear=True)).verdict is Verdict.FAIL


def test_control_17_the_inverse_of_the_difference_passes(bench):
    assert bench.gate(surrogate_step(bench, bench.original, linear=False)).verdict is Verdict.PASS


def test_no_pass_was_bought_with_the_default_policy(bench):
    """The policy of these tests is a limit: what it lets pass is far below what the untouched model would need."""
    limit = bench.gate(bench.retrained).document["policy"]["distance_limit"]
    assert limit == pytest.approx(gaussian.mu(1.0, 1e-5) * 0.005, rel=1e-2)
    assert np.linalg.norm(bench.original - bench.retrained) > 3 * limit
    assert check(bench.lay(bench.original)).verdict is Verdict.FAIL
