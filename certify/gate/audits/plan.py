"""What a spec's audit comes to: attacks, games, limits, and how much has to be trained for them."""

from dataclasses import dataclass

from certify.attacks import registry
from certify.attacks.audits.instance import DECIDING
from certify.attacks.audits.judge import rate_limit
from certify.core.errors import ConfigurationError
from certify.gate.load import LoadedSpec
from certify.gate.spec import AuditSpec

LONG = 60.0
"""Seconds that are worth a line before they are spent."""

_POOL = 8
"""Candidates for the forget sets of shadow models, as a multiple of how many each forgets: an eighth of the shadow models forgets a record."""
_LEAST_POOL = 64


@dataclass(frozen=True)
class Plan:
    """An audit, decided before anything is looked at.

    Attributes:
        membership: attacks on a fleet whose models forget records drawn by chance.
        games: which they play.
        request: attacks that compare the model under review with retrained models of this very request.
        coins: whether canaries decide.
        instance: attacks on one linear model and its noise.
        skipped: attacks that were asked for and are not for such a model.
        fpr: false-positive rate of the limit.
        rates: largest true-positive rate allowed, by game; always that against retrained models.
        epsilon: largest epsilon that may be refuted.
        delta: of the guarantee under audit.
        alpha: allowed error over all deciding findings.
        slices: kinds of forget sets, each with a fleet of its own.
    """

    membership: tuple[str, ...]
    games: tuple[str, ...]
    request: tuple[str, ...]
    coins: bool
    fpr: float
    rates: dict[str, float]
    epsilon: float
    delta: float
    alpha: float
    slices: int = 1
    instance: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def signals(self) -> tuple[str, ...]:
        """What has to be observed of every model."""
        found = {"phi", *(signal for name in self.membership for signal in registry.get(name).signals)}
        return tuple(sorted(found))

    @property
    def findings(self) -> int:
        """Largest number of findings that may decide: two directions, a rate in each game, epsilon against retrained models.

        Baselines are not counted, so that showing them costs no power: that honest retraining fails with probability alpha at most
        rests on the exact p-values, which are corrected for all of them.
        """
        shadows = [name for name in self.membership if registry.ATTACKS[name].shadows]
        each = 2 * len(self.games) + 2 * ("retrain" in self.games)
        request = len(self.request) + ("release-lira" in self.request)
        exact = DECIDING * ("likelihood-ratio" in self.instance)
        return max(1, len(shadows) * each * self.slices + request + self.coins + exact)


def plan_of(loaded: LoadedSpec) -> Plan:
    """The plan of a spec.

    Raises:
        ConfigurationError: there is no [audit], an attack is unknown or named twice, or something it needs is not named.
    """
    given = loaded.spec.audit
    if given is None:
        raise ConfigurationError(
            "has no table [audit]", where=str(loaded.path), mend='add one: attacks = ["u-lira", "parameter-distance"]'
        )
    for name in given.attacks:
        try:
            registry.get(name)
        except ConfigurationError as error:
            raise ConfigurationError(error.what, where=f"{loaded.path}: audit.attacks", mend=error.mend) from None
    if len(set(given.attacks)) < len(given.attacks):
        raise ConfigurationError("names an attack twice", where=f"{loaded.path}: audit.attacks", mend="name each once")
    asked, skipped = _suited(loaded, given)
    kinds = {name: registry.ATTACKS[name].kind for name in asked}
    if "coin-flip" in kinds and given.canaries is None:
        raise ConfigurationError(
            "coin-flip needs canaries", where=f"{loaded.path}: audit.canaries", mend="name the file (docs/audits.md)"
        )
    policy = loaded.spec.policy
    epsilon = given.max_epsilon_lower_bound or policy.epsilon
    if "request" in given.forget_sets and "membership" in kinds.values() and "retrain" not in given.games:
        raise ConfigurationError(
            'models that all forget the request can play the game "retrain" alone, which is not asked for',
            where=f"{loaded.path}: audit.games",
            mend='add "retrain", or leave "request" out of forget_sets',
        )
    limit = given.max_tpr_at_fpr
    fpr = 0.01 if limit is None else limit.fpr
    games: tuple[str, ...] = tuple(dict.fromkeys(given.games))
    # what is compared with retrained models has the limit of that game, whether fleets play it or not
    limited = dict.fromkeys((*games, "retrain"))
    rates = {game: limit.tpr if limit else rate_limit(game, fpr, epsilon, policy.delta) for game in limited}
    return Plan(
        membership=tuple(name for name in asked if kinds[name] == "membership"),
        games=games,
        request=tuple(name for name in asked if kinds[name] in ("distance", "relearning")),
        coins="coin-flip" in kinds,
        fpr=fpr,
        rates=rates,
        epsilon=epsilon,
        delta=policy.delta,
        alpha=1 - given.confidence,
        slices=1 if given.scores is not None else len(set(given.forget_sets)),
        instance=tuple(name for name in asked if kinds[name] == "instance"),
        skipped=skipped,
    )


def _suited(loaded: LoadedSpec, given: AuditSpec) -> tuple[list[str], tuple[str, ...]]:
    """The attacks that are for this kind of model, and the others.

    What is for networks alone is left out of a linear model's audit, whose certificate decides; the other way round it is refused.
    """
    kind: registry.Kind = "convex" if loaded.spec.release.kind == "glm" else "network"
    suited = [name for name in given.attacks if kind in registry.ATTACKS[name].kinds]
    others = tuple(name for name in given.attacks if name not in suited)
    if others and (kind == "network" or not suited):
        whose = "linear models" if kind == "network" else "networks"
        raise ConfigurationError(
            f"{others[0]} is for {whose} alone",
            where=f"{loaded.path}: audit.attacks",
            mend="`certify list attacks` says which are for what",
        )
    return suited, others


def pool_size(records: int, forgotten: int, given: AuditSpec) -> int:
    """How many records are candidates for the forget sets of shadow models."""
    share = given.forget_share
    wanted = round(forgotten / share) if share is not None else _POOL * forgotten
    return max(min(_LEAST_POOL, records), min(records, wanted))


def forget_share(given: AuditSpec) -> float:
    """Share of the candidates that a shadow model forgets."""
    return given.forget_share if given.forget_share is not None else 1 / _POOL


def shown_seconds(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"
