"""``certify audit`` of networks: trained once and kept, the same findings however it came to them, one line for whatever is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from network_project import write_project
from safetensors.torch import load_file, save_file

from certify.core.errors import InputError

AUDIT = """
[audit]
attacks = ["u-lira", "loss"]
models = 16
replicates = 5
block = 8
"""


BROKEN = """
from torch import nn


class Logs(nn.Module):
    def forward(self, x):
        return (x - 50.0).log()


def build_logs():
    return nn.Sequential(nn.Linear(64, 10), Logs())


def build_plain():
    return nn.Sequential(nn.Linear(64, 10))
"""


@pytest.fixture
def spec(tmp_path):
    path = write_project(tmp_path / "project")
    put(path, 'kind = "torch"', 'kind = "torch"\nunlearner = "fine-tune"')
    put(path, "epochs = 15", "epochs = 3")
    path.write_text(path.read_text() + AUDIT)
    original = load_file(path.with_name("original.safetensors"))
    save_file({name: value * 0.99 for name, value in original.items()}, path.with_name("unlearned.safetensors"))
    return path


def put(spec, old, new):
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new))


def audited(certify, spec, *options):
    done = certify("audit", spec, "--format", "json", *options)
    assert done.stdout, done.stderr
    return done, json.loads(done.stdout)


def found(document):
    """What an audit says, without how it went."""
    part = document["audit"]
    design = {k: v for k, v in part["design"].items() if k not in ("seconds", "from_cache", "forecast_seconds")}
    return {**{k: v for k, v in part.items() if k != "design"}, "checks": document["checks"], "design": design}


def kept(spec):
    return sorted(path for path in spec.with_name("certify-audit").rglob("*") if path.is_file())


def blocks(spec):
    return [path for path in kept(spec) if path.suffix == ".safetensors"]


def test_what_was_trained_is_kept_and_everything_else_is_trained_again(spec, certify):
    first, document = audited(certify, spec)
    assert first.code in {1, 3, 4}  # 4: models so quickly trained that the original does not show
    assert document["audit"]["design"]["from_cache"] == 0
    again, second = audited(certify, spec)
    trained = second["audit"]["design"]["models_trained"]
    assert second["audit"]["design"]["from_cache"] == trained > 0
    assert again.code == first.code
    assert found(second) == found(document)
    damaged = blocks(spec)[0]
    damaged.write_bytes(damaged.read_bytes()[:-40])
    done, third = audited(certify, spec)
    assert "is damaged" in done.stderr
    assert 0 < third["audit"]["design"]["from_cache"] < trained
    assert found(third) == found(document)
    _, fourth = audited(certify, spec, "--restart")
    assert fourth["audit"]["design"]["from_cache"] == 0
    assert found(fourth) == found(document)


def test_a_cache_of_another_version_is_named_and_made_again(spec, certify, monkeypatch):
    from certify.attacks.fleets import store

    _, document = audited(certify, spec)
    now = store.versions()
    monkeypatch.setattr(store, "versions", lambda: {**now, "torch": "1.0"})
    done, again = audited(certify, spec)
    assert "was made by another version of torch" in done.stderr
    assert again["audit"]["design"]["from_cache"] == 0
    assert found(again) == found(document)


def test_more_models_are_added_to_those_that_are_there(spec, certify):
    audited(certify, spec)
    _, more = audited(certify, spec, "--models", "24")
    assert more["audit"]["design"]["models"] == 24
    assert more["audit"]["design"]["from_cache"] > 0


def test_looking_after_each_block_is_said_and_verifies(spec, certify):
    put(spec, "block = 8", "block = 8\nstop_early = true")
    done, document = audited(certify, spec, "--output", f"json={spec.with_name('audit.json')}")
    assert done.code in {1, 3, 4}
    note = next(one for one in document["audit"]["design"]["notes"] if "looked after each block" in one)
    assert "hold at any time" in note
    assert certify("verify", spec.with_name("audit.json")).code == 0


def test_the_method_under_audit_is_the_one_that_made_the_model_knob_by_knob(spec, certify):
    """One epoch for the release and fifty for the audit would audit another method."""
    assert certify("unlearn", spec, "--method", "fine-tune", "--set", "epochs=1", "--force").code == 0
    put(spec, "models = 16", "models = 16\nknobs = { epochs = 50 }")
    done = certify("audit", spec, "--forecast")
    assert (done.code, done.stdout) == (2, "")
    assert "audit.knobs: are not those that made this model" in done.stderr
    assert "epochs=1" in done.stderr
    put(spec, "epochs = 50", "epochs = 1")
    assert certify("audit", spec, "--forecast").code == 0


def test_an_audit_of_more_models_than_the_spec_says_is_made_again_by_its_own_command(spec, certify, tmp_path):
    kept = tmp_path / "project" / "audit.json"
    certify("audit", spec, "--models", "20", "--quiet", "--output", kept)
    document = json.loads(kept.read_text())
    assert document["reproduction"]["command"] == "certify audit certify.toml --models 20"
    done = certify("verify", kept)
    assert done.code == 0, done.stdout
    document["reproduction"]["command"] = "certify audit certify.toml"
    kept.write_text(json.dumps(document))
    assert certify("verify", kept).code == 1


def test_a_number_of_models_that_nobody_would_train_is_refused(spec, certify):
    put(spec, '["u-lira", "loss"]', '["parameter-distance"]')
    done = certify("audit", spec, "--models", "64")
    assert (done.code, done.stdout) == (2, "")
    assert "models: no attack of the spec is on shadow models" in done.stderr


def test_the_forecast_stands_beside_the_time_of_a_run_that_made_everything(spec, certify):
    _, document = audited(certify, spec)
    design = document["audit"]["design"]
    assert 0 < design["forecast_seconds"] < 60
    _, again = audited(certify, spec)
    assert again["audit"]["design"]["forecast_seconds"] is None  # nothing was trained
    _, anew = audited(certify, spec, "--restart")
    assert anew["audit"]["design"]["forecast_seconds"] > 0


def test_a_long_audit_is_announced(spec, certify, monkeypatch):
    from certify.gate.audits import networks_run

    monkeypatch.setattr(networks_run, "LONG", 0.0)
    done = certify("audit", spec, "--format", "json")
    assert "to train and unlearn 16 shadow models; `certify audit --forecast` says for what" in done.stderr


@pytest.mark.parametrize(("name", "scale"), [("build_logs", 1.0), ("build_plain", 1e38)])
def test_a_model_that_is_not_finite_from_the_start_is_not_blamed_on_the_learning_rate(spec, certify, name, scale):
    put(spec, 'original = "original.safetensors"\n', "")
    put(spec, 'initial = "initial.safetensors"\n', "")
    put(spec, 'test = "test.npz"\n', "")
    spec.with_name("certify_broken_net.py").write_text(BROKEN)
    put(spec, "certify_test_net:build", f"certify_broken_net:{name}")
    with np.load(spec.with_name("train.npz")) as data:
        np.savez(spec.with_name("train.npz"), X=data["X"] * np.float32(scale), y=data["y"], ids=data["ids"])
    done = certify("audit", spec)
    assert (done.code, done.stdout) == (2, "")
    assert "architecture: the loss of a freshly initialised model is not finite" in done.stderr
    assert "lr" not in done.stderr


def test_a_million_models_are_forecast_at_once(spec, certify, monkeypatch):
    from certify.gate.audits import observe

    drawn = []

    def counted(models, *rest, **more):
        drawn.append(models)
        return draw(models, *rest, **more)

    draw = observe.random_assignment
    monkeypatch.setattr(observe, "random_assignment", counted)
    put(spec, "models = 16", "models = 1000000")
    done = certify("audit", spec, "--forecast")
    assert done.stdout.startswith(
        "forget sets, random: 1,000,000 models: 3,000,000 trainings and 1,000,000 unlearnings, "
    )
    assert max(drawn) <= 1024  # drawing records for all of them takes minutes


def test_the_forecast_of_retrained_models_counts_their_weights(spec, certify):
    put(spec, '["u-lira", "loss"]', '["parameter-distance"]')
    put(spec, "replicates = 5", "replicates = 50")
    assert certify("audit", spec, "--forecast").stdout.count("retrained models of this request: 50 models") == 1
    import re

    disk = re.search(r"([\d.]+) kB on disk", certify("audit", spec, "--forecast").stdout)
    assert disk is not None
    assert float(disk[1]) > 50 * (64 * 16 + 16 + 16 * 10 + 10) * 4 / 1000  # the weights alone


def test_more_models_than_memory_holds_are_refused_before_any_is_trained(spec, certify):
    put(spec, "models = 16", "models = 1000000000")
    for more in ((), ("--forecast",)):
        done = certify("audit", spec, *more)
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert "audit.models" in done.stderr
        assert "1000000000 models say of" in done.stderr
    put(spec, "models = 1000000000", "models = 16")
    put(spec, '["u-lira", "loss"]', '["parameter-distance"]')
    put(spec, "replicates = 5", "replicates = 1000000000")
    assert "audit.replicates" in certify("audit", spec).stderr
    assert blocks(spec) == [] if spec.with_name("certify-audit").exists() else True


def test_an_interrupted_audit_says_what_it_leaves_and_goes_on(spec, certify, monkeypatch):
    from certify.attacks.fleets.store import FleetStore

    save, saved = FleetStore.save, []

    def interrupted(self, *arguments):
        if len(saved) == 1:
            raise KeyboardInterrupt
        save(self, *arguments)
        saved.append(1)

    monkeypatch.setattr(FleetStore, "save", interrupted)
    done = certify("audit", spec)
    assert (done.code, done.stdout) == (130, "")
    assert "nothing was written" not in done.stderr
    assert "are kept in" in done.stderr
    monkeypatch.setattr(FleetStore, "save", save)
    _, document = audited(certify, spec)
    assert document["audit"]["design"]["from_cache"] == 8 * 3

    monkeypatch.setattr(FleetStore, "save", interrupted)
    done = certify("audit", spec, "--restart")
    assert "no block of models was finished" in done.stderr


def test_a_fleet_larger_than_memory_runs_in_blocks_to_the_same_findings(spec, certify, monkeypatch):
    from certify.attacks.fleets import executors, memory

    put(spec, "block = 8", "")
    sizes = []
    make = executors.make_block

    def seen(task, job):
        sizes.append(len(job.models))
        return make(task, job)

    monkeypatch.setattr(executors, "make_block", seen)
    _, document = audited(certify, spec)
    assert sizes == [16]
    (kept,) = spec.with_name("certify-audit").glob("choice-*.json")
    choice = json.loads(kept.read_text())["choice"]
    for path in (kept, *blocks(spec)):
        path.unlink()
    sizes.clear()
    monkeypatch.setattr(memory, "available", lambda _: 7 * choice["each"] // 2)  # room for three
    _, again = audited(certify, spec)
    assert sizes == [3, 3, 3, 3, 3, 1]
    before, now = found(document), found(again)
    for one, other in zip(before["findings"], now["findings"], strict=True):
        assert (one["id"], one["verdict"]) == (other["id"], other["verdict"])
        assert one["value"] == pytest.approx(other["value"], rel=1e-3, abs=1e-3)


def test_the_forecast_trains_nothing_and_leaves_nothing(spec, certify):
    before = {path.name for path in spec.parent.iterdir()}
    done = certify("audit", spec, "--forecast")
    assert done.code == 0
    assert "in all about" in done.stdout
    assert {path.name for path in spec.parent.iterdir()} - before <= {"__pycache__", "certify-audit"}
    assert kept(spec) == []


def test_check_is_the_audit_and_the_document_verifies(spec, certify, tmp_path):
    kept = tmp_path / "project" / "audit.json"
    done = certify("check", spec, "--quiet", "--output", kept)
    assert done.code in {1, 3, 4}
    assert certify("verify", kept).code == 0, certify("verify", kept).stdout
    document = json.loads(kept.read_text())
    document["audit"]["findings"][0]["value"] += 0.01
    kept.write_text(json.dumps(document))
    assert certify("verify", kept).code == 1
    put(spec, "models = 16", "models = 17")
    assert certify("verify", kept).code == 1


@pytest.fixture
def retrained(spec):
    """Five checkpoints that were made elsewhere, of one request; nothing is trained."""
    import torch
    from small_networks import perceptron_task

    names = []
    for seed in range(6):
        torch.manual_seed(seed)
        state = {n: v + 0.05 * torch.randn_like(v) for n, v in perceptron_task().model.state_dict().items()}
        names.append(f"retrained-{seed}.safetensors")
        save_file(state, spec.with_name(names[-1]))
    put(spec, 'kind = "torch"', f'kind = "torch"\nretrained = {json.dumps(names)}')
    put(spec, '["u-lira", "loss"]', '["parameter-distance", "function-distance", "release-lira"]')
    return spec


def test_checkpoints_are_compared_and_nothing_is_trained(retrained, certify):
    put(retrained, "lr = 5e-3", "")
    done, document = audited(certify, retrained)
    assert done.code in {0, 1, 3, 4}
    assert document["audit"]["design"]["source"] == "checkpoints"
    assert document["audit"]["design"]["models_trained"] == 0
    assert {one["attack"] for one in document["audit"]["findings"]} == {
        "parameter-distance",
        "function-distance",
        "release-lira",
    }


def test_retrained_models_that_memory_does_not_hold_are_refused_before_any_is_trained(spec, certify, monkeypatch):
    from certify.attacks.fleets import memory

    put(spec, '["u-lira", "loss"]', '["parameter-distance"]')
    put(spec, "replicates = 5", "replicates = 3000")
    monkeypatch.setattr(memory, "free_memory", lambda: 20_000_000)  # the weights take twice as much: two starts
    done = certify("audit", spec)
    assert (done.code, done.stdout) == (2, "")
    assert "the weights of 6,002 models take 29" in done.stderr
    assert "audit.replicates" in done.stderr
    assert not kept(spec)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("retrained-1.safetensors", "1 of 6 models repeat another one"),
        ("unlearned.safetensors", "has the model under review"),
    ],
)
def test_copies_of_a_model_are_no_retrained_models(retrained, certify, source, words):
    retrained.with_name("retrained-0.safetensors").write_bytes(retrained.with_name(source).read_bytes())
    done = certify("audit", retrained)
    assert (done.code, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_few_checkpoints_are_too_few(retrained, certify):
    put(retrained, '"retrained-0.safetensors", "retrained-1.safetensors", ', "")
    done = certify("audit", retrained)
    assert (done.code, done.stdout) == (3, "")
    assert "4 retrained models are too few" in done.stderr
    assert "release.retrained" in done.stderr


@pytest.mark.parametrize("kind", ["memorised", "outliers", "cluster"])
def test_worst_case_forget_sets_are_a_slice_of_their_own(spec, certify, kind):
    put(spec, "models = 16", f'models = 16\nforget_sets = ["{kind}"]')
    _, document = audited(certify, spec)
    assert {one["slice"] for one in document["audit"]["findings"]} == {kind}


BAD = {
    "too few models": ("models = 16", "models = 12", "16 are the least", 3),
    "an unknown attack": ('"loss"]', '"lost"]', "audit.attacks: unknown attack 'lost'", 2),
    "an attack twice": ('"loss"]', '"u-lira"]', "names an attack twice", 2),
    "a convex method": ('unlearner = "fine-tune"', 'unlearner = "newton"', "newton", 2),
    "a method with a model of its own": ('unlearner = "fine-tune"', 'unlearner = "sisa"', "sisa", 2),
    "no method": ('unlearner = "fine-tune"', "", "no method is named", 2),
    "a method of nobody": ('unlearner = "fine-tune"', 'unlearner = "fine-tone"', "fine-tone", 2),
    "a knob of nobody": ("models = 16", "models = 16\nknobs = { epohcs = 3 }", "audit.knobs", 2),
    "a knob that is a list": (
        "models = 16",
        "models = 16\nknobs = { epochs = [1] }",
        "audit.knobs.epochs must be a number, a text, or true or false; see",
        2,
    ),
    "no training": ("lr = 5e-3\nepochs = 3\nbatch_size = 32\n", "", "training", 2),
    "too few retrained": ('"loss"]', '"parameter-distance"]\n#', "3 retrained models are too few", 3),
    "nobody left out": ("models = 16", "models = 16\nout_share = 1e-9", "audit.out_share", 2),
    "nobody to forget": ("models = 16", "models = 16\nforget_share = 1e-9", "audit.forget_share", 2),
    "no device": ('device = "cpu"', 'device = "abacus"', "'abacus' is no device", 2),
    "no scheduler": ('device = "cpu"', 'device = "cpu"\nscheduler = "nonsense://127.0.0.1:1"', "no dask scheduler", 2),
    "a model of another shape": ("certify_test_net:build", "certify_test_net:build_wide", "shape", 2),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_left_half_written(spec, certify, name):
    old, new, words, code = BAD[name]
    put(spec, old, new)
    if name == "too few retrained":
        put(spec, "replicates = 5", "replicates = 3")
    done = certify("audit", spec, "--output", spec.with_name("report.html"), "--no-progress")
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not spec.with_name("report.html").exists()


def test_labels_outside_the_classes_are_refused(spec, certify):
    with np.load(spec.with_name("train.npz")) as data:
        arrays = dict(data)
    arrays["y"] = arrays["y"].copy()
    arrays["y"][3] = 77
    np.savez(spec.with_name("train.npz"), **arrays)
    done = certify("audit", spec)
    assert done.code == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


TRAIN = """
import os
import torch
from certify_test_net import build


