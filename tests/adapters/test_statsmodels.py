"""What statsmodels' results minimise, derived from what the installed version does."""

import warnings

import numpy as np
import pytest

from certify import Objective, adapt, bound_distance, bound_model
from certify.core.errors import AssumptionViolatedError, ConfigurationError, InputError

sm = pytest.importorskip("statsmodels.api")
families = sm.families

KINDS = {
    "logistic": ("binary", families.Binomial),
    "poisson": ("counts", families.Poisson),
    "gamma": ("positive", lambda: families.Gamma(families.links.Log())),
    "squared": ("real", families.Gaussian),
}


def records(tools, loss):
    data = tools.draw(KINDS[loss][0])
    if loss == "logistic":
        data.y = (data.y == "yes").astype(float)
    data.X = sm.add_constant(data.X)
    return data


def glm(loss, data, **options):
    return sm.GLM(data.y, data.X, family=KINDS[loss][1](), **options)


def regularized(model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where it stopped a little early: the residual says how early
        return model.fit_regularized(maxiter=500, **options)


@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_ridge_of_a_glm(tools, loss):
    data = records(tools, loss)
    made = tools.bind(regularized(glm(loss, data), alpha=0.1, L1_wt=0), data.X, data.y, alpha=0.1, l1_weight=0.0)
    tools.assert_convention(made, precision=1e-3)
    assert made.objective == Objective(loss, 6.0)


@pytest.mark.parametrize("loss", KINDS)
def test_the_other_path_of_a_glm_with_next_to_no_l1(tools, loss):
    tools.needs(loss)
    data = records(tools, loss)
    result = regularized(glm(loss, data), alpha=0.1, L1_wt=1e-9)
    if not tools.has("l1"):
        with pytest.raises(AssumptionViolatedError, match="an l1 penalty"):
            tools.bind(result, data.X, data.y, alpha=0.1, l1_weight=1e-9)
        return
    made = tools.bind(result, data.X, data.y, alpha=0.1, l1_weight=1e-9)
    assert tools.residual(made) < 1e-3
    assert min(tools.residual(made, l2=made.objective.l2 * factor) for factor in (2.0, 0.5, 60.0)) > 0.1


@pytest.mark.parametrize("loss", KINDS)
def test_elastic_net_of_a_glm(tools, loss):
    tools.needs(loss, terms=("l1",))
    data = records(tools, loss)
    result = regularized(glm(loss, data), alpha=0.1, L1_wt=0.4)
    tools.assert_convention(tools.bind(result, data.X, data.y, alpha=0.1, l1_weight=0.4), precision=1e-3)


def test_ridge_of_least_squares(tools):
    data = records(tools, "squared")
    result = sm.OLS(data.y, data.X).fit_regularized(alpha=0.1, L1_wt=0)
    tools.assert_convention(tools.bind(result, data.X, data.y, alpha=0.1, l1_weight=0.0))


@pytest.mark.parametrize("kind", ["freq_weights", "var_weights"])
def test_weights_count_in_the_sum_and_not_in_the_mean(tools, kind):
    data = records(tools, "logistic")
    weight = np.ceil(data.weight * 2)
    result = regularized(glm("logistic", data, **{kind: weight}), alpha=0.1, L1_wt=0)
    made = tools.bind(result, data.X, data.y, weight, alpha=0.1, l1_weight=0.0)
    tools.assert_convention(made, precision=1e-3)
    assert made.objective.l2 == 6.0
    with pytest.raises(InputError, match="it was fitted with freq_weights or var_weights; pass those of the retained"):
        tools.bind(result, data.X, data.y, alpha=0.1, l1_weight=0.0)


@pytest.mark.parametrize("loss", ["gamma", "squared"])
def test_the_path_that_estimates_a_scale_is_refused_and_rightly(tools, loss):
    data = records(tools, loss)
    result = regularized(glm(loss, data), alpha=0.1, L1_wt=0)
    with pytest.raises(AssumptionViolatedError, match="estimates the scale along with the weights"):
        adapt(result, alpha=0.1, l1_weight=0.0)
    z = data.X @ result.params
    slope = z - data.y if loss == "squared" else 1 - data.y * np.exp(-z)
    implied = -(data.X.T @ slope) / result.params / len(data.X)
    assert not np.allclose(implied, 0.1, rtol=0.01), "were it 0.1, refusing would be wrong"


@pytest.mark.parametrize("loss", ["logistic", "poisson", "squared"])
def test_without_a_penalty_there_is_no_certificate(tools, loss):
    data = records(tools, loss)
    result = glm(loss, data).fit(tol=1e-12)
    made = tools.bind(result, data.X, data.y)
    assert np.linalg.norm(made.problem.gradient(made.parameters)) < 1e-5
    assert made.objective.l2 == 0
    with pytest.raises(AssumptionViolatedError, match="l2 is 0: without strong convexity"):
        bound_model(result, data.X, data.y)
    with pytest.raises(AssumptionViolatedError, match="l2 is 0 in total, the objective says 6"):
        bound_distance(Objective(loss, 6.0), data.X, data.y, result)


def test_a_certificate_of_regularized_results(tools):
    data = records(tools, "logistic")
    result = regularized(glm("logistic", data), alpha=0.1, L1_wt=0)
    made = bound_model(result, data.X, data.y, alpha=0.1, l1_weight=0.0)
    assert made.distance < 1e-2
    assert any("alpha and L1_wt are declared" in note for note in made.notes)
    wrong = bound_model(result, data.X, data.y, alpha=0.2, l1_weight=0.0)
    assert wrong.distance > 10 * float(made.distance)


REFUSED = {
    "offset": (lambda d: glm("poisson", d, offset=np.ones(60)).fit(), "an offset or exposure"),
    "exposure": (lambda d: glm("poisson", d, exposure=np.full(60, 2.0)).fit(), "an offset or exposure"),
    "probit": (lambda d: sm.GLM(d.y > 0, d.X, family=families.Binomial(families.links.Probit())).fit(), "the Binomial family with the Probit link"),
    "trials": (lambda d: sm.GLM(np.column_stack([d.y, d.y + 1]), d.X, family=families.Binomial()).fit(), "more than one trial a row"),
    "constrained": (lambda d: glm("poisson", d).fit_constrained("x1 = 0"), "constraints"),
}  # fmt: skip


@pytest.mark.parametrize(("fit", "trouble"), REFUSED.values(), ids=REFUSED)
def test_what_no_objective_describes_is_refused(tools, fit, trouble):
    with pytest.raises(AssumptionViolatedError) as caught:
        adapt(fit(records(tools, "poisson")))
    assert trouble in str(caught.value)
    assert "; fit" in str(caught.value)


def test_a_penalty_has_to_be_declared_where_there_is_one_and_only_there(tools):
    data = records(tools, "logistic")
    model = glm("logistic", data)
    with pytest.raises(
        ConfigurationError, match="alpha, l1_weight: fit_regularized does not keep its penalty; say how"
    ):
        adapt(regularized(model, alpha=0.1, L1_wt=0))
    with pytest.raises(ConfigurationError, match=r"alpha: fit\(\) takes no alpha"):
        adapt(model.fit(), alpha=0.1)


def test_other_models_are_refused(tools):
    data = records(tools, "logistic")
    with pytest.raises(InputError, match="no adapter for statsmodels' Logit; fit the same model as a GLM"):
        adapt(sm.Logit(data.y, data.X).fit(disp=0))
