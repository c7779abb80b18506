"""``certify audit`` of scores made elsewhere: nothing is trained; verdicts, formats, verification, and one line for whatever is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cheap_fleets import fleet

from certify import audit
from certify.attacks.audits.findings import Control
from certify.attacks.statistics.coin_flip import draw_coins
from certify.gate.audits.entries import Fleet, control_entry

SPEC = """
[release]
model = "unlearned.safetensors"
kind = "torch"
unlearner = "fine-tune"
[data]
path = "scores.npz"
forget = "forget.txt"
[policy]
epsilon = 1.0
delta = 1e-5
[audit]
attacks = ["u-lira", "loss"]
scores = "scores.npz"
max_tpr_at_fpr = { fpr = 0.05, tpr = 0.2 }
"""

Made = Callable[..., Path]


def arrays_of(**knobs: Any) -> dict[str, Any]:
    seen = fleet(**{"models": 32, "records": 120, "seed": 3, "level": 0.1} | knobs)
    return {
        "assignment": seen.assignment,
        "ids": np.array([f"r{n}" for n in range(seen.records)]),
        **{world: signals["phi"] for world, signals in seen.worlds.items()},
    }


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Write a project; arrays that are None are left out."""

    def write(spec: str = SPEC, forget: str = "r1\nr2\n", **arrays: Any) -> Path:
        kept = {name: array for name, array in arrays.items() if array is not None}
        np.savez(tmp_path / "scores.npz", **kept)
        (tmp_path / "unlearned.safetensors").write_bytes(b"never loaded")
        (tmp_path / "forget.txt").write_text(forget)
        (tmp_path / "certify.toml").write_text(spec)
        return tmp_path / "certify.toml"

    return write


def audited(certify: Callable[..., SimpleNamespace], spec: Path, command: str = "audit") -> tuple[int, dict[str, Any]]:
    done = certify(command, spec, "--format", "json")
    assert done.stdout, done.stderr
    return done.code, json.loads(done.stdout)


@pytest.mark.parametrize("command", ["audit", "check"])
@pytest.mark.parametrize(("left", "direction"), [(3.0, "under-forgetting"), (-3.0, "over-forgetting")])
def test_a_leak_fails_on_its_side(certify, made: Made, left: float, direction: str, command: str) -> None:
    code, document = audited(certify, made(**arrays_of(left=left)), command)
    assert code == 1
    failed = [one for one in document["audit"]["findings"] if one["verdict"] == "fail"]
    assert {one["direction"] for one in failed} == {direction}
    assert "u-lira" in {one["attack"] for one in failed}


def test_retraining_passes_with_models_enough_and_is_open_with_few(certify, made: Made) -> None:
    many = arrays_of(models=128, records=200)
    code, document = audited(certify, made(SPEC.replace("tpr = 0.2", "tpr = 0.3"), **many))
    assert (code, document["verdict"]) == (0, "pass"), [one["summary"] for one in document["checks"]]
    assert document["guarantee"]["kind"] == "empirical"
    assert f"fewer than {100 * (1 - 0.05 ** (1 / 64)):.2g} models in 100" in document["guarantee"]["reason"]
    code, document = audited(certify, made(**arrays_of(models=16, records=60)))
    assert (code, document["verdict"]) == (3, "inconclusive")


def few_records(count: int) -> dict[str, Any]:
    """Scores of so many records, and one that is always retained."""
    arrays = arrays_of(models=64, records=40)
    arrays = {name: a[..., : count + 1] for name, a in arrays.items()}
    arrays["assignment"] = arrays["assignment"].copy()
    arrays["assignment"][:, -1] = 1
    return arrays


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.filterwarnings("error")
def test_few_records_ask_for_records_and_not_for_models_that_are_there(certify, made: Made, count: int) -> None:
    code, document = audited(
        certify, made(SPEC.replace('"u-lira", "loss"', '"u-lira"'), forget="r0\n", **few_records(count))
    )
    assert code in {3, 4}  # so little shows that even the original may hide
    assert not any(
        line.startswith("games that were not asked for: privacy") for line in document["audit"]["not_tested"]
    )
    assert any(
        "no records on both sides" in line and "score more records" in line for line in document["audit"]["not_tested"]
    )
    assert not any("shadow models are too few" in (one["remedy"] or "") for one in document["checks"])
    needed = [one["needed_models"] for one in document["audit"]["findings"] if one["needed_models"]]
    assert needed
    assert min(needed) > 64  # so many are there


