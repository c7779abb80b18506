"""The spec file as types: what is released, on which data, under which limits. Unknown keys are refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    # strict: a quoted number is a mistake, not a number
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ReleaseSpec(_Section):
    """[release]: the model under review."""

    model: Text
    kind: Literal["glm", "torch"]
    original: Text | None = None
    original_noise_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    evidence: Text | None = None
    architecture: Text | None = None
    retrained: list[Text] | None = None
    unlearner: Text | None = None
    train: Text | None = None
    head: Text | None = None
    trainable: Annotated[list[Text], Field(min_length=1)] = ["*"]


class ObjectiveSpec(_Section):
    """[objective]: what training minimised."""

    loss: Text
    l2: Annotated[float, Field(allow_inf_nan=False)]
    l1: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    fit_intercept: bool = False
    penalize_intercept: bool = True
    smoothing: Annotated[float, Field(allow_inf_nan=False)] | None = None
    one_vs_rest: bool = False


class TrainingSpec(_Section):
    """[training]: how a torch model was trained; what trains again does the same."""

    loss: Literal["cross-entropy", "binary-cross-entropy", "squared"] = "cross-entropy"
    optimiser: Literal["sgd", "adam", "adamw"] | None = None
    lr: Positive | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    schedule: Literal["constant", "cosine", "steps"] | None = None
    warmup: Annotated[float, Field(ge=0, lt=1)] | None = None
    initial: Text | None = None


class ComputeSpec(_Section):
    """[compute]: where torch models run."""

    device: Text = "auto"
    scheduler: Text | None = None
    backend: Literal["auto", "vmap", "loop"] = "auto"


class ColumnsSpec(_Section):
    """[data.columns]: the columns of a table."""

    target: Text
    features: Annotated[list[Text], Field(min_length=1)] | None = None
    id: Text | None = None
    sample_weight: Text | None = None


class DataSpec(_Section):
    """[data]: the training records and the ids to forget."""

    path: Text
    forget: Text
    test: Text | None = None
    columns: ColumnsSpec | None = None


class PolicySpec(_Section):
    """[policy]: the limits."""

    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    delta: Annotated[float, Field(ge=1e-200, lt=1)]
    noise_std: Annotated[float, Field(ge=0, le=1e150)] = 0.0
    noise_shape: Literal["isotropic", "curvature"] = "isotropic"
    tolerance: Positive | None = None
    max_total_mu: Positive | None = None


class RateLimit(_Section):
    """A true-positive rate that no attack may exceed at a false-positive rate."""

    fpr: Annotated[float, Field(gt=0, lt=1)]
    tpr: Annotated[float, Field(gt=0, le=1)]


class AuditSpec(_Section):
    """[audit]: the empirical attacks."""

    attacks: Annotated[list[Text], Field(min_length=1)] = []  # a linear model has default ones, a network none
    games: Annotated[list[Literal["retrain", "privacy", "retain-side"]], Field(min_length=1)] = ["retrain", "privacy"]
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    max_tpr_at_fpr: RateLimit | None = None
    max_epsilon_lower_bound: Positive | None = None
    max_distance_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 1.25
    models: Annotated[int, Field(ge=2)] = 64
    forget_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    out_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    forget_sets: Annotated[
        list[Literal["random", "memorised", "outliers", "cluster", "request"]], Field(min_length=1)
    ] = ["random"]
    replicates: Annotated[int, Field(ge=2)] = 40
    seed: Annotated[int, Field(ge=0)] = 0
    block: Annotated[int, Field(ge=1)] | None = None
    stop_early: bool = False
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    cache: Text | None = "certify-audit"
    knobs: dict[str, bool | int | float | str] = {}
    scores: Text | None = None
    scale: Literal["logit", "probability"] = "logit"
    canaries: Text | None = None


class LedgerSpec(_Section):
    """[ledger]: where releases are booked, and the key that belongs elsewhere."""

    path: Text = "certify-ledger.sqlite"
    key: Text = "certify-ledger.key"


class SessionSpec(_Section):
    """[session]: a stream of requests on one model, its state, and the key that belongs elsewhere."""

    path: Text = "certify-session.sqlite"
    key: Text = "certify-session.key"
    data: Text | None = None
    tolerance: Positive | None = None
    max_steps: Annotated[int, Field(ge=1)] = 25


class Spec(_Section):
    """The whole spec file."""

    release: ReleaseSpec
    data: DataSpec
    policy: PolicySpec
    objective: ObjectiveSpec | None = None
    audit: AuditSpec | None = None
    ledger: LedgerSpec = LedgerSpec()
    session: SessionSpec = SessionSpec()
    training: TrainingSpec = TrainingSpec()
    compute: ComputeSpec = ComputeSpec()
