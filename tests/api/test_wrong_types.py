"""Whatever is given to a public function, what is wrong with it is said in one line of ours, with the place and the mend."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from odd_values import ODD, sayable

import certify
from certify import Objective, adapt, attacks, bound_distance, bound_model, check, gaussian, unlearners
from certify.core.errors import CertifyError
from certify.data.dataset import Dataset
from certify.models.weights import LinearWeights
from certify.unlearners import Budget, ConvexTask, Request

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
Y = (X[:, 0] > 0).astype(int)
OBJECTIVE = Objective("logistic", l2=1.0)
DATA = Dataset(X, Y, np.arange(30))
TASK = ConvexTask(OBJECTIVE, DATA, LinearWeights(np.zeros(3)))
REQUEST = Request.of(DATA, [3])
SCORES, MEMBERS = RNG.normal(size=8), np.arange(8) % 2 == 0
PHI, CELLS = RNG.normal(size=(4, 5)), np.arange(20).reshape(4, 5) % 3

CALLS: dict[str, Callable[[Any], object]] = {
    "Objective loss": lambda odd: Objective(odd, l2=1.0),
    "Objective l2": lambda odd: Objective("logistic", l2=odd),
    "Objective l1": lambda odd: Objective("logistic", l2=1.0, l1=odd),
    "Objective smoothing": lambda odd: Objective("huber-hinge", l2=1.0, smoothing=odd),
    "Objective fit_intercept": lambda odd: Objective("logistic", l2=1.0, fit_intercept=odd),
    "Objective penalize_intercept": lambda odd: Objective("logistic", l2=1.0, penalize_intercept=odd),
    "Objective one_vs_rest": lambda odd: Objective("logistic", l2=1.0, one_vs_rest=odd),
    "bound_distance objective": lambda odd: bound_distance(odd, X, Y, np.zeros(3)),
    "bound_distance X": lambda odd: bound_distance(OBJECTIVE, odd, Y, np.zeros(3)),
    "bound_distance y": lambda odd: bound_distance(OBJECTIVE, X, odd, np.zeros(3)),
    "bound_distance w": lambda odd: bound_distance(OBJECTIVE, X, Y, odd),
    "bound_distance coef": lambda odd: bound_distance(OBJECTIVE, X, Y, (odd, None)),
    "bound_distance intercept": lambda odd: bound_distance(
        Objective("logistic", l2=1.0, fit_intercept=True), X, Y, (np.zeros(3), odd)
    ),
    "bound_distance sample_weight": lambda odd: bound_distance(OBJECTIVE, X, Y, np.zeros(3), odd),
    "adapt": adapt,
    "check": check,
    "delta mu": lambda odd: gaussian.delta(odd, 1.0),
    "delta epsilon": lambda odd: gaussian.delta(1.0, odd),
    "epsilon mu": lambda odd: gaussian.epsilon(odd, 1e-5),
    "epsilon delta": lambda odd: gaussian.epsilon(1.0, odd),
    "mu epsilon": lambda odd: gaussian.mu(odd, 1e-5),
    "mu delta": lambda odd: gaussian.mu(1.0, odd),
    "ratio distance": lambda odd: gaussian.ratio(odd, 1.0),
    "ratio noise_std": lambda odd: gaussian.ratio(1.0, odd),
    "attacker_accuracy": gaussian.attacker_accuracy,
    "attacker_tpr mu": lambda odd: gaussian.attacker_tpr(odd, 0.1),
    "attacker_tpr fpr": lambda odd: gaussian.attacker_tpr(1.0, odd),
    "epsilon_lower_bound true_positives": lambda odd: attacks.epsilon_lower_bound(odd, 10, 1, 10),
    "epsilon_lower_bound positives": lambda odd: attacks.epsilon_lower_bound(1, odd, 1, 10),
    "epsilon_lower_bound false_positives": lambda odd: attacks.epsilon_lower_bound(1, 10, odd, 10),
    "epsilon_lower_bound negatives": lambda odd: attacks.epsilon_lower_bound(1, 10, 1, odd),
    "epsilon_lower_bound delta": lambda odd: attacks.epsilon_lower_bound(1, 10, 1, 10, delta=odd),
    "epsilon_lower_bound confidence": lambda odd: attacks.epsilon_lower_bound(1, 10, 1, 10, confidence=odd),
    "epsilon_from_scores scores": lambda odd: attacks.epsilon_from_scores(odd, MEMBERS),
    "epsilon_from_scores members": lambda odd: attacks.epsilon_from_scores(SCORES, odd),
    "epsilon_from_scores delta": lambda odd: attacks.epsilon_from_scores(SCORES, MEMBERS, odd),
    "phi logits": lambda odd: attacks.phi(odd, [0]),
    "phi labels": lambda odd: attacks.phi([[1.0, 2.0]], odd),
    "phi_from_probability": attacks.phi_from_probability,
    "signals logits": lambda odd: attacks.signals(odd, [0]),
    "signals labels": lambda odd: attacks.signals([[1.0, 2.0]], odd),
    "lira in": lambda odd: attacks.lira(odd, PHI, PHI[0]),
    "lira out": lambda odd: attacks.lira(PHI, odd, PHI[0]),
    "lira target": lambda odd: attacks.lira(PHI, PHI, odd),
    "lira prior_df": lambda odd: attacks.lira(PHI, PHI, PHI[0], prior_df=odd),
    "rmia in": lambda odd: attacks.rmia(odd, PHI, PHI[0], PHI, PHI[0]),
    "rmia out": lambda odd: attacks.rmia(PHI, odd, PHI[0], PHI, PHI[0]),
    "rmia population": lambda odd: attacks.rmia(PHI, PHI, PHI[0], odd, PHI[0]),
    "rmia gamma": lambda odd: attacks.rmia(PHI, PHI, PHI[0], PHI, PHI[0], gamma=odd),
    "attack_r out": lambda odd: attacks.attack_r(odd, PHI[0]),
    "attack_r target": lambda odd: attacks.attack_r(PHI, odd),
    "difficulty_calibration out": lambda odd: attacks.difficulty_calibration(odd, PHI[0]),
    "difficulty_calibration target": lambda odd: attacks.difficulty_calibration(PHI, odd),
    "roc scores": lambda odd: attacks.roc(odd, MEMBERS),
    "roc members": lambda odd: attacks.roc(SCORES, odd),
    "Observations assignment": lambda odd: attacks.Observations(odd, {}),
    "Observations world": lambda odd: attacks.Observations(CELLS, {"unlearned": {"phi": odd}}),
    "Observations ids": lambda odd: attacks.Observations(CELLS, {}, odd),
    "attacks.get": attacks.get,
    "draw_coins n": attacks.draw_coins,
    "draw_coins probability": lambda odd: attacks.draw_coins(3, odd, seed=0),
    "by_betting bits": lambda odd: attacks.by_betting(odd, SCORES),
    "by_betting scores": lambda odd: attacks.by_betting(MEMBERS, odd),
    "one_run_epsilon correct": lambda odd: attacks.one_run_epsilon(odd, 4),
    "one_run_epsilon guesses": lambda odd: attacks.one_run_epsilon(2, odd),
    "one_run_gdp correct": lambda odd: attacks.one_run_gdp(odd, 4),
    "audit": certify.audit,
    "audit models": lambda odd: certify.audit("nowhere.toml", models=odd),
    "get": unlearners.get,
    "Newton steps": lambda odd: unlearners.get("newton")(steps=odd),
    "Newton tolerance": lambda odd: unlearners.get("newton")(tolerance=odd),
    "Newton max_steps": lambda odd: unlearners.get("newton")(max_steps=odd),
    "Retrain max_iterations": lambda odd: unlearners.get("retrain")(max_iterations=odd),
    "Budget gradients": lambda odd: Budget(gradients=odd),
    "Budget hessians": lambda odd: Budget(hessians=odd),
    "Budget seconds": lambda odd: Budget(seconds=odd),
    "Request.of dataset": lambda odd: Request.of(odd, [3]),
    "Request.of ids": lambda odd: Request.of(DATA, odd),
    "Request.at dataset": lambda odd: Request.at(odd, np.array([3])),
    "Request.at positions": lambda odd: Request.at(DATA, odd),
    "Request": Request,
    "ConvexTask objective": lambda odd: ConvexTask(odd, DATA),
    "ConvexTask dataset": lambda odd: ConvexTask(OBJECTIVE, odd),
    "ConvexTask original": lambda odd: ConvexTask(OBJECTIVE, DATA, odd),
    "forget task": lambda odd: unlearners.get("newton")().forget(odd, REQUEST),
    "forget request": lambda odd: unlearners.get("newton")().forget(TASK, odd),
    "forget budget": lambda odd: unlearners.get("newton")().forget(TASK, REQUEST, odd),
}

OF_TRIALS = {
    "audit_fleet",
    "auc_over_models",
    "epsilon_lower_bound_over_models",
    "rank_records",
    "rate_over_models",
    "roc_of_trials",
    "settled",
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", CALLS)
def test_odd_values_of_every_argument(name: str, odd: str) -> None:
    sayable(CALLS[name], ODD[odd])


@pytest.mark.parametrize("name", CALLS)
def test_an_object_without_meaning_is_refused_by_every_argument(name: str) -> None:
    with pytest.raises(CertifyError):
        CALLS[name](object())


def test_the_survey_names_every_public_function() -> None:
    surveyed = {name.partition(" ")[0].partition(".")[0] for name in CALLS} | {"Newton", "bound_model"}
    # results that are returned rather than given, modules, and what is for networks, which tests/unlearners spoils
    returned = {"CheckResult", "DistanceBound", "FittedModel", "ModelBound", "__version__"}
    for module, more in (
        (certify, returned | {"attacks", "gaussian", "unlearners"}),
        # tests/attacks spoils what takes observations and trials; modules
        (attacks, OF_TRIALS | {"Estimate", "FleetAudit", "Levels", "Trials", "coin_flip", "names", "one_run"}),
        (unlearners, {"Claim", "Evidence", "Result", "Unlearner", "names", "NetworkTask", "Recipe"}),
    ):
        assert set(module.__all__) - more <= surveyed


# ---------------------------------------------------------------------------------- models of other libraries


def logistic(**attributes: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0).fit(X, Y)
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


ATTRIBUTES = {
    "LogisticRegression": (
        "C",
        "l1_ratio",
        "fit_intercept",
        "solver",
        "class_weight",
        "classes_",
        "coef_",
        "intercept_",
    ),
    "LinearSVC": ("C", "loss", "penalty", "intercept_scaling", "multi_class", "coef_"),
    "Ridge": ("alpha", "fit_intercept", "positive", "coef_", "intercept_"),
    "RidgeClassifier": ("alpha", "class_weight", "coef_"),
    "ElasticNet": ("alpha", "l1_ratio", "coef_"),
    "Lasso": ("alpha", "coef_"),
    "PoissonRegressor": ("alpha", "intercept_"),
    "TweedieRegressor": ("alpha", "power", "link"),
    "SGDClassifier": ("alpha", "loss", "penalty", "l1_ratio", "early_stopping", "class_weight"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "attribute"), [(name, one) for name, all_ in ATTRIBUTES.items() for one in all_])
def test_estimators_whose_attributes_make_no_sense(name: str, attribute: str) -> None:
    import sklearn.linear_model
    import sklearn.svm

    kind = getattr(sklearn.linear_model, name, None) or getattr(sklearn.svm, name)
    model = kind().fit(X, Y + 1)
    for odd in ODD.values():
        model.__dict__[attribute] = odd
        sayable(lambda given: bound_model(given, X, Y + 1), model)
        sayable(lambda given: bound_distance(OBJECTIVE, X, Y, given), model)


MODEL_CALLS: dict[str, Callable[[Any], object]] = {
    "model": lambda odd: bound_model(odd, X, Y),
    "X": lambda odd: bound_model(logistic(), odd, Y),
    "y": lambda odd: bound_model(logistic(), X, odd),
    "sample_weight": lambda odd: bound_model(logistic(), X, Y, odd),
    "refit": lambda odd: bound_model(logistic(), X, Y, refit=odd),
    "public": lambda odd: bound_model(logistic(), X, Y, public=odd),
    "loss": lambda odd: bound_model(logistic(), X, Y, loss=odd),
    "l2": lambda odd: bound_model(logistic(), X, Y, l2=odd),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", MODEL_CALLS)
def test_odd_values_of_every_argument_of_bound_model(name: str, odd: str) -> None:
    sayable(MODEL_CALLS[name], ODD[odd])


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("key", ["loss", "l2", "penalize_intercept", "alpha", "l1_weight"])
def test_odd_declarations_of_a_torch_head(key: str, odd: str) -> None:
    torch = pytest.importorskip("torch")
    head = torch.nn.Linear(3, 2)
    sayable(lambda given: bound_model(head, X, Y, **{"loss": "softmax", "l2": 1.0, key: given}), ODD[odd])


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("key", ["alpha", "l1_weight"])
def test_odd_declarations_of_statsmodels_results(key: str, odd: str) -> None:
    sm = pytest.importorskip("statsmodels.api")
    results = sm.GLM(Y, X, family=sm.families.Binomial()).fit_regularized(alpha=0.1, L1_wt=0.0)
    sayable(lambda given: bound_model(results, X, Y, **{"alpha": 0.1, "l1_weight": 0.0, key: given}), ODD[odd])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bound_model(logistic(), X, Y, public=3), "public: must be"),
        (lambda: bound_model(logistic(C="x"), X, Y), "C: must be a number, not 'x'"),
        (lambda: bound_distance(None, X, Y, np.zeros(3)), "objective: must be Objective, not None"),  # type: ignore[arg-type]
        (lambda: bound_distance(OBJECTIVE, "x", Y, np.zeros(3)), "X"),
        (lambda: check(3), "spec: must be"),  # type: ignore[arg-type]
        (lambda: gaussian.delta("a", 1), "mu: must be a number, not 'a'"),  # type: ignore[arg-type]
        (lambda: Objective("logistic", l2=1.0, fit_intercept="no"), "fit_intercept: must be True or False"),  # type: ignore[arg-type]
        (lambda: gaussian.epsilon(1.0, 10**400), "a number beyond float64"),
    ],
)
def test_what_is_said(call: Callable[[], object], words: str) -> None:
    with pytest.raises(CertifyError) as caught:
        call()
    assert words in str(caught.value)
