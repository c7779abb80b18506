"""The release: check, draw the noise, write weights and certificate, book them, all or nothing.

Order of a release, under the ledger's lock. (1) Finish or clear what a killed run left. (2) Check. (3) Draw the noise, once. (4) Write the
released weights and the certificate under temporary names and flush them. (5) Book both by digest and commit. (6) Give them
their names. A kill before (5) leaves nothing booked, and the temporary files are cleared next time; a kill after it leaves the
booked files under temporary names, and step (1) of the next run gives them theirs. The noise is never drawn twice for one entry.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certify.core.errors import ConfigurationError, InputError, TamperedError
from certify.core.files import check_writable, read_bytes, remove_quietly, write_file
from certify.core.verdict import Verdict
from certify.gate.check import CheckResult, check_inputs
from certify.gate.entries import Entry
from certify.gate.inputs import Inputs, load_inputs
from certify.gate.ledger import Ledger
from certify.gate.load import load_spec
from certify.gate.measure import charged_mu
from certify.gate.standing import Standing, standing_in
from certify.models.weights import LinearWeights, dump_weights
from certify.privacy.noise import GRID_BITS, add_noise
from certify.reports.schema import Assumption, Document, FileDigest, Release


@dataclass(frozen=True)
class ReleaseResult:
    """What came of a release: the check's result, and the files when it passed."""

    result: CheckResult
    weights: Path | None = None
    certificate: Path | None = None


def release(spec: str | Path | None = None, rehearse: Callable[[Document], None] = lambda _: None) -> ReleaseResult:
    """Check a spec's model and, when it passes, release it with fresh noise.

    Args:
        spec: path of the spec; the default one when absent.
        rehearse: called with the check's document before anything is drawn or booked; what it raises stops the release.

    Raises:
        ConfigurationError, InputError: nothing was released.
        TamperedError: the ledger was changed; nothing was released.
        AssumptionViolatedError: the model's kind cannot be checked at all.
    """
    inputs = load_inputs(load_spec(spec))
    if inputs.dataset.numbered:
        raise InputError(
            "its records have no ids, and row numbers mean nothing in the next file: the ledger could not recognise a record",
            where=inputs.data_record.path,
            mend="give each record a stable id (the array ids, or data.columns.id)",
        )
    section = inputs.loaded.spec.ledger
    path, key = inputs.loaded.resolve(section.path), inputs.loaded.resolve(section.key)
    with Ledger.open(path, key, create=True, write=True) as ledger:
        recover(ledger)
        refuse_changed_files(ledger)
        standing = standing_in(ledger, inputs)
        result = check_inputs(inputs, standing)
        if result.verdict is not Verdict.PASS:
            return ReleaseResult(result)
        rehearse(result.report)
        released = _Staging(inputs, ledger, standing, result.report)
        try:
            released.write()
            released.book()
            ledger.commit()
        except BaseException:
            if not ledger.committed:
                released.withdraw()
            raise
    released.reveal()
    return ReleaseResult(CheckResult(released.document), released.weights_path, released.certificate_path)


