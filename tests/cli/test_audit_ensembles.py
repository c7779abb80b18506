"""``certify check`` and ``certify audit`` of an ensemble of SISA: beside it stand ensembles, and what cannot be compared is one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from network_project import write_project

from certify.attacks.fleets.blocks import Block
from certify.attacks.fleets.fresh import seed_of
from certify.attacks.fleets.plan import FleetPlan, FleetTask
from certify.gate.audits.ensembles import Replay, read_audited
from certify.gate.load import load_spec
from certify.gate.networks import read_member_task
from certify.models.networks import State
from certify.unlearners import Request
from certify.unlearners.methods.sisa import Sisa
from certify.unlearners.networks.shards import assignment, save

METHOD = Sisa(shards=2, slices=1, epochs=25)
QUICK = Sisa(shards=2, slices=2, epochs=1)
GONE = np.arange(20)
AUDIT = """
[audit]
attacks = ["release-lira", "function-distance", "parameter-distance", "relearning"]
models = 16
replicates = 5
block = 8
"""


@pytest.fixture
def spec(tmp_path):
    """The forgotten records have wrong labels: who was trained on them shows it."""
    path = write_project(tmp_path / "project")
    put(path, 'original = "original.safetensors"', 'original = "ensemble.safetensors"')
    put(path, "lr = 5e-3", "lr = 2e-2")
    path.write_text(path.read_text() + AUDIT)
    with np.load(path.with_name("train.npz")) as data:
        arrays = dict(data)
    arrays["y"][GONE] = (arrays["y"][GONE] + 1) % 10
    np.savez(path.with_name("train.npz"), **arrays)
    return path


def release(spec, method):
    ready = method.prepare(read_member_task(load_spec(spec)), seed=7)
    save(spec.with_name("ensemble.safetensors"), ready)
    save(spec.with_name("unlearned.safetensors"), method.forget(ready, Request.at(ready, GONE)).state)
    return spec


@pytest.fixture
def released(spec):
    """Learnt by heart."""
    return release(spec, METHOD)


@pytest.fixture
def hastened(spec):
    """Hardly learnt."""
    return release(spec, QUICK)


def put(spec, old, new):
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new))


def audited(certify, spec, command="check"):
    done = certify(command, spec, "--format", "json", "--no-progress")
    assert done.stdout, done.stderr
    return done.code, json.loads(done.stdout)


def by_id(document):
    return {one["id"]: one for one in document["audit"]["findings"]}


def test_replay_stands_beside_ensembles_and_the_original_is_caught(released, certify):
    code, document = audited(certify, released)
    assert code in {0, 3}
    part = document["audit"]
    assert part["design"]["method"] == "sisa(shards=2, slices=1, epochs=25)"
    assert document["subject"]["parameters"] == 2 * (64 * 16 + 16 + 16 * 10 + 10)
    assert {one["attack"] for one in part["findings"]} == {
        "release-lira",
        "function-distance",
        "parameter-distance",
        "relearning",
    }
    assert not [one for one in part["findings"] if one["verdict"] == "fail"]
    controls = [one for one in part["controls"] if one["expectation"] == "must be caught"]
    assert controls
    assert all(one["ok"] for one in controls if one["id"].startswith("function-distance")), controls
    written = released.with_name("certificate.json")
    written.write_text(json.dumps(document))
    done = certify("verify", written)
    assert done.code == 0, done.stdout + done.stderr
    assert certify("report", written, "--format", "markdown").code == 0


def test_an_ensemble_that_says_it_forgot_and_did_not_is_caught(released, certify):
    ready = METHOD.prepare(read_member_task(load_spec(released)), seed=7)
    alive = ready.alive.copy()
    alive[GONE] = False
    put(released, '["release-lira", "function-distance", "parameter-distance", "relearning"]', '["function-distance"]')
    put(released, "replicates = 5", "replicates = 9\nconfidence = 0.8")  # one in ten, by rank
    assert audited(certify, released)[0] != 1  # the honest one
    save(released.with_name("unlearned.safetensors"), replace(ready, alive=alive))
    code, document = audited(certify, released)
    assert code == 1
    assert "fail" in {one["verdict"] for one in document["audit"]["findings"] if one["attack"] == "function-distance"}


def test_the_method_is_played_on_a_fleet_of_ensembles(hastened, certify):
    put(hastened, '["release-lira", "function-distance", "parameter-distance", "relearning"]', '["u-lira", "loss"]')
    done = certify("audit", hastened, "--forecast", "--no-progress")
    assert done.code == 0, done.stderr
    assert "16 models: 48 trainings and 16 unlearnings" in done.stdout
    code, document = audited(certify, hastened, "audit")
    assert code in {0, 3, 4}
    assert document["audit"]["design"]["from_cache"] == 0
    assert not [one for one in document["audit"]["findings"] if one["verdict"] == "fail"]
    _, again = audited(certify, hastened, "audit")
    assert again["audit"]["design"]["from_cache"] == again["audit"]["design"]["models_trained"] > 0
    assert again["audit"]["findings"] == document["audit"]["findings"]


def test_replay_on_a_fleet_starts_from_the_very_originals(hastened):
    inputs = read_audited(load_spec(hastened), None)
    training, plan = inputs.ensembles.training, FleetPlan(seed=3)
    task = FleetTask(inputs.build, inputs.task.X, inputs.task.y, train=training)
    members = np.arange(5, 260)
    seed = seed_of(3, "original", 4)
    X, y = np.asarray(task.X)[members], np.asarray(task.y)[members]
    ready = training.prepared(X, y, seed)
    shard, _ = assignment(ready, seed, 2, 2)
    forget = members[np.flatnonzero(shard == 1)[:6]]
    block = Block(
        task,
        plan,
        (4,),
        State.of(training(X, y, seed)),
        (np.setdiff1d(members, forget),),
        (forget,),
        (0,),
        torch.device("cpu"),
    )
    found = Replay(training)(block)
    for name, value in block.originals.parameters.items():
        assert torch.equal(found.parameters[name], value) == name.startswith("members.0.")
    direct = QUICK.forget(ready, Request.at(ready, np.searchsorted(members, forget)))
    assert found.digest() == State.of(direct.model).digest()


def with_others(spec, seeds, gone=GONE, name="retrained"):
    task = read_member_task(load_spec(spec))
    for seed in seeds:
        ready = QUICK.prepare(task, seed=seed)
        save(spec.with_name(f"{name}-{seed}.safetensors"), QUICK.forget(ready, Request.at(ready, gone)).state)
    listed = ", ".join(f'"{name}-{seed}.safetensors"' for seed in seeds)
    put(spec, 'kind = "torch"', f'kind = "torch"\nretrained = [{listed}]')


def test_ensembles_made_elsewhere_are_compared_with(hastened, certify):
    with_others(hastened, range(20, 25))
    put(hastened, ', "parameter-distance", "relearning"]', "]")
    code, document = audited(certify, hastened)
    assert code in {0, 3}
    assert document["audit"]["design"]["models_trained"] == 0
    assert {one["units"] for one in document["audit"]["findings"] if one["attack"] == "function-distance"} == {5}


def not_forgotten(spec):
    put(spec, 'model = "unlearned.safetensors"', 'model = "ensemble.safetensors"')


def forgot_more(spec):
    spec.with_name("forget.txt").write_text("\n".join(f"person-{number:04d}" for number in GONE[:-3]))


def damaged(spec):
    path = spec.with_name("unlearned.safetensors")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def of_others(spec):
    with np.load(spec.with_name("train.npz")) as data:
        arrays = dict(data)
    arrays["X"] = arrays["X"] * 1.01
    np.savez(spec.with_name("train.npz"), **arrays)


def compared_with_networks(spec):
    listed = ", ".join(['"original.safetensors"'] * 5)
    put(spec, 'kind = "torch"', f'kind = "torch"\nretrained = [{listed}]')


BAD = {
    "not forgotten": (not_forgotten, 4, "is trained on 20 of the 20 records of the forget set, by its own account"),
    "forgot more": (forgot_more, 2, "forget.txt: lacks 3 records that unlearned.safetensors forgot before"),
    "damaged": (damaged, 2, "unlearned.safetensors: is damaged: a digest does not fit"),
    "of others": (of_others, 2, "unlearned.safetensors: is of other records"),
    "another recipe": (lambda spec: put(spec, "lr = 2e-2", "lr = 6e-3"), 2, "was trained by another recipe"),
    "another method": (
        lambda spec: put(spec, 'kind = "torch"', 'kind = "torch"\nunlearner = "fine-tune"'),
        2,
        "release.unlearner: 'fine-tune' is said to have made the model, which is an ensemble of sisa",
    ),
    "other knobs": (
        lambda spec: put(spec, "models = 16", "models = 16\nknobs = { shards = 3 }"),
        2,
        "audit.knobs.shards: is 3, and the ensemble under review says 2",
    ),
    "networks beside it": (compared_with_networks, 2, "is no ensemble of sisa, as the model under review is"),
    "ensembles of other records beside it": (
        lambda spec: with_others(spec, range(20, 25), GONE[:-1]),
        2,
        "is an ensemble of another number of members, or without other records, than the one under review",
    ),
    "an ensemble beside one network": (
        lambda spec: put(spec, 'model = "unlearned.safetensors"', 'model = "initial.safetensors"'),
        2,
        "ensemble.safetensors (release.original): holds an ensemble of sisa, not the weights of one network",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_compared_is_said_in_one_line(hastened, certify, name):
    harm, code, trouble = BAD[name]
    harm(hastened)
    done = certify("check", hastened, "--no-progress", "--output", hastened.with_name("report.html"))
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1
    assert trouble in done.stderr
    assert "person-" not in done.stderr
    assert not hastened.with_name("report.html").exists()


def test_one_network_is_no_control_for_an_ensemble(hastened, certify):
    put(hastened, 'original = "ensemble.safetensors"', 'original = "original.safetensors"')
    put(hastened, ', "parameter-distance", "relearning"]', "]")
    code, document = audited(certify, hastened)
    assert code == 3
    assert not [one for one in document["audit"]["controls"] if one["expectation"] == "must be caught"]
    assert any(
        "it is one network, and the model under review an ensemble" in one for one in document["audit"]["not_tested"]
    )
