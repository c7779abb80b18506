"""From a fitted model to a certificate: labels, weights, refusals, and a declared objective that a model contradicts."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

from certify import Objective, adapt, bound_distance, bound_model
from certify.core.errors import AssumptionViolatedError, ConfigurationError, InputError

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn import linear_model, model_selection, multiclass, svm
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, RidgeClassifier, SGDClassifier


def logistic(**options):
    return LogisticRegression(**({"C": 0.3, "solver": "newton-cholesky", "tol": 1e-11} | options))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_the_bound_holds_the_distance_to_a_retrained_model(tools, seed, weighted):
    """Train on all records, forget some: the certified distance to the model trained without them is not exceeded."""
    data, kept = tools.draw("binary", seed=seed), slice(5, None)
    weight = data.weight if weighted else np.ones(len(data.X))
    for model in (logistic(class_weight="balanced"), Ridge(3.0), PoissonRegressor(alpha=0.3, tol=1e-11)):
        y = data.y if model.__class__ is LogisticRegression else (data.y == "yes").astype(float)
        original = model.fit(data.X, y, sample_weight=weight)
        made = bound_model(original, data.X[kept], y[kept], weight[kept])
        parts = np.ravel(original.coef_).copy(), np.ravel(original.intercept_).copy()
        retrained = model.fit(data.X[kept], y[kept], sample_weight=weight[kept])
        own = bound_model(retrained, data.X[kept], y[kept], weight[kept]).distance
        gap = np.append(np.ravel(retrained.coef_) - parts[0], np.ravel(retrained.intercept_) - parts[1])
        assert np.linalg.norm(gap) <= made.distance + own
        assert own < 1e-4 < made.distance


def test_a_loose_tolerance_only_makes_the_bound_larger(tools):
    data = tools.draw("binary")
    distances = [bound_model(logistic(solver="lbfgs", tol=tol).fit(data.X, data.y), data.X, data.y).distance for tol in (1e-8, 1e-1)]  # fmt: skip
    assert distances[0] < 1e-5 < distances[1]


@pytest.mark.parametrize("labels", [("yes", "no"), (1, 0), (1, -1), (7.0, 2.0), (True, False)])
def test_labels_are_encoded_in_the_order_of_the_classes(tools, labels):
    data = tools.draw("binary")
    y = np.where(data.y == "yes", *labels)
    made = bound_model(logistic().fit(data.X, y), data.X, y)
    assert made.distance < 1e-6
    assert (made.problem.targets == np.where(y == max(labels), 1, -1)).all()


def test_labels_the_model_does_not_know_are_counted_and_not_quoted(tools):
    data = tools.draw("binary")
    model = logistic().fit(data.X, data.y)
    y = data.y.copy().astype("<U9")
    y[:2] = "secret"
    with pytest.raises(InputError, match="2 of 60 labels are none of the model's 2 classes") as caught:
        bound_model(model, data.X, y)
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match="60 of 60 labels"):
        bound_model(model, data.X, np.arange(60))
    with pytest.raises(InputError, match=r"y has shape \(59,\), X has 60 rows"):
        bound_model(model, data.X, data.y[1:])


def test_a_class_that_only_forgotten_records_have_is_refused(tools):
    data = tools.draw("classes")
    model = logistic(solver="lbfgs").fit(data.X, data.y)
    kept = data.y != "b"
    with pytest.raises(
        AssumptionViolatedError, match="1 of the 3 classes of LogisticRegression have no retained record"
    ):
        bound_model(model, data.X[kept], data.y[kept])


def test_the_penalty_of_a_mean_convention_follows_the_retained_records(tools):
    data = tools.draw("counts")
    fitted = adapt(PoissonRegressor(alpha=0.5).fit(data.X, data.y))
    assert [fitted.objective(n, a).l2 for n, a in ((60, 60.0), (50, 50.0), (50, 80.0))] == [30.0, 25.0, 40.0]
    labels = np.sign(data.y - 0.5)
    fitted = adapt(SGDClassifier(loss="log_loss", alpha=0.5).fit(data.X, labels))
    assert [fitted.objective(n, a).l2 for n, a in ((60, 60.0), (50, 80.0))] == [30.0, 25.0]


def test_what_was_read_is_told(tools):
    data = tools.draw("binary")
    made = bound_model(logistic(class_weight="balanced").fit(data.X, data.y), data.X, data.y)
    assert made.model.library == "scikit-learn"
    assert made.model.version
    assert made.model.title.endswith("LogisticRegression")
    assert made.notes == ("class weights multiply the sample weights",)
    assert made.objective == Objective("logistic", 1 / 0.3, fit_intercept=True, penalize_intercept=False)


class Mine(LogisticRegression):
    """A user's own estimator."""


