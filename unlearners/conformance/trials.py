"""Runs of one method on the test beds; a run that several checks ask for is made once."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

from certify.core.errors import CertifyError, ConfigurationError
from certify.core.knobs import check_names
from certify.unlearners.conformance.beds import Bed, Numbers
from certify.unlearners.conformance.process import watched_process
from certify.unlearners.evidence import Budget
from certify.unlearners.interface import Kind, Result, Unlearner

_EPOCHS, _BATCH = 3, 8
_NUMBERS: tuple[Any, ...] = (0.5, 1, 2, 0.1, 4, 1e-3, 1e-6, 10.0, 0, "head")
"""Tried for a knob whose default is None or zero."""


@dataclass(eq=False)
class Trials:
    """A method under test.

    Attributes:
        method: its class.
        given: knobs set by whoever asked; the suite's own choices give way to them.
        left: what runs left changed in the process; it was put back.
    """

    method: type[Unlearner]
    given: Mapping[str, Any] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    _runs: dict[Any, Result] = field(default_factory=dict, repr=False)
    _starts: dict[str, Numbers] = field(default_factory=dict, repr=False)

    @cached_property
    def base(self) -> dict[str, Any]:
        """Knobs for tiny tasks: the defaults, small batches, few passes, what the method declares, and what was given."""
        known: dict[str, Any] = {knob.name: knob.default for knob in fields(self.method)}
        found: dict[str, Any] = {}
        if isinstance(known.get("batch_size"), int):
            found["batch_size"] = _BATCH
        if isinstance(known.get("epochs"), int):
            found["epochs"] = min(known["epochs"], _EPOCHS)
        found = {**found, **self.method.quick, **self.given}
        check_names(self.method, found, f"{self.method.name}.quick")
        return found

    def build(self, knobs: Mapping[str, Any] | None = None) -> Unlearner:
        """The method with these knobs beside those for tiny tasks."""
        return self.method(**{**self.base, **(knobs or {})})

    def run(self, bed: Bed, knobs: Mapping[str, Any] | None = None, *, seed: int = 0) -> Result:
        """The method's result on a bed."""
        key = (bed.name, repr(sorted((knobs or {}).items())), seed)
        if key not in self._runs:
            with watched_process(self.left):
                self._runs[key] = bed.run(self.build(knobs), seed, None)
        return self._runs[key]

    def run_anew(self, bed: Bed, *, seed: int = 0, budget: Budget | None = None) -> Result:
        """The same, made again."""
        with watched_process(self.left):
            return bed.run(self.build(), seed, budget)

    def start(self, bed: Bed) -> Numbers:
        """What the method starts from on a bed: the original's numbers, or those of the model of its own that it trained first."""
        if bed.name not in self._starts:
            with watched_process(self.left):
                self._starts[bed.name] = bed.prepared(self.build(), 0).start()
        return self._starts[bed.name]

    def beds(self, kind: Kind | None = None) -> list[Bed]:
        """The beds the method is for; one it refuses as not for this model or loss is left out.

        Raises:
            ConfigurationError: it refuses all of them.
        """
        found, refusal = [], None
        for bed in self._candidates:
            try:
                self.run(bed)
            except ConfigurationError as error:
                refusal = error
                continue
            except CertifyError:
                pass  # it is for this bed and fails on it: the checks say so
            found.append(bed)
        if not found and refusal is not None:
            raise refusal
        return [bed for bed in found if kind in {None, bed.kind}]

    def linear_beds(self, kind: Kind | None = None) -> list[Bed]:
        """The convex beds, and least squares as a network where the method takes it."""
        method = self.method
        found = self.beds("convex") if kind != "network" else []
        if kind != "convex" and "network" in method.kinds and not method.own_model:
            from certify.unlearners.conformance.network_beds import least_squares_bed

            try:
                self.run(least_squares_bed(), method.conformance.oracle)
            except ConfigurationError:
                return found
            except CertifyError:
                pass  # it is for this bed and fails on it: the checks say so
            return [*found, least_squares_bed()]
        return found

    @cached_property
    def _candidates(self) -> list[Bed]:
        found: list[Bed] = []
        if "convex" in self.method.kinds:
            from certify.unlearners.conformance.convex_beds import convex_beds

            found += convex_beds()
        if "network" in self.method.kinds:
            from certify.unlearners.conformance.network_beds import network_beds

            found += network_beds()
        return found

    @property
    def is_control(self) -> bool:
        """Whether the method says of itself that it does nothing."""
        return self.method.family == "control"

    def is_settled(self, bed: Bed) -> bool:
        """Whether the order of the records must not matter: nothing is drawn, or the method looks at them in one go."""
        return self.method.one_shot or not self.method.stochastic or (bed.kind == "convex" and self._both)

    def is_random(self, bed: Bed) -> bool:
        """Whether another seed has to give another result on this bed."""
        return self.method.stochastic and not (bed.kind == "convex" and self._both)

    @property
    def _both(self) -> bool:
        """A method for both kinds draws on networks only (initialisation, order)."""
        return len(self.method.kinds) > 1

    def inert(self) -> tuple[str, ...]:
        """Knobs that must not change the result."""
        names = {knob.name for knob in fields(self.method)}
        own = ("batch_size",) if (self.method.one_shot or not self.method.stochastic) and "batch_size" in names else ()
        return (*own, *self.method.conformance.inert)

    def alternatives(self, knob: str) -> list[Any]:
        """Other values of a knob that the method accepts, the likeliest to matter first."""
        declared = self.method.conformance.others
        value = getattr(self.build(), knob)
        candidates = [declared[knob]] if knob in declared else _others(value, self._hint(knob))
        return [other for other in candidates if other != value and self._accepts({knob: other})]

    def has_no_choice(self, knob: str) -> bool:
        """A knob of one word."""
        return get_origin(self._hint(knob)) is Literal and len(get_args(self._hint(knob))) == 1

    def contexts(self, knob: str) -> list[dict[str, Any]]:
        """Settings of the other knobs under which a knob may act: as they are, as declared, or one of them changed."""
        declared = self.method.conformance.contexts
        if knob in declared:
            return [dict(declared[knob])]
        found: list[dict[str, Any]] = [{}]
        for other in fields(self.method):
            if other.name != knob and (isinstance(other.default, bool | str) or other.default is None):
                found += [{other.name: value} for value in self.alternatives(other.name)[:2]]
        return found

    def _hint(self, knob: str) -> Any:
        return get_type_hints(self.method)[knob]

    def _accepts(self, knobs: Mapping[str, Any]) -> bool:
        try:
            self.build(knobs)
        except CertifyError:
            return False
        return True


