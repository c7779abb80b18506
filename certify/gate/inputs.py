"""Everything a check reads, read once and checked once."""

from dataclasses import dataclass
from functools import cached_property

from certify.convex.adapters import FittedModel
from certify.convex.curvature import NoiseShape, curvature_shape
from certify.convex.objective import Objective
from certify.convex.parameters import as_parameters
from certify.convex.problem import Problem, bind
from certify.convex.selftest import function_error
from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import AssumptionViolatedError, ConfigurationError, InputError
from certify.core.files import FileRecord
from certify.data.dataset import Dataset
from certify.data.readers import Columns, read_dataset, read_forget_set
from certify.gate.estimators import read_fitted, require_declared
from certify.gate.load import LoadedSpec
from certify.models.estimators import SUFFIX
from certify.models.weights import LinearWeights, load_weights


@dataclass(frozen=True, eq=False)
class Model:
    """Weights, their file, and their parameters (K, p); and what the file says of its training, where it does."""

    weights: LinearWeights
    record: FileRecord
    parameters: FloatArray
    fitted: FittedModel | None = None


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the spec names, loaded.

    Attributes:
        problem: the objective bound to the retained records.
        forgotten: positions of the records to forget.
        test: test records, bound to the same objective.
    """

    loaded: LoadedSpec
    objective: Objective
    dataset: Dataset
    data_record: FileRecord
    forgotten: IntArray
    forget_record: FileRecord
    retained: Dataset
    problem: Problem
    model: Model
    original: Model | None
    test: Problem | None
    test_record: FileRecord | None

    @cached_property
    def noise_shape(self) -> NoiseShape | None:
        """The shape of the policy's noise, from the retained records alone; None when it is isotropic.

        Computed once: what is certified and what is drawn must be of the same matrix to the last bit.

        Raises:
            ConfigurationError, AssumptionViolatedError: this model cannot have noise of that shape.
        """
        if self.loaded.spec.policy.noise_shape == "isotropic":
            return None
        try:
            return curvature_shape(self.problem)
        except (ConfigurationError, AssumptionViolatedError) as error:
            raise type(error)(error.what, where=f"{self.loaded.path}: {error.where}", mend=error.mend) from None


def objective_of(loaded: LoadedSpec) -> Objective:
    """The declared objective.

    Raises:
        AssumptionViolatedError: the model is not of a kind this version can check.
    """
    spec = loaded.spec
    if spec.release.kind != "glm" or spec.objective is None:
        raise AssumptionViolatedError(
            "a network is audited (`certify check`, `certify audit`), and what needs a certificate does not apply to it",
            where=f"{loaded.path}: release.kind",
            mend="check a linear head on frozen features as kind = 'glm'",
        )
    try:
        return Objective(**spec.objective.model_dump())
    except ConfigurationError as error:
        raise ConfigurationError(error.what, where=f"{loaded.path}: {error.where}", mend=error.mend) from None


def read_data(loaded: LoadedSpec) -> tuple[Dataset, FileRecord, IntArray, FileRecord]:
    """The training records and the positions of those to forget."""
    dataset, data_record = read_dataset(loaded.resolve(loaded.spec.data.path), columns_of(loaded))
    forgotten, forget_record = read_forget_set(loaded.resolve(loaded.spec.data.forget), dataset)
    return dataset, data_record, forgotten, forget_record


def columns_of(loaded: LoadedSpec) -> Columns | None:
    """[data.columns], when given."""
    given = loaded.spec.data.columns
    if given is None:
        return None
    features = None if given.features is None else tuple(given.features)
    return Columns(given.target, features, given.id, given.sample_weight)


def read_model(loaded: LoadedSpec, name: str, objective: Objective, features: int) -> Model:
    """One weights file, its shape checked against the data."""
    path = loaded.resolve(name)
    fitted = None
    if path.suffix.lower() == SUFFIX:
        fitted, record = read_fitted(path)
        weights = LinearWeights(*fitted.parameters)
    else:
        weights, record = load_weights(path)
    try:
        return Model(weights, record, as_parameters(objective, weights.parts, features), fitted)
    except InputError as error:
        raise InputError(error.what, where=str(path), mend=error.mend) from None


def load_inputs(loaded: LoadedSpec) -> Inputs:
    """Read everything a check of a linear model needs.

    Raises:
        ConfigurationError, InputError: with the file or key concerned.
        AssumptionViolatedError: the model's kind cannot be checked.
    """
    objective = objective_of(loaded)
    function_error()  # refuses a machine whose exp is not what the bounds are built on
    dataset, data_record, forgotten, forget_record = read_data(loaded)
    features, release = dataset.X.shape[1], loaded.spec.release
    model = read_model(loaded, release.model, objective, features)
    original = None if release.original is None else read_model(loaded, release.original, objective, features)
    if original is not None and original.parameters.shape != model.parameters.shape:
        raise InputError(
            f"has parameters of shape {original.parameters.shape}, the model under review {model.parameters.shape}",
            where=original.record.path,
            mend="name the model that was unlearned",
        )
    outputs = len(model.parameters)
    _bind(objective, dataset, outputs)  # the forgotten records must make sense too: they were trained on
    retained = dataset.without(forgotten)
    problem = _bind(objective, retained, outputs)
    require_declared(model.fitted, problem, model.record.path)
    test, test_record = _read_test(loaded, objective, features, outputs)
    return Inputs(
        loaded,
        objective,
        dataset,
        data_record,
        forgotten,
        forget_record,
        retained,
        problem,
        model,
        original,
        test,
        test_record,
    )


def _bind(objective: Objective, data: Dataset, outputs: int) -> Problem:
    try:
        return bind(objective, data.X, data.y, outputs, data.sample_weight)
    except InputError as error:
        raise InputError(error.what, where=data.where, mend=error.mend) from None


def _read_test(
    loaded: LoadedSpec, objective: Objective, features: int, outputs: int
) -> tuple[Problem | None, FileRecord | None]:
    if loaded.spec.data.test is None:
        return None, None
    data, record = read_dataset(loaded.resolve(loaded.spec.data.test), columns_of(loaded))
    if data.X.shape[1] != features:
        raise InputError(
            f"has {data.X.shape[1]} features, the training data {features}",
            where=data.where,
            mend="prepare both in the same way",
        )
    return _bind(objective, data, outputs), record
