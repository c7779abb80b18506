"""Label-only attacks: the gap is a difference of accuracies, votes measure the distance to the boundary."""

import numpy as np
import pytest
from scipy.stats import norm

from certify.attacks.scores.label_only import gap_advantage, gap_scores, noise_vote, translations, vote_scores
from certify.core.errors import ArgumentError


def test_the_gap_is_the_difference_of_accuracies():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, 200), rng.integers(0, 3, (5, 200))
    member = rng.random((5, 200)) < 0.4
    predicted = np.where(member & (rng.random((5, 200)) < 0.5), labels, predicted)
    correct = gap_scores(predicted, labels)
    for k, found in enumerate(gap_advantage(correct, member)):
        inside = member[k]
        assert found == pytest.approx(
            np.mean(predicted[k, inside] == labels[inside]) - np.mean(predicted[k, ~inside] == labels[~inside])
        )
    truth = member.astype(float)
    truth[:, :50] = np.nan  # neither member nor non-member
    np.testing.assert_allclose(gap_advantage(correct, truth), gap_advantage(correct[:, 50:], member[:, 50:]))


def test_constant_predictions_have_no_advantage():
    assert gap_advantage(np.ones((2, 6)), np.tile([1, 0], (2, 3))).tolist() == [0.0, 0.0]


def test_a_vote_is_the_share_of_views_that_are_right():
    predicted = np.array([[[0, 1, 2]], [[0, 2, 2]], [[1, 1, 2]], [[0, 0, 2]]])  # views, models, records
    np.testing.assert_allclose(vote_scores(predicted, [0, 1, 2]), [[0.75, 0.5, 1.0]])


def test_noise_votes_measure_the_distance_to_the_boundary_of_a_linear_model():
    rng, std = np.random.default_rng(1), 0.7
    X, w = rng.normal(size=(60, 4)), rng.normal(size=(3, 4))
    labels = rng.integers(0, 2, 60)

    def predict(inputs):
        return (w @ inputs.T > 0).astype(int)

    found = noise_vote(predict, X, labels, noise_std=std, draws=2000, seed=3)
    margins = (2 * labels - 1) * (w @ X.T) / np.linalg.norm(w, axis=1, keepdims=True)
    assert np.abs(found - norm.cdf(margins / std)).max() < 5 * 0.5 / np.sqrt(2000)
    assert np.array_equal(found[:, :7], noise_vote(predict, X, labels, noise_std=std, draws=2000, seed=3)[:, :7])


def test_views_are_moved_and_mirrored_images():
    images = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    views = translations(images, 1)
    assert views.shape == (10, 2, 3, 4)
    assert np.array_equal(views[0], images)
    assert np.array_equal(views[5], images[..., ::-1])
    down = np.concatenate([images[:, :1], images[:, :-1]], axis=1)
    assert any(np.array_equal(view, down) for view in views)
    assert len({view.tobytes() for view in views}) == 10
    for pixels in (0, 1, 2):
        assert len(translations(images, pixels, reflect=False)) == 2 * pixels * (pixels + 1) + 1
    colour = np.zeros((2, 3, 5, 6))
    assert translations(colour, 2).shape == (26, 2, 3, 5, 6)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ArgumentError, match="one column a record"):
        gap_scores(np.zeros((2, 3)), np.zeros(4))
    with pytest.raises(ArgumentError, match="no members or no non-members"):
        gap_advantage(np.ones((2, 3)), [[1, 0, 1], [1, 1, 1]])
    with pytest.raises(ArgumentError, match="differ"):
        gap_advantage(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ArgumentError, match="one row a view"):
        vote_scores(np.zeros(3), np.zeros(3))
    with pytest.raises(ArgumentError, match="a move of 3"):
        translations(np.zeros((2, 3, 4)), 3)
    with pytest.raises(ArgumentError, match="above 0"):
        noise_vote(lambda X: X[:, 0], np.zeros((2, 2)), [0, 0], noise_std=0.0)