def test_a_control_of_few_records_does_not_ask_for_models() -> None:
    entry = control_entry(
        Control(
            "c",
            "u-lira",
            "privacy",
            "original models",
            must_be_caught=True,
            p_value=1.0,
            value=None,
            ok=False,
            summary="",
        ),
        Fleet(64, elsewhere=True, forgotten=1.4),
    )
    assert entry.remedy is not None
    assert "a model forgot 1.4 records on average, too few for it: score more records" in entry.remedy


def test_an_attack_that_needs_records_never_seen_is_left_out_of_scores_of_one_request(certify, made: Made) -> None:
    arrays = arrays_of(models=32, records=60) | {"assignment": None}
    _, document = audited(certify, made(SPEC.replace('"loss"', '"rmia"'), **arrays))
    assert any(
        line.startswith("rmia: it compares with records that a model was never given")
        for line in document["audit"]["not_tested"]
    )


def test_nothing_passes_that_would_pass_without_forgetting(certify, made: Made) -> None:
    many, wide = arrays_of(models=128, records=200), SPEC.replace("tpr = 0.2", "tpr = 0.3")
    code, document = audited(certify, made(wide, **many | {"original": None}))
    assert (code, document["verdict"]) == (3, "inconclusive")
    assert any("give the original as well" in (one["remedy"] or "") for one in document["checks"])
    weak = arrays_of(models=128, records=200, gain=0.5)
    code, _ = audited(certify, made(SPEC.replace("tpr = 0.2", "tpr = 0.5"), **weak | {"unlearned": weak["original"]}))
    assert code == 3


def test_a_control_that_misbehaves_refuses(certify, made: Made) -> None:
    code, document = audited(certify, made(**arrays_of(broken=3.0)))
    assert code == 4
    assert "control" in next(one for one in document["checks"] if one["verdict"] == "refused")["title"]
    code, _ = audited(certify, made(**arrays_of(gain=0.0)))
    assert code == 4


def test_the_short_form_is_one_request(certify, made: Made) -> None:
    rng = np.random.default_rng(0)
    made_of = {
        "unlearned": rng.normal(size=(20, 50)) + 3,
        "retrained": rng.normal(size=(45, 50)),
        "original": rng.normal(size=(20, 50)) + 5,
        "release": rng.normal(size=50) + 3,
        "release_original": rng.normal(size=50) + 5,
    }
    spec = SPEC.replace('"loss"', '"release-lira"')
    code, document = audited(certify, made(spec, forget="1\n2\n", **made_of))
    assert code == 1
    assert {one["attack"] for one in document["audit"]["findings"] if one["verdict"] == "fail"} == {
        "u-lira",
        "release-lira",
    }
    assert "the game privacy: the scores hold no records for it" in document["audit"]["not_tested"]


def test_the_array_that_cuts_all_others_is_named(certify, made: Made) -> None:
    rng = np.random.default_rng(0)
    worlds = {name: rng.normal(size=(40, 50)) for name in ("unlearned", "retrained")}
    arrays = worlds | {"original": rng.normal(size=(1, 50)), "release": rng.normal(size=50)}
    spec = SPEC.replace('"u-lira", "loss"', '"u-lira"')
    done = certify("audit", made(spec, forget="1\n", **arrays))
    assert (done.code, done.stdout) == (3, "")
    assert "'original' has 1 row and 'unlearned' has 40 rows: the others are cut to 1" in done.stderr
    assert "release_original" in done.stderr
    assert "audit.replicates" not in done.stderr
    assert done.stderr.count("\n") == 1
    arrays["original"] = rng.normal(size=(32, 50))
    _, document = audited(certify, made(spec, forget="1\n", **arrays))
    assert any("'original' has 32 rows" in note for note in document["audit"]["design"]["notes"])