class _Staging:
    """One release on its way: noise drawn once, files staged, booked, revealed."""

    def __init__(self, inputs: Inputs, ledger: Ledger, standing: Standing, report: Document) -> None:
        self._ledger, self._standing, self._inputs = ledger, standing, inputs
        self.number = standing.releases + 1
        model = Path(inputs.model.record.path)
        suffix = ".npz" if model.suffix.lower() in {".npy", ".skops"} else model.suffix
        self.weights_path = model.with_name(f"released-{self.number:04d}{suffix}")
        self.certificate_path = model.with_name(f"certificate-{self.number:04d}.json")
        self._weights = dump_weights(self.weights_path, noised(inputs))
        self.document = self._certificate(report)

    def _certificate(self, report: Document) -> Document:
        policy, (sequence, head) = self._inputs.loaded.spec.policy, self._ledger.head()
        part = Release(
            number=self.number,
            file=FileDigest(path=str(self.weights_path), sha256=sha256(self._weights), bytes=len(self._weights)),
            noise_std=policy.noise_std,
            noise_shape=policy.noise_shape,
            grid_bits=GRID_BITS,
            charged_mu=charged_mu(policy),
            total_mu=self._standing.total_mu,
            ledger=self._ledger.project,
            ledger_sequence=sequence + 1,
            ledger_previous=head,
        )
        return report.model_copy(
            update={"release": part, "assumptions": tuple(map(_noise_verified, report.assumptions))}
        )

    def _contents(self) -> dict[Path, bytes]:
        return {self.weights_path: self._weights, self.certificate_path: self.document.to_json().encode()}

    def write(self) -> None:
        """Stage both files under temporary names."""
        for path, content in self._contents().items():
            check_writable(path)
            if path.exists():
                raise InputError(
                    "is already there, and a release never overwrites one",
                    where=str(path),
                    mend="move it to where you keep releases",
                )
            write_file(staged(path), content)

    def book(self) -> None:
        """Add the entry; it counts when the ledger commits."""
        files = {
            os.path.relpath(path, self._ledger.path.parent): sha256(content)
            for path, content in self._contents().items()
        }
        part = self.document.release
        assert part is not None
        body = {
            "number": self.number,
            "files": files,
            "model": self._inputs.model.record.sha256,
            "spec": self._inputs.loaded.record.sha256,
            "retained": self.document.request.retained_digest,
            "forgotten": len(self._inputs.forgotten),
            "mu": part.charged_mu,
        }
        self._ledger.append("release", body, self._standing.charges)

    def reveal(self) -> None:
        """Give the files their names."""
        for path in self._contents():
            # the next release may have been quicker, and named them by way of recover()
            with contextlib.suppress(FileNotFoundError):
                staged(path).replace(path)

    def withdraw(self) -> None:
        """Remove what was staged: an unbooked draw of the noise must not lie about beside the next one."""
        for path in self._contents():
            remove_quietly(staged(path))


def noised(inputs: Inputs) -> LinearWeights:
    """The weights with one fresh draw of the policy's noise, of the policy's shape."""
    w, noise_std, shape = inputs.model.parameters, inputs.loaded.spec.policy.noise_std, inputs.noise_shape
    if shape is None:
        parameters = add_noise(w, noise_std)
    else:
        # everything after the noise is post-processing by a matrix that both worlds share
        parameters = shape.parameters(add_noise(shape.coordinates(w), noise_std), w.shape)
        if not np.all(np.isfinite(parameters)):
            raise ConfigurationError(
                "the noise is too large for float64 where the objective is flat",
                where=f"{inputs.loaded.path}: policy.noise_std",
                mend="lower it, or scale the features",
            )
    return LinearWeights.from_parameters(parameters, intercept=inputs.objective.fit_intercept)


def _noise_verified(item: Assumption) -> Assumption:
    """The one assumption that a release turns from declared to verified."""
    if item.id != "noise":
        return item
    evidence = "drawn by this run, once, after the check: discrete Gaussian, exact integer sampling, operating system's entropy"
    return item.model_copy(update={"status": "verified", "evidence": evidence})


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def staged(path: Path) -> Path:
    """Temporary name of a file until its release is booked."""
    return path.with_name(f".{path.name}.staged")


def booked_files(ledger: Ledger, entry: Entry) -> dict[Path, str]:
    """Files of a release entry, by their digest."""
    found: dict[str, Any] = entry.body.get("files", {})
    return {ledger.path.parent / name: digest for name, digest in found.items()}


def refuse_changed_files(ledger: Ledger) -> None:
    """Every released file that is still where it was booked is the one that was booked.

    Raises:
        TamperedError: one was changed, or the ledger is that of other releases.
    """
    for entry in ledger.entries():
        for path, digest in booked_files(ledger, entry).items():
            if path.exists() and (not path.is_file() or sha256(read_bytes(path)[0]) != digest):
                raise TamperedError(
                    "is not the file that the ledger booked: it was changed after its release, or the ledger is another project's",
                    where=str(path),
                    mend="restore the file or the ledger, or withdraw the release",
                )


def recover(ledger: Ledger) -> None:
    """Finish the last booked release if a kill came between the booking and the naming of its files."""
    releases = [entry for entry in ledger.entries() if entry.kind == "release"]
    for path, digest in booked_files(ledger, releases[-1]).items() if releases else ():
        # the release that booked them may be alive and naming them at this very moment
        with contextlib.suppress(FileNotFoundError):
            if sha256(staged(path).read_bytes()) == digest and not path.exists():
                staged(path).replace(path)
