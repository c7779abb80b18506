"""What the tables of unlearning papers measure, computed rightly; larger tables are in the audits."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from certify.core.metrics import js_divergence


@dataclass(frozen=True)
class Parts:
    """Forgotten, retained and test records: inputs and labels by part."""

    forget: tuple[np.ndarray, np.ndarray]
    retain: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Scores:
    """Accuracies in percent by part, and probabilities on the forgotten records."""

    forget: float
    retain: float
    test: float
    probabilities: np.ndarray
    forget_losses: np.ndarray
    test_losses: np.ndarray


def score(model: nn.Module, parts: Parts) -> Scores:
    """Evaluate a model; NaN predictions count as wrong."""
    (forget, forget_losses, probabilities), (retain, *_), (test, test_losses, _) = (
        _evaluate(model, *part) for part in (parts.forget, parts.retain, parts.test)
    )
    return Scores(forget, retain, test, probabilities, forget_losses, test_losses)


def _evaluate(model: nn.Module, X: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    device = next(model.parameters()).device
    with torch.no_grad():
        model = model.eval()
        logits = torch.cat([model(part.to(device)) for part in torch.as_tensor(X).split(2000)]).double().cpu()
    labels = torch.as_tensor(y)
    right = (logits.argmax(dim=1) == labels) & torch.isfinite(logits).all(dim=1)
    logs = torch.log_softmax(logits, dim=1)
    return float(100 * right.double().mean()), (-logs.gather(1, labels[:, None])[:, 0]).numpy(), logs.exp().numpy()


def tow(unlearned: Scores, retrained: Scores) -> float:
    """ToW = product over forget, retain and test of 1 - |accuracy - accuracy of the retrained model|; 1 is best (Zhao et al. 2024)."""
    gaps = [getattr(unlearned, part) - getattr(retrained, part) for part in ("forget", "retain", "test")]
    return float(np.prod([1 - abs(gap) / 100 for gap in gaps]))


def average_gap(unlearned: Scores, retrained: Scores) -> float:
    """Mean absolute difference of the three accuracies, in points."""
    gaps = [getattr(unlearned, part) - getattr(retrained, part) for part in ("forget", "retain", "test")]
    return float(np.mean(np.abs(gaps)))


def jensen_shannon(unlearned: Scores, retrained: Scores) -> float:
    """Mean over the forgotten records of the divergence between the two predictions; between 0 and log 2."""
    return float(np.mean(js_divergence(unlearned.probabilities, retrained.probabilities)))


def attack_auc(scores: Scores) -> float:
    """Area under the ROC curve of the loss attack, forgotten against test records; ties count half, 0.5 is chance."""
    from scipy.stats import rankdata

    losses = np.concatenate([-scores.forget_losses, -scores.test_losses])
    members = len(scores.forget_losses)
    ranks = rankdata(np.nan_to_num(losses, nan=-np.inf))
    return float((ranks[:members].sum() - members * (members + 1) / 2) / (members * len(scores.test_losses)))