def trials_of(method: "type[Unlearner] | Unlearner") -> Trials:
    """Trials of a class with its defaults, or of an instance with its own knobs.

    Raises:
        ConfigurationError: the class does not say what it is.
    """
    if isinstance(method, Unlearner):
        kind = type(method)
        changed = {k.name: getattr(method, k.name) for k in fields(kind) if _is_set(method, k)}
        return Trials(_declared(kind), changed)
    return Trials(_declared(method))


def _is_set(method: Unlearner, knob: Any) -> bool:
    return bool(knob.default is MISSING or getattr(method, knob.name) != knob.default)


def _declared(kind: type[Unlearner]) -> type[Unlearner]:
    needed: Sequence[str] = ("name", "summary", "needs", "reference", "claim", "family")
    missing = [word for word in needed if not getattr(kind, word, None)]
    if missing:
        raise ConfigurationError(
            f"does not say its {', '.join(missing)}",
            where=f"{kind.__module__}.{kind.__qualname__}",
            mend="set the class attributes; see certify.unlearners.Unlearner",
        )
    return kind


def _others(value: Any, hint: Any) -> list[Any]:
    words = [word for part in (hint, *get_args(hint)) if get_origin(part) is Literal for word in get_args(part)]
    if words:
        return words
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int) and value:
        return [4, value + 1, 2 * value, 1, 2, max(1, value // 2)]
    if isinstance(value, float) and value:
        return [2 * value, value / 2, 10 * value, value / 10, 0.5, 0.9]
    return [False, *_NUMBERS] if value is None else list(_NUMBERS)