def train(X, y, seed):
    with open("calls.txt", "a") as file:
        file.write("x")
    if os.path.getsize("calls.txt") == 20 and not os.path.exists("mended"):
        raise ValueError("a bad day")
    generator = torch.Generator().manual_seed(seed % 2**31)
    model = build()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return model
"""


def test_a_training_function_that_raises_once_is_named_and_the_rest_is_kept(spec, certify, monkeypatch):
    monkeypatch.chdir(spec.parent)
    spec.with_name("certify_audit_train.py").write_text(TRAIN)
    put(spec, 'kind = "torch"', 'kind = "torch"\ntrain = "certify_audit_train:train"')
    put(spec, "block = 8", "block = 2")
    done = certify("audit", spec, "--no-progress")
    assert done.code == 2
    assert "ValueError" in done.stderr
    assert "Traceback" not in done.stderr
    assert "a bad day" not in done.stderr  # contents of records may stand in a stranger's message
    spec.with_name("mended").write_text("")
    _, document = audited(certify, spec)
    assert document["audit"]["design"]["from_cache"] > 0


def test_a_folder_that_cannot_be_written_is_said_so(spec, certify):
    spec.with_name("certify-audit").write_text("a file where the folder should be")
    done = certify("audit", spec, "--no-progress")
    assert done.code == 2
    assert "certify-audit" in done.stderr
    assert done.stderr.count("\n") == 1


def start(spec, *options):
    return subprocess.Popen(
        [Path(sys.executable).with_name("certify"), "audit", spec, "--format", "json", "--no-progress", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["vmap", "loop"])
def test_an_audit_that_was_killed_goes_on_to_the_same_findings(spec, certify, backend):
    put(spec, "block = 8", "block = 2")
    put(spec, 'device = "cpu"', f'device = "cpu"\nbackend = "{backend}"')
    put(spec, "epochs = 3", "epochs = 60")
    _, document = audited(certify, spec)
    for path in blocks(spec):
        path.unlink()
    running = start(spec)
    until = time.monotonic() + 120
    while len(blocks(spec)) < 2 and time.monotonic() < until and running.poll() is None:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    done, again = audited(certify, spec)
    assert 0 < again["audit"]["design"]["from_cache"] < again["audit"]["design"]["models_trained"]
    assert found(again) == found(document)
    assert done.code == document["exit_code"]


@pytest.mark.slow
def test_blocks_are_made_on_a_cluster_of_two_workers_with_the_same_findings(spec, certify):
    distributed = pytest.importorskip("distributed")
    _, document = audited(certify, spec)
    for path in blocks(spec):
        path.unlink()
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        put(spec, 'device = "cpu"', f'device = "cpu"\nscheduler = "{cluster.scheduler_address}"')
        _, again = audited(certify, spec)
    assert again["audit"]["design"]["from_cache"] == 0
    assert [one["value"] for one in again["audit"]["findings"]] == [
        one["value"] for one in document["audit"]["findings"]
    ]


@pytest.mark.slow
def test_workers_that_cannot_import_the_architecture_are_named_instead_of_waited_for():
    distributed = pytest.importorskip("distributed")
    from certify.attacks.fleets import executors

    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(InputError, match="cannot import certify_no_such"),
    ):
        executors.prepare_workers(client, "/nowhere", ["certify_no_such"])
