"""Where a project stands in its ledger before a release."""

from dataclasses import dataclass
from pathlib import Path

from certify.gate.inputs import Inputs
from certify.gate.ledger import Ledger
from certify.gate.measure import charged_mu
from certify.privacy.composition import total_mu


@dataclass(frozen=True)
class Standing:
    """What the ledger says about a release that is not booked yet.

    Attributes:
        releases: number of earlier releases.
        charges: who would pay, and how much: every record forgotten now or before, as keyed hashes.
        total_mu: the largest total of any of them, with this release.
        returned: retained records that an earlier release forgot.
    """

    releases: int
    charges: tuple[tuple[str, float], ...]
    total_mu: float
    returned: int


def standing_in(ledger: Ledger, inputs: Inputs) -> Standing:
    """The standing of a spec's inputs in an open ledger."""
    cost = charged_mu(inputs.loaded.spec.policy)
    spent = ledger.totals()
    ids = inputs.dataset.ids
    forgotten = {ledger.pseudonym(identifier) for identifier in ids[inputs.forgotten].tolist()}
    retained = {ledger.pseudonym(identifier) for identifier in inputs.retained.ids.tolist()} if spent else set()
    paying = forgotten | set(spent)
    return Standing(
        releases=sum(entry.kind == "release" for entry in ledger.entries()),
        charges=tuple(sorted((record, cost) for record in paying)),
        total_mu=max(total_mu([spent.get(record, 0.0), cost]) for record in paying),
        returned=len(retained & set(spent)),
    )


def _places(inputs: Inputs) -> tuple[Path, Path]:
    section = inputs.loaded.spec.ledger
    return inputs.loaded.resolve(section.path), inputs.loaded.resolve(section.key)


def ledger_exists(inputs: Inputs) -> bool:
    """Whether a release was ever booked, as far as a ledger or its key is there."""
    return any(path.exists() for path in _places(inputs))


def read_standing(inputs: Inputs) -> Standing | None:
    """The standing in the spec's ledger; None when no release was ever booked.

    Raises:
        InputError, TamperedError: the ledger cannot be used, or was changed.
    """
    if inputs.dataset.numbered or not ledger_exists(inputs):
        return None
    path, key = _places(inputs)
    with Ledger.open(path, key) as ledger:
        return standing_in(ledger, inputs)


def first_standing(inputs: Inputs) -> Standing:
    """The standing before any release: this one alone."""
    cost = charged_mu(inputs.loaded.spec.policy)
    return Standing(releases=0, charges=(), total_mu=cost, returned=0)
