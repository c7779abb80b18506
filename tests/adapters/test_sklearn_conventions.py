"""What each estimator of the installed scikit-learn minimises, derived from what it does: nothing here knows a version."""

import dataclasses
import inspect
import warnings

import numpy as np
import pytest

from certify.convex.problem import bind
from certify.core.errors import AssumptionViolatedError

linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
svm = pytest.importorskip("sklearn.svm")


def logistic(C=0.3, **options):
    return linear_model.LogisticRegression(C=C, tol=1e-12, max_iter=100_000, **options)


def elastic(ratio):
    """An elastic net in the way the installed version wants it."""
    new = inspect.signature(linear_model.LogisticRegression).parameters["l1_ratio"].default == 0.0
    return {"l1_ratio": ratio} if new else {"l1_ratio": ratio, "penalty": "elasticnet"}


def fit(model, records, sample_weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations differ from version to version
        return model.fit(records.X, records.y, sample_weight=sample_weight)


def check(tools, model, kind, *, weighted=False, precision=1e-5, records=None):
    data = tools.draw(kind) if records is None else records
    weight = data.weight if weighted else None
    made = tools.bind(fit(model, data, weight), data.X, data.y, weight)
    tools.assert_convention(made, precision)
    return made


SOLVERS = ["lbfgs", "newton-cg", "newton-cholesky", "sag", "saga", "liblinear"]


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", SOLVERS)
def test_binary_logistic_regression(tools, solver, intercept):
    made = check(tools, logistic(solver=solver, fit_intercept=intercept), "binary", weighted=True)
    assert made.objective.l2 == 1 / 0.3
    assert made.objective.penalize_intercept is (solver == "liblinear" or not intercept)


@pytest.mark.parametrize("class_weight", ["balanced", {"yes": 3.0, "no": 0.5}, {"no": 2.0}])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda weights: logistic(solver="newton-cholesky", class_weight=weights), id="newton-cholesky"),
        pytest.param(lambda weights: logistic(solver="liblinear", class_weight=weights), id="liblinear"),
        pytest.param(lambda weights: linear_model.RidgeClassifier(alpha=3.0, class_weight=weights), id="ridge"),
    ],
)
def test_class_weights_multiply_the_sample_weights(tools, model, class_weight, weighted):
    made = check(tools, model(class_weight), "binary", weighted=weighted)
    plain = dataclasses.replace(made, problem=dataclasses.replace(made.problem, weights=np.ones(made.problem.records)))
    assert tools.residual(plain) > 0.05


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "saga"])
def test_multinomial_logistic_regression(tools, solver, weighted):
    made = check(tools, logistic(solver=solver), "classes", weighted=weighted)
    assert made.objective.loss == "softmax"


@pytest.mark.parametrize("intercept", [True, False])
def test_two_classes_fitted_as_multinomial(tools, intercept):
    if "multi_class" not in inspect.signature(linear_model.LogisticRegression).parameters:
        pytest.skip("this scikit-learn has no multi_class option")
    model = logistic(solver="newton-cg", multi_class="multinomial", fit_intercept=intercept)
    made = check(tools, model, "binary", weighted=True)
    assert (made.objective.loss, made.problem.outputs) == ("softmax", 2)


@pytest.mark.parametrize("option", ["ovr", "auto"])
def test_more_classes_fitted_one_against_the_rest(tools, option):
    if "multi_class" not in inspect.signature(linear_model.LogisticRegression).parameters:
        pytest.skip("this scikit-learn has no multi_class option")
    tools.needs(terms=("one_vs_rest",))
    solver = "newton-cg" if option == "ovr" else "liblinear"
    assert check(tools, logistic(solver=solver, multi_class=option), "classes").objective.one_vs_rest


@pytest.mark.parametrize("scaling", [0.3, 4.0])
def test_liblinear_penalises_the_weight_of_its_constant_column(tools, scaling):
    data = tools.draw("binary")
    model = fit(logistic(solver="liblinear", intercept_scaling=scaling), data)
    made = tools.bind(model, data.X, data.y)
    tools.assert_convention(made)
    assert made.problem.X[:, -1].tolist() == [scaling] * len(data.X)
    assert made.parameters[0, -1] == pytest.approx(model.intercept_[0] / scaling)
    as_ones = dataclasses.replace(made.objective, fit_intercept=True)
    X = data.X
    problem = bind(as_ones, X, np.where(data.y == "yes", 1, 0))
    own = np.append(model.coef_[0], model.intercept_)[None, :]
    assert np.linalg.norm(problem.gradient(own)) > 0.05 * made.objective.l2 * np.linalg.norm(own)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", ["auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga"])
