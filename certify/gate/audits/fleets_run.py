"""Attacks on fleets: who forgets what in each, played to the end or until a failure is settled."""

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from certify.attacks.audits.doing_nothing import without_empty_passes, without_passes_of_ruined
from certify.attacks.audits.fleet import FleetAudit, audit_fleet
from certify.attacks.observations import Cell, Observations
from certify.core.arrays import IntArray
from certify.gate.audits.early import Early, watched
from certify.gate.audits.plan import pool_size
from certify.gate.audits.seen import Seen
from certify.gate.audits.sets import HARD, kinds_of, not_as_asked, with_their_source
from certify.gate.spec import AuditSpec

if TYPE_CHECKING:
    from certify.gate.audits.observe import Fleets


def play(seen: Seen, name: str, observations: Observations) -> None:
    """All membership attacks on one fleet.

    Args:
        seen: filled with what was found.
        name: of its forget sets: "all" where records were drawn by chance from all.
        observations: the fleet.
    """
    plan, given = seen.plan, seen.loaded.spec.audit
    assert given is not None
    found = audit_fleet(
        observations,
        plan.membership,
        _games(seen, name),
        seen.levels,
        rates=plan.rates,
        epsilon=plan.epsilon,
        slice_name=name,
        seed=given.seed,
    )
    _keep(seen, name, observations, found)


def _keep(seen: Seen, name: str, observations: Observations, found: FleetAudit) -> None:
    left = without_empty_passes(found, observations, seen.levels, seen.plan.rates)
    seen.fleets[name] = (observations, without_passes_of_ruined(left, _games(seen, name)))
    seen.left_out += found.left_out


def play_fleets(seen: Seen, given: AuditSpec, fleets: "Fleets") -> None:
    """One fleet for each kind of forget set; the hard ones are chosen by the random one, or by the records themselves.

    Args:
        seen: filled with what was found.
        given: the spec's audit.
        fleets: what trains them.
    """
    wanted = kinds_of(given, fleets.inputs)
    first: Observations | None = None
    seen.left_out += not_as_asked(wanted, fleets.inputs)
    for kind in with_their_source(wanted):
        pool = _hard(kind, seen, given, first) if kind in HARD else None
        blocks = fleets.by_chance(kind, pool)
        name = "all" if kind == "random" else kind
        if kind not in wanted or not (given.stop_early and watched(seen.plan.membership)):
            observations = Observations.join(list(blocks))
            if kind in wanted:
                play(seen, name, observations)
        else:
            observations = _watch(seen, name, blocks)
        first = observations if kind == "random" else first


def _games(seen: Seen, name: str) -> tuple[str, ...]:
    """Models that all forget one request have no records of the kind that other games compare with."""
    return ("retrain",) if name == "request" else seen.plan.games


def _watch(seen: Seen, name: str, blocks: Iterator[Observations]) -> Observations:
    """The same with a look after each block."""
    given = seen.loaded.spec.audit
    assert given is not None
    early = Early(seen.plan, seen.levels, given.seed, name, _games(seen, name))
    with closing(blocks):  # type: ignore[type-var]  # a generator
        observations, stopped = early.watch(blocks)
    found = stopped or early.corrected(early.audit(observations))
    _keep(seen, name, observations, found)
    looked = f"stopped after {observations.models} models" if stopped else "went to the last model"
    seen.notes.append(
        f"{name}: looked after each block, {looked}; p-values hold at any time (at least {early.p_value:.2g})"
    )
    return observations


def _hard(kind: str, seen: Seen, given: AuditSpec, first: Observations | None) -> IntArray:
    """The pool of hard records."""
    from certify.attacks import worst_case

    assert seen.inputs is not None
    X = np.asarray(seen.inputs.task.X)
    features = X.reshape(len(X), -1).astype(np.float64)
    size = pool_size(len(X), len(seen.inputs.request.forgotten), given)
    size = min(size, max(64, len(X) // 4))  # the hardest quarter at most, or "hard" would mean nothing
    if kind == "memorised":
        assert first is not None
        scores = worst_case.memorisation(first.get("original"), first.assignment != int(Cell.OUT)).gap
        size = min(size, int(np.isfinite(scores).sum()))
    elif kind == "outliers":
        scores = worst_case.outlyingness(features)
    else:
        return worst_case.coherent_cluster(features, size, seed=given.seed)
    return worst_case.hardest(scores, size, seed=given.seed)
