"""Distances between predictions: SciPy's numbers, means and not sums, both conventions of activation distance, unbiased CKA."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from certify.attacks.distances import functions
from certify.attacks.distances.functions import DISTANCES, all_pairs, cka, completeness, js, softmax, tow, zrf
from certify.core.errors import InputError


def predictions(seed: int, models: int = 3, records: int = 20, classes: int = 5) -> np.ndarray:
    return softmax(2 * np.random.default_rng(seed).normal(size=(models, records, classes)))


def test_divergences_equal_scipy() -> None:
    p, q = predictions(0), predictions(1)
    expected_js = jensenshannon(p, q, axis=-1) ** 2
    np.testing.assert_allclose(js(p, q), expected_js.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(functions.js_records(p, q), expected_js, rtol=1e-10)
    np.testing.assert_allclose(functions.kl(p, q), entropy(q, p, axis=-1).mean(axis=1), rtol=1e-12)


def test_both_conventions_of_activation_distance() -> None:
    p, q = np.zeros((1, 2, 2)), np.zeros((1, 2, 2))
    p[0], q[0] = [[1, 0], [1, 0]], [[1, 0], [0, 1]]
    assert functions.activation_mean_of_norms(p, q)[0] == pytest.approx(np.sqrt(2) / 2)
    assert functions.activation_root_mean_square(p, q)[0] == pytest.approx(1.0)
    a, b = predictions(0), predictions(1)
    assert (functions.activation_root_mean_square(a, b) >= functions.activation_mean_of_norms(a, b)).all()


@pytest.mark.parametrize("name", list(DISTANCES))
def test_distances_are_means_over_records_and_zero_for_equal_predictions(name: str) -> None:
    p, q = predictions(0), predictions(1)
    once, twice = DISTANCES[name](p, q), DISTANCES[name](np.tile(p, (1, 7, 1)), np.tile(q, (1, 7, 1)))
    np.testing.assert_allclose(once, twice, rtol=1e-12)  # a sum over records would be seven times as much
    assert (DISTANCES[name](p, p) == 0).all()
    assert (once > 0).all()


@pytest.mark.parametrize("name", list(DISTANCES))
def test_only_records_in_use_count(name: str) -> None:
    p, q = predictions(0), predictions(1)
    used = np.random.default_rng(2).random(p.shape[:2]) < 0.5
    found = DISTANCES[name](p, q, used)
    for model in range(3):
        part = DISTANCES[name](p[model : model + 1, used[model]], q[model : model + 1, used[model]])
        assert found[model] == pytest.approx(part[0], rel=1e-12)
    with pytest.raises(InputError, match="without records"):
        DISTANCES[name](p, q, np.zeros(p.shape[:2]))


def test_all_pairs_pair_every_model_with_every_other() -> None:
    p, q = predictions(0), predictions(1, models=4)
    found = all_pairs(js, p, q)
    assert found.shape == (3, 4)
    for k in range(3):
        for m in range(4):
            assert found[k, m] == pytest.approx(js(p[k : k + 1], q[m : m + 1])[0], rel=1e-12)


def test_infinite_divergence_stays_infinite_and_js_stays_finite() -> None:
    p, q = np.array([[[1.0, 0.0]]]), np.array([[[0.5, 0.5]]])
    assert functions.kl(p, q)[0] == np.inf
    assert functions.kl(q, p)[0] == pytest.approx(np.log(2))
    assert np.isfinite(js(p, q)[0])


def test_agreement_and_zrf() -> None:
    p, q = predictions(0), predictions(1)
    np.testing.assert_allclose(completeness(p, q), (p.argmax(-1) == q.argmax(-1)).mean(axis=1))
    assert (zrf(p, p) == 1).all()
    opposite = np.array([[[1.0, 0.0]]]), np.array([[[0.0, 1.0]]])
    assert zrf(*opposite)[0] == pytest.approx(1 - np.log(2))
    np.testing.assert_allclose(zrf(p, q), 1 - js(p, q))


def test_tow_is_the_product_of_its_parts() -> None:
    accuracy = {"forget": np.array([0.9]), "retain": np.array([1.0]), "test": np.array([0.8])}
    retrained = {"forget": np.array([0.7]), "retain": np.array([0.95]), "test": np.array([0.85])}
    found = tow(accuracy, retrained)
    assert found["tow"][0] == pytest.approx(0.8 * 0.95 * 0.95)
    assert found["forget"][0] == pytest.approx(0.8)
    assert tow(retrained, accuracy)["tow"] == pytest.approx(found["tow"])  # too much forgotten counts like too little
    with pytest.raises(InputError, match="per cent"):
        tow({**accuracy, "test": np.array([80.0])}, retrained)


def textbook_cka(x: np.ndarray, y: np.ndarray) -> float:
    """The estimator written out with kernels."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n = len(k)
        k, m, one = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), np.ones(n)
        total = (
            np.trace(k @ m)
            + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ k @ m @ one)
        )
        return float(total / (n * (n - 3)))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def test_cka_is_the_unbiased_estimator_and_knows_rotations() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 30, 6)) + 3, generator.normal(size=(2, 30, 4))
    np.testing.assert_allclose(cka(x, y), [textbook_cka(a, b) for a, b in zip(x, y, strict=True)], rtol=1e-9)
    rotation = np.linalg.qr(generator.normal(size=(6, 6)))[0]
    np.testing.assert_allclose(cka(x, 5 * x @ rotation + 1), 1.0, rtol=1e-9)


def test_cka_of_unrelated_features_is_about_zero_where_the_biased_one_is_not() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(200, 20, 30)), generator.normal(size=(200, 20, 30))
    assert abs(cka(x, y).mean()) < 4 * cka(x, y).std() / np.sqrt(200)
    centred = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    cross, own, other = (
        (np.einsum("knp,knq->kpq", a, b) ** 2).sum(axis=(1, 2))
        for a, b in (centred, (centred[0], centred[0]), (centred[1], centred[1]))
    )
    assert (cross / np.sqrt(own * other)).mean() > 0.4


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        (np.ones((1, 2, 2)), np.ones((1, 2, 2)), "no distribution"),
        (predictions(0), predictions(0)[:, :3], "shapes"),
        (predictions(0)[0], predictions(0)[0], "shapes"),
    ],
)
def test_what_is_no_prediction_is_refused(p: np.ndarray, q: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        js(p, q)


def test_cka_refuses_what_it_cannot_estimate() -> None:
    with pytest.raises(InputError, match="four records"):
        cka(np.zeros((1, 3, 2)), np.zeros((1, 3, 2)))
    with pytest.raises(InputError, match="vary"):
        cka(np.ones((1, 9, 2)), np.ones((1, 9, 2)))
