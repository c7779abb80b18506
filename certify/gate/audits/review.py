"""The model under review and retrained models of its very request, loaded and compared."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from certify.attacks.audits.findings import Finding, RequestAudit
from certify.attacks.audits.request import (
    Start,
    audit_distances,
    audit_release,
    predicted_p,
    require_retrained,
)
from certify.attacks.distances import function_distances, weight_distances
from certify.attacks.distances.parameters import Metric, moments
from certify.attacks.registry import ATTACKS
from certify.attacks.relearning import Curve, relearn
from certify.attacks.scores.phi import phi
from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import InputError, TooLittlePowerError
from certify.core.files import FileRecord
from certify.core.streams import stream
from certify.gate.audits.ensembles import read_reviewed
from certify.gate.audits.plan import Plan
from certify.gate.load import LoadedSpec
from certify.gate.networks import NetworkInputs
from certify.gate.spec import AuditSpec
from certify.models.networks import Bench, Network, State
from certify.models.networks.losses import class_logits, loss_named

if TYPE_CHECKING:
    from torch import nn

    from certify.gate.audits.observe import Fleets

_PASSES = 5
"""Of the fine-tune that looks for what comes back."""
_SAMPLE = 2000
"""Retained records, at most, on which predictions are compared."""
_DISTANCES: tuple[Metric, ...] = ("l2", "relative", "cosine")


@dataclass(eq=False)
class Review:
    """Models of one request.

    Attributes:
        inputs: records and request.
        released: the model under review.
        record: its file.
        retrained: J models without the forgotten records.
        original: the model before the deletion; None where it is not named.
        coupled: J models retrained from the original's initial weights; None where those are not named, or nothing is trained.
        curves: of relearning, by name of the models.
        left_out: what could not be looked at.
    """

    inputs: NetworkInputs
    released: State
    record: FileRecord
    retrained: State
    original: State | None
    coupled: State | None = None
    curves: dict[str, Curve] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, loaded: LoadedSpec, inputs: NetworkInputs, fleets: "Fleets") -> "Review":
        """Load the model under review, and load or train retrained ones.

        Raises:
            InputError: a file that cannot be read, or is of another architecture.
            TooLittlePowerError: fewer than five retrained models.
        """
        release = loaded.spec.release
        module, record = read_reviewed(loaded, inputs, release.model, "release.model")
        if release.retrained:
            try:
                require_retrained(len(release.retrained))
            except TooLittlePowerError as error:
                raise TooLittlePowerError(
                    error.what, where=f"{loaded.path}: release.retrained", mend="name more"
                ) from None
            digests: list[str] = []
            named = (read_reviewed(loaded, inputs, name, "release.retrained")[0] for name in release.retrained)
            retrained = State.gather(_noted(named, digests), len(release.retrained))
            _require_own(digests, module, f"{loaded.path}: release.retrained")
        else:
            retrained = fleets.of_this_request()
        coupled = None
        if "parameter-distance" in fleets.plan.request and not release.retrained and fleets.couples:
            coupled = fleets.of_this_request(coupled=True)
        original = None if inputs.original is None else State.of(inputs.task.model)
        device = inputs.task.place()
        return cls(
            inputs,
            State.of(module).to(device),
            record,
            retrained.to(device),
            None if original is None else original.to(device),
            None if coupled is None else coupled.to(device),
        )

    def audits(self, plan: Plan, given: AuditSpec) -> list[RequestAudit]:
        """Every attack on the request that the plan has."""
        found = []
        for name in plan.request:
            if name == "release-lira":
                found.append(self._release(plan))
            elif name == "relearning":
                found += self._relearning(plan)
            else:
                found.append(self._distances(name, plan, given))
        return found

    def phi_of(self, state: State, rows: IntArray) -> FloatArray:
        """phi of some records, (K, M)."""
        labels = np.asarray(self.inputs.task.y)[rows]
        return np.stack([phi(logits, labels) for logits in self._logits(state, rows)])

    def _logits(self, state: State, rows: IntArray) -> list[FloatArray]:
        outputs = self._bench(state.models).outputs_of(state, [rows] * state.models)
        return [class_logits(values).double().cpu().numpy() for values in outputs]

    def _bench(self, models: int) -> Bench:
        task = self.inputs.task
        X, y = task.tensors(task.place())
        network = Network.of(task.model, trainable=task.trainable)
        return Bench(network, X, y, loss=loss_named(task.loss), seeds=(0,) * models, name="the audit")

    @property
    def forgotten(self) -> IntArray:
        """Positions of the forgotten records."""
        return self.inputs.request.forgotten

    @property
    def retained(self) -> IntArray:
        """Positions of the retained records."""
        return np.setdiff1d(np.arange(len(self.inputs.task)), self.forgotten)

    def _release(self, plan: Plan) -> RequestAudit:
        rows = self.forgotten
        return audit_release(
            self.phi_of(self.released, rows)[0],
            self.phi_of(self.retrained, rows),
            None if self.original is None else self.phi_of(self.original, rows)[0],
            fpr=plan.fpr,
            limit=plan.rates["retrain"],
            confidence=1 - plan.alpha,
        )

    def _distances(self, name: str, plan: Plan, given: AuditSpec) -> RequestAudit:
        confidence, start, other = 1 - plan.alpha, None, None
        if name == "function-distance":
            measure = partial(self._predictions, confidence)
        else:
            start = self._start(confidence)
            references = self.retrained
            if self.coupled is not None and start is not None:
                references, rest = (self.coupled, self.retrained) if start.shared else (self.retrained, self.coupled)
                other = weight_distances(self.released, rest, metrics=_DISTANCES[:1], confidence=confidence)[0]
            measure = partial(_weights, references, confidence)
        found = measure(self.released)
        twins = [] if self.original is None else measure(self.original)
        by_part = {(one.name, one.part): one for one in twins}
        limit = given.max_distance_ratio
        return audit_distances(name, found, by_part, limit=limit, confidence=confidence, start=start, other=other)

    def _start(self, confidence: float) -> Start | None:
        """Whether the model under review began with the initial weights, seen from models that did."""
        if self.coupled is None:
            return None
        one, many = (
            moments(models, self.coupled, pairs="all")["whole"].distance("l2")
            for models in (self.released, self.retrained)
        )
        return Start.of(one[0], many, confidence)

    def _predictions(self, confidence: float, state: State) -> list[Any]:
        kept = stream(0, "retained sample").permutation(self.retained)[:_SAMPLE]
        found = []
        for part, rows in (("forget", self.forgotten), ("retain", np.sort(kept))):
            one, many = (softmax(np.stack(self._logits(models, rows)), axis=-1) for models in (state, self.retrained))
            found += function_distances(one, many, part=part, confidence=confidence)
        return sorted(found, key=lambda one: (one.part != "forget", one.name != "js"))

    def _relearning(self, plan: Plan) -> list[RequestAudit]:
        task = self.inputs.task
        if task.recipe is None:
            self.left_out.append("relearning: nothing says how training goes on ([training])")
            return []
        recipe = replace(task.recipe, epochs=_PASSES, schedule="constant", warmup=0.0)
        groups = {"unlearned": self.released, "retrained": self.retrained}
        if self.original is not None:
            groups["original"] = self.original
        for name, state in groups.items():
            lists = [self.retained] * state.models, [self.forgotten] * state.models
            self.curves[name] = relearn(self._bench(state.models), state, *lists, recipe)
        mine, null = float(self.curves["unlearned"].area[0]), self.curves["retrained"].area
        spread = float(np.std(null, ddof=1))
        return [RequestAudit((_relearning_finding(mine, null, spread, plan),), ())]


def _noted(modules: Iterable["nn.Module"], digests: list[str]) -> Iterator["nn.Module"]:
    """The modules, one after the other, with their digests put down."""
    for module in modules:
        digests.append(_digest(module))
        yield module


def _require_own(digests: Sequence[str], released: "nn.Module", where: str) -> None:
    """Copies of one model are one model: counted as several they would have no spread, and anything else would be the odd one out.

    Raises:
        InputError: two retrained models have the same weights, or one has those of the model under review.
    """
    copies = len(digests) - len(set(digests))
    if copies:
        raise InputError(f"{copies} of {len(digests)} models repeat another one", where=where, mend="name each once")
    if _digest(released) in digests:
        raise InputError("has the model under review", where=where, mend="name models of other training runs alone")


def _digest(module: "nn.Module") -> str:
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(name.encode() + value.detach().cpu().double().numpy().tobytes())
    return found.hexdigest()


def _weights(references: State, confidence: float, state: State) -> list[Any]:
    found = weight_distances(state, references, metrics=_DISTANCES, confidence=confidence)
    return sorted(found, key=lambda one: (one.part != "whole", one.name != "l2"))


def _relearning_finding(mine: float, null: FloatArray, spread: float, plan: Plan) -> Finding:
    from scipy.stats import t as student

    half = float(student.isf(plan.alpha / 2, len(null) - 1)) * spread * float(np.sqrt(1 + 1 / len(null)))
    mean = float(null.mean())
    return Finding(
        id="relearning",
        attack="relearning",
        title=ATTACKS["relearning"].title,
        game="relearning",
        slice="all",
        statistic=f"mean accuracy on forgotten records over {_PASSES} passes on retained ones",
        value=mine,
        lower=mine,
        upper=mine,
        confidence=1 - plan.alpha,
        p_value=predicted_p(mine, null),
        null_mean=mean,
        null_lower=mean - half,
        null_upper=mean + half,
        corrected=mine - mean,
        units=len(null),
        method="of this one model, beside Student's prediction from retrained models, taken as normal",
        note="shown, and decides nothing: no policy limits it",
        source=ATTACKS["relearning"].reference,
    )
