"""No certificate with a stale transformer: what a step learned must be what the retained records alone teach it."""

import numpy as np
import pytest

from certify import bound_model
from certify.core.errors import AssumptionViolatedError, ConfigurationError, InputError

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn import (  # fmt: skip
    compose,
    decomposition,
    feature_selection,
    kernel_approximation,
    pipeline,
    preprocessing,
    random_projection,
)
from sklearn.linear_model import LogisticRegression, Ridge

FORGOTTEN = 3


def model():
    return LogisticRegression(C=0.3, solver="newton-cholesky", tol=1e-11)


def records(tools):
    data = tools.draw("binary", records=80)
    data.X[0] *= 4  # the record to be forgotten is unlike the others
    return data


LEARNING = {
    "scaler": preprocessing.StandardScaler,
    "min-max": preprocessing.MinMaxScaler,
    "robust": preprocessing.RobustScaler,
    "quantiles": lambda: preprocessing.QuantileTransformer(n_quantiles=20),
    "power": preprocessing.PowerTransformer,
    "bins": lambda: preprocessing.KBinsDiscretizer(4, strategy="uniform"),
    "splines": preprocessing.SplineTransformer,
    "pca": lambda: decomposition.PCA(2),
    "nystroem": lambda: kernel_approximation.Nystroem(n_components=20, random_state=0),
    "columns": lambda: compose.ColumnTransformer([("some", preprocessing.StandardScaler(), [0])], remainder="passthrough"),
    "union": lambda: pipeline.FeatureUnion([("a", preprocessing.MaxAbsScaler()), ("b", preprocessing.Normalizer())]),
    "nested": lambda: pipeline.make_pipeline(preprocessing.Normalizer(), preprocessing.StandardScaler()),
    "supervised": lambda: feature_selection.SelectKBest(k=2),
}  # fmt: skip
LEARNING_NOTHING = {
    "normalizer": preprocessing.Normalizer,
    "polynomials": lambda: preprocessing.PolynomialFeatures(2),
    "function": lambda: preprocessing.FunctionTransformer(np.tanh),
    "binarizer": preprocessing.Binarizer,
    "nested": lambda: pipeline.make_pipeline(preprocessing.Normalizer(), preprocessing.PolynomialFeatures(2)),
    "passthrough": lambda: "passthrough",
    "seeded projection": lambda: random_projection.GaussianRandomProjection(2, random_state=0),
}


def steps(transformer):
    return pipeline.Pipeline([("prepare", transformer), ("model", model())])


@pytest.mark.parametrize("kind", LEARNING)
def test_a_transformer_that_saw_forgotten_records_is_refused(tools, kind):
    data = records(tools)
    fitted = steps(LEARNING[kind]()).fit(data.X, data.y)
    with pytest.raises(AssumptionViolatedError) as caught:
        bound_model(fitted, data.X[FORGOTTEN:], data.y[FORGOTTEN:])
    line = str(caught.value)
    assert line.startswith("pipeline step 'prepare' (")
    assert "is not what fitting on the retained records gives" in line
    assert "refit the transformers on the retained records (refit=True)" in line
    assert "public=['prepare']" in line
    assert not any(character.isdigit() for character in line), "a message holds no numbers of records"


@pytest.mark.parametrize("kind", [*LEARNING, *LEARNING_NOTHING])
def test_a_transformer_fitted_on_the_retained_records_passes(tools, kind):
    data = records(tools)
    X, y = data.X[FORGOTTEN:], data.y[FORGOTTEN:]
    fitted = steps({**LEARNING, **LEARNING_NOTHING}[kind]()).fit(X, y)
    assert bound_model(fitted, X, y).distance < 1e-6


@pytest.mark.parametrize("kind", LEARNING_NOTHING)
def test_a_transformer_that_learns_nothing_passes_whatever_it_was_fitted_on(tools, kind):
    data = records(tools)
    fitted = steps(LEARNING_NOTHING[kind]()).fit(data.X, data.y)
    made = bound_model(fitted, data.X[FORGOTTEN:], data.y[FORGOTTEN:])
    assert made.distance > 1e-6
    assert not any("refitted" in note for note in made.notes)


@pytest.mark.parametrize("kind", ["scaler", "quantiles", "columns", "nested"])
def test_refitting_certifies_against_the_transformers_a_retrained_pipeline_has(tools, kind):
    data = records(tools)
    X, y = data.X[FORGOTTEN:], data.y[FORGOTTEN:]
    stale, retrained = steps(LEARNING[kind]()).fit(data.X, data.y), steps(LEARNING[kind]()).fit(X, y)
    made = bound_model(stale, X, y, refit=True)
    assert np.array_equal(made.problem.X[:], retrained[:-1].transform(X))
    assert any("was refitted on the retained records: release the refitted one" in note for note in made.notes)
    (name, step), best = made.transformers[0], retrained[-1]
    assert name == "prepare"
    assert np.array_equal(step.transform(X), retrained[:-1].transform(X))
    true = np.linalg.norm(np.append(stale[-1].coef_ - best.coef_, stale[-1].intercept_ - best.intercept_))
    own = bound_model(retrained, X, y).distance
    assert true <= made.distance + own
    assert made.distance <= 3 * true


def test_a_step_declared_public_is_used_as_it_is(tools):
    data = records(tools)
    fitted = steps(LEARNING["scaler"]()).fit(data.X, data.y)
    made = bound_model(fitted, data.X[FORGOTTEN:], data.y[FORGOTTEN:], public=["prepare"])
    assert np.array_equal(made.problem.X[:], fitted[:-1].transform(data.X[FORGOTTEN:]))
    assert any("declared public: what it learned is not checked" in note for note in made.notes)