def test_the_model_under_review_is_put_beside_all_retrained_ones_that_there_are(certify, made: Made) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "unlearned": rng.normal(size=(1, 50)),
        "retrained": rng.normal(size=(45, 50)),
        "release": rng.normal(size=50) + 3,
    }
    _, document = audited(certify, made(SPEC.replace('"u-lira", "loss"', '"release-lira"'), forget="1\n", **arrays))
    assert [one["p_value"] for one in document["audit"]["findings"]] == [pytest.approx(1 / 46)] * 2
    arrays["retrained"][40] = arrays["retrained"][30]  # a copy is no model
    done = certify("audit", made(SPEC.replace('"u-lira", "loss"', '"release-lira"'), forget="1\n", **arrays))
    assert done.code == 2
    assert "retrained has 45 rows, and 1 repeat another one" in done.stderr


def test_a_release_is_held_to_the_limit_against_retrained_models_whatever_fleets_play(certify, made: Made) -> None:
    """The privacy game's own limit is wider, since both of its sides are epsilon away from retraining."""
    rng = np.random.default_rng(0)
    worlds = {name: rng.normal(size=(20, 50)) for name in ("unlearned", "retrained", "original")}
    limits = []
    for games in ('["retrain"]', '["privacy"]'):
        spec = SPEC.replace('"u-lira", "loss"', '"release-lira"').replace("max_tpr", f"games = {games}\n#")
        _, document = audited(certify, made(spec, forget="1\n", release=rng.normal(size=50), **worlds))
        limits += [one["limit"] for one in document["audit"]["findings"]]
    assert limits == pytest.approx([0.0271] * 4)


def test_a_ruined_model_gives_nothing_away_and_the_claim_says_what_was_asked(certify, made: Made) -> None:
    """Random numbers for every record: within the limit of privacy, far from any retrained model."""
    arrays = arrays_of(models=128, records=200)
    arrays["unlearned"] = np.random.default_rng(1).normal(size=(128, 200))
    wide = SPEC.replace("tpr = 0.2", "tpr = 0.3")
    code, document = audited(certify, made(wide, **arrays))
    assert code == 1
    assert "cannot be told from models retrained" in document["audit"]["claim"]
    code, document = audited(certify, made(wide + 'games = ["privacy"]\n', **arrays))
    assert code == 3
    check = next(one for one in document["checks"] if one["id"].startswith("u-lira-privacy"))
    assert (check["verdict"], check["remedy"]) == ("inconclusive", "play the game retrain as well: audit.games")
    assert "whether they are like retrained ones was not asked" in document["audit"]["claim"]


def test_probabilities_give_what_their_log_odds_give(certify, made: Made) -> None:
    arrays = arrays_of(left=3.0)
    _, wanted = audited(certify, made(**arrays))
    worlds = ("original", "unlearned", "retrained", "again")
    arrays |= {name: 1 / (1 + np.exp(-arrays[name])) for name in worlds}
    _, found = audited(certify, made(SPEC + 'scale = "probability"\n', **arrays))
    for one, other in zip(wanted["audit"]["findings"], found["audit"]["findings"], strict=True):
        assert one["verdict"] == other["verdict"]
        assert one["value"] == pytest.approx(other["value"], abs=0.02)


