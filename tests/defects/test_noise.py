"""Noise that was never added, can be computed again, or carries the weights in its low bits.

Numbers are those of docs/defects.md.
"""

import hashlib
import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri

from certify import attacks, gaussian
from certify.cli.app import _run
from certify.core.errors import TamperedError
from certify.core.verdict import Verdict
from certify.gate.books import verify_books
from certify.gate.release import release
from certify.gate.verify import verify
from certify.models.weights import load_weights
from certify.privacy import noise
from certify.privacy.noise import add_noise

# ------------------------------------------------------------ 6: noise for tensors that require a gradient; none does


def noised_state(module, noise_std, *, only_trainable):
    """Noise for the entries of a state dict, which holds detached tensors."""
    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.requires_grad or not only_trainable:
            state[name] = tensor + noise_std * torch.randn(
                tensor.shape, dtype=tensor.dtype, generator=torch.Generator().manual_seed(0)
            )
    return state


def linear(w):
    module = torch.nn.Linear(len(w), 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(w[None]))
    return module


def test_defect_06_weights_without_their_noise_never_verify_as_the_release(bench):
    spec = bench.lay(bench.retrained)
    published = noised_state(linear(bench.retrained), 0.005, only_trainable=True)["weight"].numpy()[0]
    assert np.array_equal(published, bench.retrained)  # no noise was ever added
    done = release(spec)
    assert verify(done.certificate).verdict is Verdict.PASS
    bench.project.weights(done.weights.name, coef=published)
    found = verify(done.certificate)
    assert found.verdict is Verdict.FAIL
    assert "released weights" in {item.what for item in found.findings if item.verdict is Verdict.FAIL}
    with pytest.raises(TamperedError, match="changed after its release"):
        verify_books(spec)
    assert _run(["verify", str(done.certificate)]) == 1


def test_defect_06_a_certificate_rewritten_for_them_is_not_the_one_that_was_booked(bench):
    done = release(bench.lay(bench.retrained))
    bench.project.weights(done.weights.name, coef=bench.retrained)
    document = json.loads(done.certificate.read_text())
    content = done.weights.read_bytes()
    document["release"]["file"] |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    done.certificate.write_text(json.dumps(document))
    found = verify(done.certificate)
    assert {item.what for item in found.findings if item.verdict is Verdict.FAIL} == {"ledger"}


def test_control_06_the_gates_own_draw_moves_every_weight_and_verifies(bench):
    moved = noised_state(linear(bench.retrained), 0.005, only_trainable=False)["weight"].numpy()[0]
    assert np.all(moved != bench.retrained)  # the miniature with its condition dropped
    done = release(bench.lay(bench.retrained))
    assert np.all(load_weights(done.weights)[0].coef != bench.retrained)
    assert verify(done.certificate).verdict is Verdict.PASS
    assert verify_books(bench.project.path)


# --------------------------------------------------------------------------------------- 7: noise from a seed, 42


def seeded_noise(w, noise_std, seed):
    return w + np.random.default_rng(seed).normal(scale=noise_std, size=w.shape)


@pytest.mark.parametrize("words", [("--seed", "42"), ("--seed=42",)])
def test_defect_07_a_seed_is_refused(bench, capsys, words):
    published = seeded_noise(bench.retrained, 0.005, 42)
    # whoever knows the seed has the weights without noise
    assert np.allclose(published - seeded_noise(np.zeros(3), 0.005, 42), bench.retrained, rtol=0, atol=1e-15)
    spec = bench.lay(bench.retrained)
    before = bench.project.snapshot()
    assert _run(["release", str(spec), *words]) == 2
    assert "cannot be seeded" in capsys.readouterr().err
    assert bench.project.snapshot() == before


def test_control_07_two_releases_from_one_state_of_the_world_differ(bench):
    spec, drawn = bench.lay(bench.retrained), []
    for _ in range(2):
        np.random.seed(42)  # noqa: NPY002 - what a script of this kind does
        torch.manual_seed(42)
        drawn.append(load_weights(release(spec).weights)[0].coef)
    assert np.all(drawn[0] != drawn[1])


# ------------------------------------------------------------------------- 16: one deletion charged, every time anew