def test_a_difference_that_no_retained_record_shows_is_seen(tools):
    """Bin edges that only forgotten records fall between change no feature here, and are refused all the same."""
    data = tools.draw("binary", records=40)
    X = np.tile([[0.0], [1.0]], (20, 1))
    y = data.y[:40]
    coder = preprocessing.OneHotEncoder(handle_unknown="ignore", categories=[[0.0, 1.0, 2.0]])
    fitted = pipeline.Pipeline([("prepare", coder), ("model", model())]).fit(X, y)
    assert bound_model(fitted, X, y).distance < 1e-6
    fitted[0].learned_ = np.array([7.0])
    with pytest.raises(AssumptionViolatedError, match="learned_ is not what fitting on the retained records gives"):
        bound_model(fitted, X, y)


def test_a_change_of_the_last_bit_is_seen(tools):
    data = records(tools)
    fitted = steps(LEARNING["scaler"]()).fit(data.X, data.y)
    fitted[0].mean_[0] = np.nextafter(fitted[0].mean_[0], np.inf)
    with pytest.raises(AssumptionViolatedError, match="mean_ is not"):
        bound_model(fitted, data.X, data.y)


def test_a_category_of_forgotten_records_alone_is_refused_and_refitting_it_too(tools):
    data = tools.draw("binary", records=40)
    X = np.tile([[0.0], [1.0]], (20, 1))
    X[0] = 5.0
    fitted = pipeline.Pipeline([("prepare", preprocessing.OneHotEncoder()), ("model", model())]).fit(X, data.y)
    with pytest.raises(AssumptionViolatedError, match="categories_ is not"):
        bound_model(fitted, X[1:], data.y[1:])
    with pytest.raises(AssumptionViolatedError, match="give 2 features, the model has weights for 3; train the whole"):
        bound_model(fitted, X[1:], data.y[1:], refit=True)


def test_an_unseeded_random_step_is_refused(tools):
    data = records(tools)
    fitted = steps(random_projection.GaussianRandomProjection(2)).fit(data.X, data.y)
    with pytest.raises(AssumptionViolatedError, match="components_ is not"):
        bound_model(fitted, data.X, data.y)


def test_a_frozen_transformer_is_refused_wherever_it_stands(tools):
    frozen = pytest.importorskip("sklearn.frozen", reason="this scikit-learn has no FrozenEstimator").FrozenEstimator
    data = records(tools)
    learned = frozen(preprocessing.StandardScaler().fit(data.X))
    inside = compose.ColumnTransformer([("some", learned, [0, 1, 2])])
    X, y = data.X[FORGOTTEN:], data.y[FORGOTTEN:]
    for transformer in (learned, inside, pipeline.make_pipeline(preprocessing.Normalizer(), inside)):
        fitted = steps(transformer).fit(X, y)
        for refit in (False, True):
            with pytest.raises(
                AssumptionViolatedError, match="FrozenEstimator keeps what it learned when it is cloned"
            ):
                bound_model(fitted, X, y, refit=refit)
        assert bound_model(fitted, X, y, public=["prepare"]).distance < 1e-6


def test_what_a_transformer_is_told_is_declared(tools):
    data = records(tools)
    fitted = steps(preprocessing.FunctionTransformer(np.tanh)).fit(data.X, data.y)
    assert any("what a transformer is told" in note for note in bound_model(fitted, data.X, data.y).notes)


def test_cross_fitted_features_are_refused(tools):
    data = tools.draw("binary", records=60)
    groups = np.tile([0.0, 1.0, 2.0], 20)[:, None]
    coder = preprocessing.TargetEncoder(target_type="binary")
    fitted = pipeline.Pipeline([("prepare", coder), ("model", model())]).fit(groups, data.y)
    for refit in (False, True):
        with pytest.raises(AssumptionViolatedError, match="cross-fitting"):
            bound_model(fitted, groups, data.y, refit=refit)


def test_what_a_library_says_of_records_is_not_repeated(tools):
    data = records(tools)
    fitted = steps(LEARNING["scaler"]()).fit(data.X, data.y)
    X = data.X.astype(object)
    X[0, 0] = "secret"
    with pytest.raises(InputError) as caught:
        bound_model(fitted, X, data.y)
    assert "secret" not in str(caught.value)
    assert "StandardScaler cannot be fitted to these records or applied to them (ValueError)" in str(caught.value)


@pytest.mark.parametrize(
    ("public", "trouble"), [(["scale"], "the pipeline has no transformer 'scale'"), ("prepare", "public: is one text")]
)
def test_a_public_step_has_to_exist(tools, public, trouble):
    data = records(tools)
    fitted = steps(LEARNING["scaler"]()).fit(data.X, data.y)
    with pytest.raises(ConfigurationError, match=trouble):
        bound_model(fitted, data.X, data.y, public=public)


def test_sparse_features_of_a_step_are_taken(tools):
    data = tools.draw("real", records=60)
    groups = np.tile([0.0, 1.0, 2.0], 20)[:, None]
    fitted = pipeline.make_pipeline(preprocessing.OneHotEncoder(), Ridge(2.0, solver="sparse_cg", tol=1e-12))
    fitted.fit(groups, data.y)
    assert bound_model(fitted, groups, data.y).distance < 1e-6


def test_a_pipeline_that_ends_in_no_estimator_is_refused(tools):
    data = records(tools)
    fitted = pipeline.make_pipeline(preprocessing.StandardScaler(), "passthrough").fit(data.X)
    with pytest.raises(InputError, match="last step is no estimator that an adapter reads"):
        bound_model(fitted, data.X, data.y)