def test_hard_records_that_are_forgotten_by_all_do_not_pass_for_remembered_ones(certify, made: Made) -> None:
    arrays = arrays_of()
    arrays["assignment"] = np.tile(arrays["assignment"][0], (32, 1))
    _, document = audited(certify, made(**arrays))
    assert any("hard records could not be told" in line for line in document["audit"]["not_tested"])
    assert all(one["game"] == "retrain" for one in document["audit"]["findings"])


def classes_forgotten(seed: int) -> dict[str, Any]:
    """Each honest model forgets one class of ten; records never seen are of all the others."""
    rng, kind = np.random.default_rng(seed), np.repeat(np.arange(10), 20)
    mine = kind == rng.integers(10, size=(64, 1))
    assignment = np.where(mine, 2, rng.integers(0, 2, (64, 200)))
    worlds = ("unlearned", "retrained", "again")
    moved = 2.0 * (assignment == 1) - 4.0 * mine
    phi = {name: moved + rng.normal(size=mine.shape) for name in worlds}
    return {"assignment": assignment, **phi, "original": 3.0 * (assignment > 0) + rng.normal(size=mine.shape)}


def test_whole_classes_that_honest_models_forget_are_no_failure(certify, made: Made) -> None:
    arrays = classes_forgotten(0)
    code, document = audited(certify, made(forget="1\n", **arrays))
    assert code == 4
    assert any("no whole classes" in (one["remedy"] or "") for one in document["checks"])
    assert not any(one["verdict"] == "fail" for one in document["checks"])
    code, document = audited(certify, made(forget="1\n", **arrays | {"retrained": None, "again": None}))
    assert code == 3
    assert any("by chance, one by one" in line for line in document["audit"]["not_tested"])


def test_nothing_passes_whose_control_is_missing(certify, made: Made) -> None:
    """Scores that are noise look like perfect unlearning; only an original model shows that the attack sees anything."""
    rng = np.random.default_rng(5)
    arrays = arrays_of(models=128, records=200)
    noise = {world: rng.normal(size=(128, 200)) for world in ("unlearned", "retrained", "again")}
    spec = SPEC.replace("tpr = 0.2", "tpr = 0.3")
    code, document = audited(certify, made(spec, **arrays | noise | {"original": None}))
    assert (code, document["verdict"]) == (3, "inconclusive")
    assert document["guarantee"]["kind"] == "none"
    open_ = [one for one in document["checks"] if one["verdict"] == "inconclusive"]
    assert open_
    assert all("give the original as well" in one["remedy"] for one in open_)
    code, _ = audited(certify, made(spec, **arrays | {"original": None}))
    assert code == 3  # honest retraining that would pass with its control
    code, _ = audited(certify, made(spec, **arrays))
    assert code == 0


def test_one_model_passes_nothing_without_the_original(certify, made: Made) -> None:
    rng = np.random.default_rng(1)
    arrays = {name: rng.normal(size=(20, 400)) for name in ("unlearned", "retrained")} | {
        "release": rng.normal(size=400)
    }
    spec = SPEC.replace('"u-lira", "loss"', '"release-lira"').replace("fpr = 0.05, tpr = 0.2", "fpr = 0.05, tpr = 0.4")
    forget = "\n".join(map(str, range(400)))  # the scores are of the forgotten records, so all may be named
    code, document = audited(certify, made(spec, forget=forget, **arrays))
    assert (code, document["request"]["forgotten"], document["request"]["retained"]) == (3, 400, 0)
    code, _ = audited(certify, made(spec, forget=forget, **arrays, release_original=rng.normal(size=400) + 5))
    assert code == 0