def test_defect_16_every_release_is_charged_and_none_as_if_it_were_the_first(bench):
    spec = bench.lay(bench.retrained, policy__max_total_mu=0.5)
    one = gaussian.mu(1.0, 1e-5)
    for releases in (1, 2, 3):
        assert release(spec).result.report.release.total_mu == pytest.approx(one * releases**0.5, rel=1e-2)
    last = release(spec)  # 0.536
    assert last.result.verdict is Verdict.FAIL
    assert last.weights is None


# ------------------------------------------------------------------ 21: what floating-point noise tells in its low bits

NOISE_STD = 0.005
STD, SHIFT, DRAWS = 2.0**-6, 1e-6 * 2.0**-6, 5_000


def single_precision(w, rng):
    """Noise drawn in float32, added in float64."""
    return w + (STD * rng.standard_normal(DRAWS, dtype=np.float32)).astype(np.float64)


def few_uniforms(w, rng):
    """Inverse of the normal distribution at uniforms of 32 bits."""
    return w + STD * ndtri((rng.integers(0, 2**32, DRAWS) + 0.5) * 2.0**-32)


def is_single(y):
    return y == y.astype(np.float32)


def is_quantile(y):
    """Whether a draw of :func:`few_uniforms` can be exactly this number."""
    nearest = np.rint(ndtr(y / STD) * 2.0**32 - 0.5)
    return np.any([STD * ndtri((nearest + k + 0.5) * 2.0**-32) == y for k in (-2, -1, 0, 1, 2)], axis=0)


def proved(draw, reachable):
    """Epsilon proved by asking whether an output could have come from the weight 0."""
    rng = np.random.default_rng(21)
    hits, alarms = int(np.sum(reachable(draw(0.0, rng)))), int(np.sum(reachable(draw(SHIFT, rng))))
    return float(attacks.epsilon_lower_bound(hits, DRAWS, alarms, DRAWS, 1e-5, 1 - 1e-6))


def exact(w, _):
    return add_noise(np.full(DRAWS, w), STD)


@pytest.mark.parametrize(("draw", "reachable"), [(single_precision, is_single), (few_uniforms, is_quantile)])
def test_defect_21_low_bits_of_floating_point_noise_name_the_weight(draw, reachable):
    claimed = gaussian.epsilon(SHIFT / STD, 1e-5)
    assert claimed == 0.0  # the real numbers would be indistinguishable
    assert proved(draw, reachable) > 5


@pytest.mark.parametrize("reachable", [is_single, is_quantile])
def test_control_21_the_discrete_draw_tells_nothing_by_the_same_question(reachable):
    assert proved(exact, reachable) == 0.0


def test_control_21_every_released_weight_lies_on_the_grid(bench, monkeypatch):
    # on the real grid of 100 bits nearly every float64 is a point; on one of 20 bits none is by chance
    monkeypatch.setattr(noise, "GRID_BITS", 20)
    done = release(bench.lay(bench.retrained))
    step = Fraction(NOISE_STD) / 2**20
    for value in (*load_weights(done.weights)[0].coef.tolist(), *add_noise(bench.original, NOISE_STD).tolist()):
        assert value == float(round(Fraction(value) / step) * step)
    naive = bench.retrained + np.random.default_rng(0).normal(scale=NOISE_STD, size=3)
    assert all(value != float(round(Fraction(value) / step) * step) for value in naive.tolist())


WEIGHT, WIDE = 1.0, 8.0  # a weight, and noise so wide that the weight should hardly show


def rounded_at_the_weight(y):
    """Outputs close to 0, and which of them are whole multiples of the spacing of floats just below the weight."""
    close = y[np.abs(y) < WEIGHT / 8]
    return close, close == np.rint(close * 2.0**53) * 2.0**-53


def test_defect_21_a_sum_in_floating_point_keeps_the_rounding_of_the_weight():
    draws, counts = 400_000, []
    for w in (WEIGHT, 0.0):
        _, coarse = rounded_at_the_weight(w + np.random.default_rng(22).normal(scale=WIDE, size=draws))
        counts.append(int(np.sum(coarse)))
    found = float(attacks.epsilon_lower_bound(counts[0], draws, counts[1], draws, 1e-5, 1 - 1e-6))
    assert found > 2 > gaussian.epsilon(WEIGHT / WIDE, 1e-5)


def test_control_21_the_discrete_draw_is_as_fine_near_0_as_anywhere():
    close, coarse = rounded_at_the_weight(add_noise(np.full(DRAWS, WEIGHT), WIDE))
    assert len(close) > 20
    assert np.mean(coarse) < 0.5  # by chance one in about ten; added in floating point, all of them
