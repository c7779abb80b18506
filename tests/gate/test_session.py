"""A session's every state is certified, requests that make no sense change nothing, and the deleted stay deleted."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_path import load
from scipy.sparse import csr_array

from certify.convex.certificate import certify_parameters
from certify.convex.losses import LOSSES, get_loss
from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.core.errors import AssumptionViolatedError, CertifyError, ConfigurationError, InputError
from certify.data.dataset import Dataset
from certify.gate.session import Session
from certify.gate.session import state as state_module
from certify.gate.session.state import recalled_factor

made = load("gate/session_records")


@pytest.mark.parametrize("loss", made.LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_certified_distance_covers_the_retrained_minimiser(
    tmp_path: Path, minimiser: Any, loss: str, weighted: bool
) -> None:
    data = made.draw(loss, records=20, features=2, weighted=weighted)
    with made.begin(tmp_path, data, loss, tolerance=1e-3) as session:
        requests = (
            lambda: session.delete(["p-3", "p-5"]),
            lambda: session.correct("p-7", [0.3, -0.2], data.y[7]),
            lambda: session.add(["n-1", "n-2"], [[0.1, 0.2], [0.4, -1.0]], data.y[:2], [1.0, 0.5]),
            lambda: session.delete(["n-1", "p-7", "p-0"]),
            session.refresh,
        )
        for carry_out in requests:
            step = carry_out()
            held = session.records.retained()
            distance, true = float(step.distance), minimiser(session.objective, held, session.parameters)
            assert true <= distance <= 1e-3
            assert step.distance == session.bound.distance
        assert len(held) == 20 - 2 + 2 - 3
        # the control: deleted records make a difference that the certificate would notice
        assert minimiser(session.objective, data, session.parameters) > 100 * distance


def test_a_long_session_follows_its_gradient_in_single_precision_and_certifies_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # after a dozen requests the records are copied in single precision; a correction and an addition begin a new trail over the same copy
    monkeypatch.setattr(state_module, "_SHADOWED", 3)
    data, copies, followed = made.draw("logistic", records=2000, features=6), [], []
    real = state_module.Shadow.of
    monkeypatch.setattr(state_module.Shadow, "of", lambda problem: copies.append(1) or real(problem))
    with made.begin(tmp_path, data, tolerance=1e-4, l2=50.0) as session:
        for number in range(24):
            if number == 10:
                session.correct("p-1500", [0.3, -0.2, 0.1, 0.0, 0.2, 0.4], data.y[7])
            elif number == 16:
                session.add(["n-1", "n-2"], data.X[:2] + 0.01, data.y[:2])
            else:
                session.delete(f"p-{number}")
            trail = session._state.bound.trail
            followed.append(0 if trail is None else trail.steps)
            truth, slack = made.retrained(session.objective, session.records.retained(), session.parameters)
            assert np.linalg.norm(session.parameters - truth) <= session.bound.distance + slack
            assert session.bound.distance <= session.tolerance
        assert len(copies) == 1
        assert followed[:3] == [0, 0, 0]
        assert max(followed[4:10]) >= 1
        assert followed[10] == followed[16] == 0
        assert max(followed[11:16]) >= 1
        assert max(followed[17:]) >= 1
        ended = session.parameters
    with made.again(tmp_path, data) as session:  # measured in double precision, from nothing
        assert np.array_equal(session.parameters, ended)
        assert session._state.bound.trail is None
        assert session.bound.distance <= session.tolerance


def test_a_session_keeps_its_copy_through_corrections_refreshing_and_openings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "_SHADOWED", 3)
    data = made.draw("logistic", records=2000, features=6)

    def steps(session: Session, first: int, count: int) -> int:
        found = 0
        for number in range(first, first + count):
            session.delete(f"p-{number}")
            trail = session._state.bound.trail
            found = max(found, 0 if trail is None else trail.steps)
        return found

    with made.begin(tmp_path, data, tolerance=1e-4, l2=50.0) as session:
        session.correct("p-1500", [0.3, -0.2, 0.1, 0.0, 0.2, 0.4], data.y[7])  # stands when the copy is made
        assert steps(session, 0, 8) > 0
        session.refresh()
        assert steps(session, 10, 6) > 0
        shadow = session._state.shadow
        assert shadow is not None
        assert len(shadow.rows) == 2000
    monkeypatch.setattr(state_module, "_renewal_pays", lambda old: old.served == 5)
    with made.again(tmp_path, data) as session:  # has no Hessian of its own before the sixth request
        assert steps(session, 20, 5) == 0
        assert steps(session, 25, 8) > 0


def test_an_outlier_can_be_deleted_though_its_score_overflows_without_it(tmp_path: Path) -> None:
    data = made.draw("poisson", records=400)
    X = np.array(data.X)
    X[7] = (4e5, -3e5, 1e5)
    with made.begin(tmp_path, replace(data, X=X), "poisson", tolerance=1e-3, fit_intercept=False) as session:
        step = session.delete("p-7")
        assert X[7] @ session.parameters[0] > 800  # beyond what exp can hold
        truth, slack = made.retrained(session.objective, session.records.retained(), session.parameters)
        assert np.linalg.norm(session.parameters - truth) <= step.distance + slack
        session.delete("p-8")
    with made.again(tmp_path, replace(data, X=X)) as session:
        assert session.bound.distance <= session.tolerance
        session.delete("p-9")


def test_objectives_whose_hessian_is_not_kept_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_SHADOWED", 1)
    monkeypatch.setattr(state_module.Shadow, "of", lambda _: pytest.fail("copied"))
    data = made.draw("softmax")
    with made.begin(tmp_path, data, "softmax") as session:
        for number in range(4):
            session.delete(f"p-{number}")


@pytest.mark.parametrize("loss", made.LOSSES)
def test_a_random_stream_agrees_with_a_plain_book_and_a_retrain(tmp_path: Path, loss: str) -> None:
    data, rng = made.draw(loss, records=120), np.random.default_rng(100 + made.LOSSES.index(loss))
    book, session = made.Book.of(data), made.begin(tmp_path, data, loss, fit_intercept=loss != "squared")
    for number in range(25):
        made.request(session, book, data, rng, number)
        assert book.matches(session)
        truth, slack = made.retrained(session.objective, session.records.retained(), session.parameters)
        assert np.linalg.norm(session.parameters - truth) <= session.bound.distance + slack
        assert session.bound.distance <= session.tolerance
        if number % 8 == 7:
            before, log = session.parameters, session.log
            session.close()
            session = made.again(tmp_path, data)
            assert np.array_equal(session.parameters, before)
            assert session.log == log
            assert book.matches(session)
    for name in book.dead:
        with pytest.raises(InputError, match="cannot come back"):
            session.add(name, np.zeros(3), data.y[0])
    session.close()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_of_the_registry_goes_through_a_session_where_it_has_a_certificate(
    tmp_path: Path, name: str
) -> None:
    smoothing = 0.5 if name in ("huber-hinge", "softplus-hinge") else None
    loss = get_loss(name, smoothing)
    kind = "softmax" if loss.multi_output else "logistic" if "class" in loss.targets else "poisson"
    data = made.draw(kind, records=80)
    if kind == "poisson":
        data = replace(data, y=data.y + 1.0)
    declared = Objective(name, l2=3.0, smoothing=smoothing)
    zeros = np.zeros((3 if loss.multi_output else 1, 3))
    with Session.start(tmp_path / "s", tmp_path / "k", declared, data, zeros, 1e-6) as session:
        session.delete(["p-1", "p-2"])
        session.correct("p-3", data.X[4] + 0.1, data.y[3])
        session.add("n-1", data.X[5] - 0.1, data.y[5])
        session.delete("n-1")
        held = session.records.retained()
        problem = bind(declared, held.X, held.y, len(zeros))
        assert certify_parameters(problem, session.parameters).distance <= 2e-6
        # strong convexity alone, by another path: no factor, no self-concordance
        slope = problem.gradient(session.parameters) if not declared.bent else np.zeros(3)  # the hinge's slope jumps
        assert np.linalg.norm(slope) / 3.0 <= 1e-2


def test_one_against_all_others(tmp_path: Path) -> None:
    data = made.draw("softmax", records=80)
    declared = Objective("logistic", l2=3.0, one_vs_rest=True)
    with Session.start(tmp_path / "s", tmp_path / "k", declared, data, np.zeros((3, 3)), 1e-6) as session:
        step = session.delete(["p-1", "p-2"])
        truth, slack = made.retrained(declared, session.records.retained(), session.parameters, 3)
        assert np.linalg.norm(session.parameters - truth) <= step.distance + slack


def test_sixty_requests_one_by_one_and_in_a_batch_end_within_their_bounds(tmp_path: Path) -> None:
    data, rng = made.draw("logistic", records=400, features=5), np.random.default_rng(1)
    gone = [f"p-{row}" for row in range(20)]
    changed = {f"p-{row}": (rng.normal(size=5), float(row % 2)) for row in range(40, 60)}
    fresh = {f"n-{row}": (rng.normal(size=5), float(row % 2)) for row in range(20)}
    (tmp_path / "one").mkdir()
    (tmp_path / "all").mkdir()
    with made.begin(tmp_path / "one", data) as one, made.begin(tmp_path / "all", data) as batch:
        order = [("d", name) for name in gone] + [("c", name) for name in changed] + [("a", name) for name in fresh]
        for kind, name in (order[place] for place in rng.permutation(60)):
            if kind == "d":
                one.delete(name)
            elif kind == "c":
                one.correct(name, *changed[name])
            else:
                one.add(name, *fresh[name])
        batch.delete(gone)
        batch.correct(list(changed), [x for x, _ in changed.values()], [y for _, y in changed.values()])
        batch.add(list(fresh), [x for x, _ in fresh.values()], [y for _, y in fresh.values()])
        apart = np.linalg.norm(one.parameters - batch.parameters)
        assert apart <= one.bound.distance + batch.bound.distance <= 2e-6
        assert sorted(one.records.retained().ids) == sorted(batch.records.retained().ids)
        assert max(step.contraction for step in one.log[1:]) < 0.2
        start = made.retrained(one.objective, data, one.parameters)[0]
        assert np.linalg.norm(one.parameters - start) > 1e-3  # the stream moved the minimiser far beyond the bounds


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


REFUSED: dict[str, Any] = {
    "unknown": lambda s, _: s.delete("nobody"),
    "deleted before": lambda s, _: s.delete(["p-4", "p-1"]),
    "twice": lambda s, _: s.delete(["p-4", "p-4"]),
    "no record": lambda s, _: s.delete([]),
    "would be left": lambda s, _: s.delete([str(name) for name in s.records.retained().ids]),
    "neither text nor": lambda s, _: s.delete([1.5]),
    "was deleted before": lambda s, d: s.correct("p-1", d.X[4], d.y[4]),
    "exists already": lambda s, d: s.add("p-4", d.X[4] + 1, d.y[4]),
    "deleted in this session": lambda s, d: s.add("p-1", d.X[4] + 1, d.y[4]),
    "equals a deleted record": lambda s, d: s.add("newcomer", d.X[1], d.y[1]),
    "equals a deleted record in": lambda s, d: s.correct("p-4", d.X[1], d.y[1]),
    "shape": lambda s, _: s.add("n", [1.0, 2.0], 1.0),
    "NaN": lambda s, _: s.add("n", [1.0, 2.0, np.nan], 1.0),
    "labels": lambda s, _: s.add("n", [1.0, 2.0, 3.0], -1.0),
    "labels must": lambda s, _: s.correct("p-4", [1.0, 2.0, 3.0], 7.0),
    "at least 0": lambda s, _: s.add("n", [1.0, 2.0, 3.0], 1.0, -1.0),
    "different lengths": lambda s, _: s.add(["n", "m"], [[1.0, 2.0, 3.0], [1.0]], [1.0, 0.0]),
}


@pytest.mark.parametrize("words", sorted(REFUSED))
def test_a_refused_request_changes_no_byte_and_names_nobody(tmp_path: Path, words: str) -> None:
    data = made.draw("logistic")
    with made.begin(tmp_path, data) as session:
        session.delete("p-1")
    before = snapshot(tmp_path)
    with made.again(tmp_path, data) as session:
        w = session.parameters
        with pytest.raises(InputError, match=words) as caught:
            REFUSED[words](session, data)
        assert np.array_equal(session.parameters, w)
        assert not any(name in str(caught.value) for name in ("p-1", "p-4", "nobody", "newcomer"))
    assert snapshot(tmp_path) == before
    with made.again(tmp_path, data) as session:
        assert session.delete("p-4").retained == 58  # and it goes on


def test_a_tolerance_that_is_not_reached_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made.draw("logistic")
    made.begin(tmp_path, data).close()
    before = snapshot(tmp_path)

    def hopeless(*arguments: Any) -> Any:
        return follow(*arguments[:4], replace(arguments[4], tolerance=1e-300), arguments[5])

    follow = state_module.follow
    monkeypatch.setattr(state_module, "follow", hopeless)
    with made.again(tmp_path, data) as session, pytest.raises(AssumptionViolatedError, match="above the tolerance"):
        session.delete("p-1")
    assert snapshot(tmp_path) == before


def test_a_record_that_was_added_and_deleted_cannot_come_back_in_any_version(tmp_path: Path) -> None:
    data = made.draw("squared")
    first, second = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    with made.begin(tmp_path, data, "squared") as session:
        session.add("n-1", first, 0.5)
        session.correct("n-1", second, 0.5)
        session.correct("n-1", first, 0.5)  # nobody was deleted: a correction may be taken back
        session.correct("n-1", second, 0.5)
        session.delete("n-1")
    with made.again(tmp_path, data) as session:
        for content in (first, second):
            with pytest.raises(InputError, match="equals a deleted record"):
                session.add("n-2", content, 0.5)
        with pytest.raises(InputError, match="cannot come back"):
            session.add("n-1", first + 9, 0.5)
        session.add("n-2", first, 0.75)  # the control: another target is another record
        assert session.outside == 1


def test_minus_zero_and_other_types_do_not_smuggle_a_content_back(tmp_path: Path) -> None:
    data = made.draw("squared")
    with made.begin(tmp_path, data, "squared") as session:
        session.add("n-1", [0.0, 2.0, 3.0], 0.0)
        session.delete("n-1")
        for x, y in (([-0.0, 2, 3], -0.0), (np.array([0, 2, 3], dtype=np.float32), 0)):
            with pytest.raises(InputError, match="equals a deleted record"):
                session.add("n-2", x, y)


def test_nothing_of_deleted_people_is_left_in_the_file(tmp_path: Path) -> None:
    data = made.draw("squared")
    row = np.array([1.23456789, -9.87654321, 3.14159265])
    with made.begin(tmp_path, data, "squared") as session:
        session.add(["secret-person", "kept-person"], [row, row + 1], [0.125, 0.5])
        session.correct("p-9", row + 2, 0.5)
        held = b"".join(snapshot(tmp_path).values())
        assert b"secret-person" in held  # the control: what lives must be known
        assert row.tobytes() in held
        session.delete(["secret-person", "p-9", "p-8"])
        held = b"".join(snapshot(tmp_path).values())
    held += b"".join(snapshot(tmp_path).values())
    assert b"kept-person" in held
    for trace in (b"secret-person", b"p-9", b"p-8", row.tobytes(), row[:1].tobytes(), (row + 2).tobytes()):
        assert trace not in held
    assert (tmp_path / "s.key").stat().st_mode & 0o077 == 0


def test_the_factor_is_known_to_hold_traces_until_it_is_refreshed(tmp_path: Path) -> None:
    data = made.draw("logistic")
    with made.begin(tmp_path, data) as session:
        session.delete(["p-1", "p-2"])
        assert session.traces == 2
    with made.again(tmp_path, data) as session:
        assert session.traces == 2
        stored = recalled_factor(session._store.factor(4))
        assert stored is not None
        assert session.refresh().refactored
        assert session.traces == 0
        fresh = recalled_factor(session._store.factor(4))
        assert fresh is not None
        assert not np.array_equal(stored.root, fresh.root)
        assert session.log[-1].retained == 58


@pytest.mark.parametrize("loss", ["logistic", "squared", "poisson"])
def test_the_kept_hessian_follows_every_request(tmp_path: Path, loss: str) -> None:
    data, rng = made.draw(loss, weighted=True), np.random.default_rng(5)
    book = made.Book.of(data)
    with made.begin(tmp_path, data, loss) as session:
        for number in range(20):
            made.request(session, book, data, rng, number)
            kept, problem = session._state.factor.hessian, session.records.problem
            assert np.array_equal(kept.weights > 0, problem.weights > 0)
            X = np.asarray(problem.X[:]) if problem.shape[1] == data.X.shape[1] else problem.block(slice(0, None))
            whole = (X.T * kept.weights) @ X + np.diag(problem.penalty)
            z = rng.normal(size=problem.shape)
            np.testing.assert_allclose(kept.product(z).value, z @ whole, rtol=1e-10, atol=1e-10)


def test_an_opened_session_makes_its_hessian_anew_once_when_that_pays(tmp_path: Path) -> None:
    data = made.draw("logistic")
    with made.begin(tmp_path, data) as session:
        assert session._state.factor.hessian is not None
        assert not session.delete("p-50").refactored
    with made.again(tmp_path, data) as session:
        steps = []
        for row in range(12):
            assert (session._state.factor.hessian is None) == (row < 9)
            steps.append(session.delete(f"p-{row}"))
            truth, slack = made.retrained(session.objective, session.records.retained(), session.parameters)
            assert np.linalg.norm(session.parameters - truth) <= session.bound.distance + slack
        assert steps[8].refactored
        assert session.traces == 3


def test_a_factor_that_is_missing_damaged_or_wrong_is_no_obstacle(tmp_path: Path) -> None:
    data = made.draw("logistic")
    with made.begin(tmp_path, data) as session:
        session.delete("p-1")
    for statement in ("DELETE FROM factor", "UPDATE factor SET root = x'00'", "UPDATE factor SET root = zeroblob(128)"):
        connection = sqlite3.connect(tmp_path / "s.sqlite")
        connection.execute(statement)
        connection.commit()
        connection.close()
        with made.again(tmp_path, data) as session:
            assert session.bound.distance <= session.tolerance
            assert session._store.factor(4) is None
        with made.again(tmp_path, data) as session:  # it was made anew and kept
            assert session._store.factor(4) is not None


def test_a_factor_that_lies_costs_steps_and_no_soundness(tmp_path: Path) -> None:
    data = made.draw("logistic")
    with made.begin(tmp_path, data, fit_intercept=False) as session:
        session._store.save_factor((np.eye(3) * 100, 60, 0))
        session._unsaved = False
    with made.again(tmp_path, data) as session:
        step = session.delete(["p-1", "p-2"])
        truth, slack = made.retrained(session.objective, session.records.retained(), session.parameters)
        assert np.linalg.norm(session.parameters - truth) <= step.distance + slack


def test_the_data_file_may_lose_the_deleted_and_nothing_else(tmp_path: Path) -> None:
    data = made.draw("logistic", weighted=True)
    with made.begin(tmp_path, data) as session:
        session.delete(["p-1", "p-2"])
        session.correct("p-5", data.X[5] + 1, data.y[5])
        session.add("n-1", data.X[6] + 1, data.y[6])
        w = session.parameters
    for erased in ([1], [1, 2], [1, 2, 5]):  # of a corrected record the old version may go, too
        with made.again(tmp_path, data.without(np.array(erased))) as session:
            assert np.array_equal(session.parameters, w)
            assert session.records.count == 59
            assert session.outside == 0
    order = np.random.default_rng(0).permutation(60)
    with made.again(tmp_path, data.take(order)) as session:
        assert session.bound.distance <= session.tolerance
    moved = data.X.copy()
    moved[7, 0] = np.nextafter(moved[7, 0], 9)
    assert data.sample_weight is not None
    others = {
        "missing": data.without(np.array([7])),
        "changed": Dataset(moved, data.y, data.ids, data.sample_weight),
        "target": Dataset(data.X, 1 - data.y, data.ids, data.sample_weight),
        "weight": Dataset(data.X, data.y, data.ids, data.sample_weight * 2),
        "names": Dataset(data.X, data.y, np.roll(data.ids, 1), data.sample_weight),
        "another": made.draw("logistic", 1, weighted=True),
        "narrow": Dataset(data.X[:, :2], data.y, data.ids, data.sample_weight),
        "numbered": replace(data, numbered=True),
    }
    for other in others.values():
        with pytest.raises(InputError) as caught:
            made.again(tmp_path, other)
        assert "\n" not in str(caught.value)


def test_sparse_data_and_whole_number_ids(tmp_path: Path) -> None:
    dense = made.draw("logistic")
    rows: Any = np.where(np.abs(dense.X) > 0.3, dense.X, 0.0)
    data = Dataset(csr_array(rows), dense.y, np.arange(100, 160))
    with made.begin(tmp_path, data) as session:
        session.delete([101, "102"])
        session.add(7, [0.5, 0.0, 0.0], 1)
        session.correct(105, [0.0, 0.0, 0.25], 0)
        with pytest.raises(InputError, match="whole number"):
            session.add("person", [0.5, 0.0, 0.1], 1)
        w, bound = session.parameters, session.bound
    with made.again(tmp_path, data) as session:
        held = session.records.retained()
        assert held.ids.dtype.kind == "i"
        assert held.X.shape == (59, 3)
        plain = Dataset(held.X.toarray(), held.y, held.ids)
        truth, slack = made.retrained(session.objective, plain, w)
        assert np.linalg.norm(w - truth) <= bound.distance + slack


def test_a_model_without_a_certificate_begins_no_session(tmp_path: Path) -> None:
    data = made.draw("softmax")
    with pytest.raises(AssumptionViolatedError, match="all intercepts move together"):
        made.begin(tmp_path, data, "softmax", penalize_intercept=False)
    with pytest.raises(AssumptionViolatedError, match="l2"):
        made.begin(tmp_path, made.draw("logistic"), l2=0.0)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match="tolerance"):
            made.begin(tmp_path, made.draw("logistic"), tolerance=wrong)
    assert not list(tmp_path.iterdir())


def test_a_second_start_touches_nothing(tmp_path: Path) -> None:
    data = made.draw("logistic")
    made.begin(tmp_path, data).close()
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="already"):
        made.begin(tmp_path, data)
    (tmp_path / "s.sqlite").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="already"):
        made.begin(tmp_path, data)
    (tmp_path / "elsewhere").rename(tmp_path / "s.sqlite")
    assert snapshot(tmp_path) == before


def test_an_intercept_without_penalty_is_carried_along(tmp_path: Path) -> None:
    data = made.draw("logistic", records=200)
    with made.begin(tmp_path, data, penalize_intercept=False) as session:
        step = session.delete(["p-1", "p-2"])
        truth, slack = made.retrained(session.objective, session.records.retained(), session.parameters)
        assert np.linalg.norm(session.parameters - truth) <= step.distance + slack


def test_errors_are_ours(tmp_path: Path) -> None:
    with pytest.raises(CertifyError, match="no session yet"):
        Session.open(tmp_path / "s.sqlite", tmp_path / "s.key", made.draw("logistic"))