BAD: dict[str, tuple[dict[str, Any], str, int]] = {
    "not a number": ({"unlearned": np.full((32, 120), np.nan)}, "unlearned holds what is no finite number", 2),
    "infinite": ({"again": np.full((32, 120), np.inf)}, "again holds what is no finite number", 2),
    "no log odds": ({"again": np.full((32, 120), 1e300)}, "again holds numbers beyond 1e+50", 2),
    "texts": ({"again": np.full((32, 120), "a")}, "again holds what is no finite number", 2),
    "other records": ({"retrained": np.zeros((32, 119))}, "retrained.phi has shape (32, 119)", 2),
    "other models": ({"retrained": np.zeros((31, 120))}, "retrained.phi has shape (31, 120)", 2),
    "no unlearned": ({"unlearned": None}, "has no array 'unlearned'", 2),
    "an unknown array": ({"retrianed": np.zeros((32, 120))}, "has an array 'retrianed'", 2),
    "another cell": ({"assignment": np.full((32, 120), 3)}, "assignment holds other values", 2),
    "an assignment in floats": ({"assignment": np.zeros((32, 120))}, "assignment has type float64", 2),
    "copies of one model": ({"unlearned": np.tile(np.arange(120.0), (32, 1))}, "31 repeat another one", 2),
    "ids that repeat": ({"ids": np.full(120, "r1")}, "ids do not name 120 records once each", 2),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_one_line(certify, made: Made, name: str) -> None:
    arrays, words, code = BAD[name]
    done = certify("audit", made(**arrays_of() | arrays))
    assert (done.code, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert "scores.npz" in done.stderr


SPOILT = {
    "an id of nobody": ({}, "nobody\n", "forget.txt", 2),
    "an attack of nobody": ({"u-lira": "u-lyra"}, "r1\n", "audit.attacks", 2),
    "a signal not given": ({'"loss"': '"entropy"'}, "r1\n", "entropy was not observed", 2),
    "no scores": ({'scores = "scores.npz"': 'scores = "nowhere.npz"'}, "r1\n", "nowhere.npz", 2),
    "coins without canaries": ({'"loss"': '"coin-flip"'}, "r1\n", "audit.canaries", 2),
    "no audit": ({"[audit]": "[training]\n#", "attacks": "#", "scores =": "#", "max_": "#"}, "r1\n", "[audit]", 2),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spec_that_makes_no_sense_is_refused_in_one_line(certify, made: Made, name: str) -> None:
    changes, forget, words, code = SPOILT[name]
    spec = SPEC
    for old, new in changes.items():
        assert old in spec
        spec = spec.replace(old, new)
    done = certify("audit", made(spec, forget=forget, **arrays_of()))
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr


def test_too_few_models_say_how_many_would_do(certify, made: Made) -> None:
    done = certify("audit", made(**arrays_of(models=12)))
    assert (done.code, done.stdout) == (3, "")
    assert "16 are the least" in done.stderr
    assert "scores.npz" in done.stderr
    assert "audit.models" not in done.stderr  # a key that plays no part here
    assert "score 32 models" in done.stderr


def test_more_models_are_asked_of_whoever_scores_them(certify, made: Made) -> None:
    spec = made(**arrays_of(models=16, records=60))
    done = certify("audit", spec, "--models", "64")
    assert (done.code, done.stdout) == (2, "")
    assert "models: the scores hold the models that there are" in done.stderr
    assert certify("audit", spec, "--models", "64", "--forecast").code == 2
    _, document = audited(certify, spec)
    remedies = [one["remedy"] for one in document["checks"] if one["remedy"]]
    assert any("models of each world" in remedy for remedy in remedies)
    assert not any("--models" in remedy for remedy in remedies)
    needed = [one["needed_models"] for one in document["audit"]["findings"] if one["needed_models"]]
    assert needed
    assert min(needed) >= 32


def test_an_attack_that_sees_nothing_with_few_models_is_told_how_many_would_do(certify, made: Made) -> None:
    _, document = audited(certify, made(**arrays_of(models=16, gain=0.0)))
    refused = [one for one in document["checks"] if one["verdict"] == "refused"]
    assert refused
    assert all("16 shadow models are too few for it" in one["remedy"] for one in refused)
    assert all("nearly blind: score 32 models" in one["remedy"].replace(")", "") for one in refused)


def test_records_of_scores_are_columns(certify, made: Made, tmp_path: Path) -> None:
    spec = made(**arrays_of(left=3.0))
    certify("audit", spec, "--quiet", "--output", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "column in the scores file, counted from 0" in page
    assert "row in the data file" not in page


def test_probabilities_that_are_none_are_refused(certify, made: Made) -> None:
    done = certify("audit", made(SPEC + 'scale = "probability"\n', **arrays_of()))
    assert done.code == 2
    assert "a number is no probability" in done.stderr


def test_every_format_is_written_and_the_document_verifies_until_a_number_is_changed(
    certify, made: Made, tmp_path: Path
) -> None:
    spec = made(**arrays_of(left=3.0))
    names = {
        "html": "r.html",
        "json": "r.json",
        "sarif": "r.sarif",
        "junit": "r.xml",
        "markdown": "r.md",
    }
    outputs = [part for form, name in names.items() for part in ("--output", f"{form}={tmp_path / name}")]
    done = certify("audit", spec, "--quiet", *outputs)
    assert (done.code, done.stdout) == (1, "")
    assert all((tmp_path / name).stat().st_size > 500 for name in names.values())
    kept = tmp_path / "r.json"
    assert certify("verify", kept).code == 0, certify("verify", kept).stderr
    document = json.loads(kept.read_text())
    for change in ("value", "p_value"):
        changed = json.loads(kept.read_text())
        changed["audit"]["findings"][0][change] = 0.0123
        (tmp_path / "changed.json").write_text(json.dumps(changed))
        assert certify("verify", tmp_path / "changed.json").code == 1, change
    document["verdict"], document["exit_code"] = "pass", 0
    (tmp_path / "changed.json").write_text(json.dumps(document))
    assert certify("verify", tmp_path / "changed.json").code != 0


def test_the_forecast_trains_nothing(certify, made: Made) -> None:
    done = certify("audit", made(**arrays_of()), "--forecast")
    assert (done.code, done.stdout) == (0, "nothing is trained: the scores were made elsewhere\n")


COINS = SPEC.replace('["u-lira", "loss"]', '["coin-flip"]') + 'canaries = "canaries.npz"\n'


def forget_of(ids: Any, coins: Any) -> str:
    """The request: what the coins planted."""
    return "\n".join(ids[np.asarray(coins).astype(bool)]) + "\n"


def planted(made: Made, kept: float, **spoil: Any) -> Path:
    """80 canaries; the model under review keeps some of each that was planted."""
    rng, coins = np.random.default_rng(1), draw_coins(80, seed=2)
    arrays = {
        "unlearned": rng.normal(size=(8, 80)),
        "retrained": rng.normal(size=(8, 80)),
        "release": rng.normal(size=80) + kept * coins,
        "ids": np.array([f"r{n}" for n in range(80)]),
    }
    spec = made(COINS, forget_of(arrays["ids"], coins), **arrays)
    canaries = {"planted": coins, "probability": np.array(0.5), "ids": arrays["ids"]} | spoil
    np.savez(spec.with_name("canaries.npz"), **{name: array for name, array in canaries.items() if array is not None})
    return spec


def test_canaries_refute_a_model_that_kept_them_and_no_honest_one(certify, made: Made) -> None:
    code, document = audited(certify, planted(made, 5.0))
    assert code == 1
    finding = next(one for one in document["audit"]["findings"] if one["attack"] == "coin-flip")
    assert finding["value"] > 1.0
    code, document = audited(certify, planted(made, 0.0))
    assert code == 3  # coins never confirm
    assert document["audit"]["findings"][0]["p_value"] > 0.05


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"planted": None}, "has no array 'planted'"),
        ({"ids": np.array([f"x{n}" for n in range(80)])}, "canaries are not among the ids"),
        ({"ids": np.array(["r1"])}, "ids has 1 entries, planted 80"),
        ({"planted": np.full(80, 2)}, "coins are not one axis of 0 and 1"),
        ({"probability": np.array(1.0)}, "probability: is not between 0 and 1"),
    ],
)
def test_canaries_that_do_not_fit_are_refused_in_one_line(certify, made: Made, spoil: Any, words: str) -> None:
    done = certify("audit", planted(made, 0.0, **spoil))
    assert (done.code, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("forget", "data", "words"),
    [
        (lambda ids, coins: forget_of(ids, coins).partition("\n")[2], None, "1 of 80 planted canaries are not in the forget list"),
        (lambda ids, _: "\n".join(ids), None, "canaries that were not planted are in the forget list"),
        (forget_of, lambda ids, coins: ids[np.flatnonzero(~coins)[:3]], "3 of 80 canaries that were not planted are among the records"),
    ],
)  # fmt: skip
def test_canaries_that_are_not_what_the_request_deletes_are_refused(
    certify, made: Made, forget: Any, data: Any, words: str
) -> None:
    spec = planted(made, 0.0)
    ids, coins = np.array([f"r{n}" for n in range(80)]), draw_coins(80, seed=2)
    spec.with_name("forget.txt").write_text(forget(ids, coins))
    if data is not None:
        np.savez(spec.with_name("train.npz"), ids=data(ids, coins))
        spec.write_text(spec.read_text().replace('path = "scores.npz"', 'path = "train.npz"'))
    done = certify("audit", spec)
    assert (done.code, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_canary_that_is_named_twice_is_refused(certify, made: Made) -> None:
    ids = np.array([f"r{n}" for n in range(80)])
    ids[1] = ids[0]
    done = certify("audit", planted(made, 0.0, ids=ids))
    assert done.code == 2
    assert "ids has an id twice" in done.stderr


def sorted_by_coin(made: Made, seed: int, models: int = 8) -> Path:
    """80 canaries that an honest model does not know, in a file that has the planted ones first."""
    rng, coins = np.random.default_rng(seed), np.sort(draw_coins(80, seed=seed))[::-1]
    ids = np.array([f"r{n}" for n in range(80)])
    worlds = {name: rng.normal(size=(models, 80)) for name in ("unlearned", "retrained")}
    spec = made(COINS, forget_of(ids, coins), **worlds, release=rng.normal(size=80), ids=ids)
    np.savez(spec.with_name("canaries.npz"), planted=coins, ids=ids)
    return spec


def test_an_honest_model_is_not_refuted_by_the_order_of_the_file(made: Made) -> None:
    """Bets learn from the coins before: where the planted canaries stand first, they would learn the order alone."""
    refuted = [audit(sorted_by_coin(made, seed)).document["verdict"] == "fail" for seed in range(12)]
    assert sum(refuted) <= 2  # one in twenty is allowed; by the file's order it would be each


def test_models_that_were_trained_on_canaries_do_not_tell_their_coins(certify, made: Made) -> None:
    """Shadow models learned the planted canaries, and never saw the others: what they say of them is no score of the model under review."""
    rng, coins = np.random.default_rng(5), draw_coins(80, seed=6)
    assignment = np.where(coins, rng.choice([1, 2], size=(40, 80)), 0).astype(np.int8)
    assignment[:4] = np.where(coins, 2, 0)
    ids = np.array([f"r{n}" for n in range(80)])
    retrained = rng.normal(size=(40, 80)) - 20.0 * (assignment == 1)
    spec = made(
        COINS,
        forget_of(ids, coins),
        assignment=assignment,
        unlearned=retrained,
        retrained=retrained,
        release=rng.normal(size=80),
        ids=ids,
    )
    np.savez(spec.with_name("canaries.npz"), planted=coins, ids=ids)
    code, document = audited(certify, spec)
    assert code == 3
    assert document["audit"]["findings"][0]["p_value"] > 0.05