def test_ridge(tools, solver, intercept, weighted):
    model = linear_model.Ridge(alpha=7.0, solver=solver, fit_intercept=intercept, tol=1e-13, max_iter=20_000)
    assert check(tools, model, "real", weighted=weighted).objective.l2 == 7.0


@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_classifier(tools, weighted):
    made = check(tools, linear_model.RidgeClassifier(alpha=7.0), "binary", weighted=weighted)
    assert set(made.problem.targets) == {-1.0, 1.0}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
def test_poisson_regression_has_a_mean_convention(tools, solver, intercept, weighted):
    model = linear_model.PoissonRegressor(alpha=0.2, solver=solver, tol=1e-11, max_iter=5000, fit_intercept=intercept)
    data = tools.draw("counts")
    made = check(tools, model, "counts", weighted=weighted, records=data)
    assert made.objective.l2 == pytest.approx(0.2 * (data.weight.sum() if weighted else len(data.X)))


@pytest.mark.parametrize("weighted", [False, True])
def test_gamma_regression_has_a_mean_convention(tools, weighted):
    tools.needs("gamma")
    model = linear_model.GammaRegressor(alpha=0.2, solver="newton-cholesky", tol=1e-11, max_iter=5000)
    check(tools, model, "positive", weighted=weighted)


@pytest.mark.parametrize(
    ("power", "link", "loss", "kind"),
    [
        (0, "auto", "squared", "real"),
        (1, "auto", "poisson", "counts"),
        (2, "log", "gamma", "positive"),
        (1, "log", "poisson", "counts"),
    ],
)
def test_tweedie_regression_where_it_is_one_of_ours(tools, power, link, loss, kind):
    tools.needs(loss)
    model = linear_model.TweedieRegressor(power=power, link=link, alpha=0.2, solver="newton-cholesky", tol=1e-11)
    assert check(tools, model, kind, weighted=True).objective.loss == loss


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [True, False])
def test_linear_svc_with_the_squared_hinge(tools, intercept, weighted):
    tools.needs("squared-hinge")
    model = svm.LinearSVC(C=0.2, dual=False, tol=1e-12, max_iter=100_000, fit_intercept=intercept)
    assert check(tools, model, "binary", weighted=weighted).objective.l2 == 2.5


def test_linear_svc_with_a_scaled_intercept_and_class_weights(tools):
    tools.needs("squared-hinge")
    model = svm.LinearSVC(
        C=0.2, dual=False, tol=1e-12, max_iter=100_000, intercept_scaling=3.0, class_weight="balanced"
    )
    check(tools, model, "binary", weighted=True)


def test_linear_svc_one_against_the_rest(tools):
    tools.needs("squared-hinge", terms=("one_vs_rest",))
    check(tools, svm.LinearSVC(C=0.2, dual=False, tol=1e-12, max_iter=100_000), "classes", weighted=True)


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.5, 60.0])
def test_linear_svc_with_the_hinge(tools, factor):
    """The minimiser has no gradient: its value must be the least along every line through it, and is not for another penalty."""
    tools.needs("hinge")
    data = tools.draw("binary")
    model = fit(svm.LinearSVC(C=0.2, loss="hinge", dual=True, tol=1e-12, max_iter=1_000_000, random_state=0), data)
    made = tools.bind(model, data.X, data.y)
    changed = dataclasses.replace(made.objective, l2=made.objective.l2 * factor)
    problem = bind(changed, data.X, np.where(data.y == "yes", 1, 0))
    directions = np.random.default_rng(1).normal(size=(200, *made.parameters.shape)) * 1e-3
    directions = np.concatenate([directions, 1e-3 * made.parameters[None], -1e-3 * made.parameters[None]])
    here = problem.value(made.parameters)
    rises = [problem.value(made.parameters + step) - here for step in directions]
    assert (min(rises) >= -1e-9 * here) is (factor == 1.0)