def test_a_derived_class_is_read_as_what_it_derives_from(tools):
    data = tools.draw("binary")
    assert (
        bound_model(Mine(C=0.3, solver="newton-cholesky", tol=1e-11).fit(data.X, data.y), data.X, data.y).distance
        < 1e-6
    )


REFUSED = {
    "no penalty": (lambda: logistic(C=np.inf, solver="lbfgs"), "binary", "without a penalty"),
    "cross-validated": (lambda: model_selection.GridSearchCV(logistic(), {"C": [1, 2]}), "binary", "GridSearchCV chooses its penalty"),
    "ridge cv": (linear_model.RidgeCV, "real", "RidgeCV chooses its penalty by cross-validation"),
    "least squares": (linear_model.LinearRegression, "real", "LinearRegression has no penalty"),
    "epsilon": (svm.LinearSVR, "real", "epsilon-insensitive"),
    "huber": (linear_model.HuberRegressor, "real", "estimates a scale"),
    "constrained": (lambda: Ridge(positive=True), "real", "positive=True"),
    "crammer-singer": (lambda: svm.LinearSVC(multi_class="crammer_singer", random_state=0), "classes", "crammer_singer"),
    "modified huber": (lambda: SGDClassifier(loss="modified_huber"), "binary", "minimised the loss 'modified_huber'"),
    "sgd without penalty": (lambda: SGDClassifier(loss="log_loss", penalty=None), "binary", "without a penalty"),
    "early stopping": (lambda: SGDClassifier(loss="log_loss", early_stopping=True), "binary", "early_stopping=True"),
    "tweedie": (lambda: linear_model.TweedieRegressor(power=1.5), "counts", "power 1.5 and the link 'log'"),
    "heads with class weights": (lambda: svm.LinearSVC(class_weight="balanced"), "classes", "class weights and one-versus-rest"),
}  # fmt: skip