@pytest.mark.parametrize("ratio", [0.0, 0.4, 1.0])
def test_logistic_regression_with_an_elastic_net(tools, ratio):
    if ratio:
        tools.needs(terms=("l1",))
    made = check(tools, logistic(solver="saga", **elastic(ratio)), "binary", weighted=True)
    assert made.objective.l2 == pytest.approx((1 - ratio) / 0.3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ratio", [0.2, 0.5])
def test_elastic_net_regression_has_a_mean_convention(tools, ratio, weighted):
    tools.needs(terms=("l1",))
    model = linear_model.ElasticNet(alpha=0.2, l1_ratio=ratio, tol=1e-14, max_iter=100_000)
    check(tools, model, "real", weighted=weighted)


# Stochastic gradients do not converge, but each step shows the objective: with a tiny step size one pass over the records
# moves the weights by minus the step size times the gradient of n times the mean, wherever it starts.
SGD = [
    ("SGDClassifier", "log_loss", "logistic", "binary"),
    ("SGDClassifier", "hinge", "hinge", "binary"),
    ("SGDClassifier", "squared_hinge", "squared-hinge", "binary"),
    ("SGDRegressor", "squared_error", "squared", "real"),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize(("name", "loss", "ours", "kind"), SGD, ids=[item[1] for item in SGD])
def test_a_pass_of_stochastic_gradients_follows_our_gradient(tools, name, loss, ours, kind, class_weight, weighted):
    tools.needs(ours)
    if class_weight and name == "SGDRegressor":
        pytest.skip("a regressor has no classes")
    data, rate, rng = tools.draw(kind), 1e-6, np.random.default_rng(2)
    options = {"class_weight": class_weight} if class_weight else {}
    model = getattr(linear_model, name)(
        loss=loss, alpha=0.7, learning_rate="constant", eta0=rate, max_iter=1, tol=None, shuffle=False, **options
    )
    before = rng.normal(size=(1, 4))
    weight = data.weight if weighted else None
    model.fit(data.X, data.y, coef_init=before[0, :3].copy(), intercept_init=before[0, 3:].copy(), sample_weight=weight)
    made = tools.bind(model, data.X, data.y, weight)
    moved = (before - made.parameters) / rate
    for factor in (1.0, 2.0, 0.5, len(data.X)):
        changed = dataclasses.replace(made.objective, l2=made.objective.l2 * factor)
        gradient = dataclasses.replace(made.problem, objective=changed).gradient(before)
        # one pass of theirs may count several of our losses: all that matters is the direction
        scale = float(np.sum(gradient * moved) / np.sum(gradient * gradient))
        gap = np.linalg.norm(moved - scale * gradient) / np.linalg.norm(moved)
        assert bool(gap < 1e-3) is (factor == 1.0), (factor, gap)
        assert factor != 1.0 or scale == pytest.approx(2.0 if loss == "squared_hinge" else 1.0, rel=1e-3)


def test_averaged_weights_are_the_ones_certified(tools):
    data = tools.draw("real")
    model = linear_model.SGDRegressor(alpha=0.5, average=True, max_iter=50, tol=None, random_state=0).fit(
        data.X, data.y
    )
    made = tools.bind(model, data.X, data.y)
    assert made.parameters[0, :3].tolist() == model.coef_.tolist()
    assert any("Newton step" in note for note in made.notes)


def test_single_precision_is_taken_as_stored(tools):
    data = tools.draw("binary")
    model = logistic(solver="lbfgs").fit(data.X.astype(np.float32), data.y)
    made = tools.bind(model, data.X.astype(np.float32), data.y)
    assert made.parameters[0, :3].tolist() == model.coef_[0].astype(np.float64).tolist()


def test_a_sparse_coefficient_matrix_is_read(tools):
    data = tools.draw("binary")
    model = logistic(solver="newton-cg").fit(data.X, data.y)
    before = tools.bind(model, data.X, data.y).parameters
    assert tools.bind(model.sparsify(), data.X, data.y).parameters.tolist() == before.tolist()


@pytest.mark.parametrize(
    ("model", "kind", "loss"),
    [
        (lambda: svm.LinearSVC(dual=False), "binary", "squared-hinge"),
        (lambda: svm.LinearSVC(loss="hinge", dual=True, random_state=0), "binary", "hinge"),
        (linear_model.GammaRegressor, "positive", "gamma"),
    ],
)
def test_a_loss_this_version_lacks_is_refused(tools, monkeypatch, model, kind, loss):
    from certify.convex.adapters import base

    monkeypatch.setattr(base, "LOSSES", {name: item for name, item in base.LOSSES.items() if name != loss})
    data = tools.draw(kind)
    with pytest.raises(AssumptionViolatedError, match=f"the {loss} loss of .* is not one that this version certifies"):
        tools.bind(fit(model(), data), data.X, data.y)