@pytest.mark.parametrize(("model", "kind", "trouble"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_no_objective_describes_is_refused(tools, model, kind, trouble):
    data = tools.draw(kind)
    with pytest.raises(AssumptionViolatedError) as caught:
        adapt(model().fit(data.X, data.y))
    assert trouble in str(caught.value)
    assert "; " in str(caught.value), "it says how to mend it"


def test_several_targets_are_refused(tools):
    data = tools.draw("real")
    with pytest.raises(
        AssumptionViolatedError, match="predicts 2 targets at once; fit and certify one target at a time"
    ):
        adapt(Ridge().fit(data.X, np.column_stack([data.y, data.y])))
    labels = tools.draw("classes").y
    with pytest.raises(AssumptionViolatedError, match="RidgeClassifier predicts 3 targets"):
        adapt(RidgeClassifier().fit(data.X, labels))


def test_softmax_with_a_free_intercept_has_no_certificate_and_says_so(tools):
    data = tools.draw("classes")
    model = logistic(solver="lbfgs").fit(data.X, data.y)
    with pytest.raises(AssumptionViolatedError, match="the intercept is not penalised"):
        bound_model(model, data.X, data.y)
    free = logistic(solver="newton-cg", fit_intercept=False).fit(data.X, data.y)
    assert bound_model(free, data.X, data.y).distance < 1e-5


@pytest.mark.parametrize("model", [logistic(), linear_model.Ridge()])
def test_a_model_that_is_not_fitted_is_refused(model):
    with pytest.raises(InputError, match="is not fitted; call fit first"):
        adapt(model)


@pytest.mark.parametrize(
    "model",
    [multiclass.OneVsRestClassifier(logistic()), object(), np.ones(3), 5, None, "model"],
    ids=lambda model: type(model).__name__,
)
def test_what_nobody_reads_is_refused(model):
    with pytest.raises(InputError, match=r"no adapter for .*; declare an Objective and pass"):
        adapt(model)


def test_an_estimator_says_its_objective_itself(tools):
    data = tools.draw("binary")
    with pytest.raises(ConfigurationError, match="l2: scikit-learn takes no l2"):
        adapt(logistic().fit(data.X, data.y), l2=3.0)


# --- bound_distance with an estimator ---------------------------------------------------------------------------------

OWN = Objective("logistic", 10.0, fit_intercept=True, penalize_intercept=False)
CONTRADICTIONS = {
    "l2": (Objective("logistic", 1.0, True, False), "l2 is 10 in total, the objective says 1"),
    "loss": (Objective("squared", 10.0, True, False), "loss is 'logistic', the objective says 'squared'"),
    "no intercept": (Objective("logistic", 10.0), "fit_intercept is true, the objective says false"),
    "penalised": (Objective("logistic", 10.0, True, True), "penalize_intercept is false, the objective says true"),
}


@pytest.mark.parametrize(("declared", "trouble"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_declared_objective_that_the_estimator_contradicts_is_refused(tools, declared, trouble):
    data = tools.draw("binary")
    y, model = (data.y == "yes").astype(int), logistic(C=0.1)
    model.fit(data.X, y)
    with pytest.raises(AssumptionViolatedError) as caught:
        bound_distance(declared, data.X, y, model)
    assert f"what it minimised is not the declared objective: {trouble}; declare the objective" in str(caught.value)
    assert bound_distance(OWN, data.X, y, model).distance < 1e-6


def test_a_mean_convention_is_compared_on_the_retained_records(tools):
    data = tools.draw("counts")
    model = PoissonRegressor(alpha=0.5, tol=1e-11).fit(data.X, data.y)
    objective = Objective("poisson", 30.0, fit_intercept=True, penalize_intercept=False)
    assert bound_distance(objective, data.X, data.y, model).distance < 1e-4
    with pytest.raises(AssumptionViolatedError, match=r"l2 is 27\.5 in total, the objective says 30"):
        bound_distance(objective, data.X[5:], data.y[5:], model)
    with pytest.raises(AssumptionViolatedError, match=r"l2 is .* in total, the objective says 30"):
        bound_distance(objective, data.X, data.y, model, data.weight)


@pytest.mark.parametrize(
    ("options", "error", "trouble"),
    [
        ({"class_weight": "balanced"}, InputError, "it has class weights, which multiply the sample weights; call certify.bound_model"),
        ({"solver": "liblinear", "intercept_scaling": 2.0}, AssumptionViolatedError, "intercept_scaling is 2"),
    ],
)  # fmt: skip
def test_what_an_objective_cannot_say_is_refused(tools, options, error, trouble):
    data = tools.draw("binary")
    y = (data.y == "yes").astype(int)
    with pytest.raises(error, match=trouble):
        bound_distance(OWN, data.X, y, logistic(C=0.1, **options).fit(data.X, y))


def test_a_pipeline_is_sent_to_where_its_steps_are_checked(tools):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = tools.draw("binary")
    y = (data.y == "yes").astype(int)
    model = make_pipeline(StandardScaler(), logistic(C=0.1)).fit(data.X, y)
    with pytest.raises(InputError, match=r"have to be checked against the retained records; call certify\.bound_model"):
        bound_distance(OWN, data.X, y, model)


def test_an_estimator_nobody_knows_is_taken_at_its_weights(tools):
    class Strange:
        coef_ = np.zeros((1, 3))
        intercept_ = np.zeros(1)

    data = tools.draw("binary")
    y = (data.y == "yes").astype(int)
    other = linear_model.Perceptron().fit(data.X, y)
    for model in (Strange(), other):
        pair = model.coef_, model.intercept_
        assert bound_distance(OWN, data.X, y, model).distance == bound_distance(OWN, data.X, y, pair).distance


def test_plain_arrays_load_no_library():
    code = """
import sys, numpy
from certify import Objective, bound_distance, bound_model
from certify.core.errors import InputError
bound_distance(Objective("logistic", l2=1.0), numpy.eye(2), [0, 1], numpy.zeros(2))
try:
    bound_model(numpy.zeros(2), numpy.eye(2), [0, 1])
except InputError:
    print({"torch", "sklearn", "statsmodels", "pandas", "skops"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


def test_every_adapter_is_tried_in_the_tests_of_conventions():
    from certify.convex.adapters import sklearn as adapters

    source = inspect.getsource(sys.modules[__name__]) + (
        __import__("pathlib").Path(__file__).with_name("test_sklearn_conventions.py").read_text(encoding="utf-8")
    )
    missing = [name for name in adapters.ADAPTERS if name not in source and name != "Lasso"]
    assert not missing
