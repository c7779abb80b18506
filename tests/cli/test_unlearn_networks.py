"""``certify unlearn`` on torch models: weights and evidence, resumed runs, and one line for whatever is wrong."""

import errno
import json
import sys

import numpy as np
import pytest
from network_project import write_project
from safetensors.torch import load_file, save_file

from certify.core import files
from certify.core.errors import InputError
from certify.unlearners.networks.checkpoint import Checkpoint


@pytest.fixture
def spec(tmp_path):
    return write_project(tmp_path / "project")


def put(spec, old, new):
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new))


def test_weights_and_evidence_are_written(spec, certify):
    done = certify("unlearn", spec, "--method", "fine-tune", "--set", "epochs=2", "--seed", "4")
    assert (done.code, done.stdout) == (0, "")
    assert "records read: 280 retain, 0 forget, 0 held-out; 4 of 4 tensors changed" in done.stderr
    weights = load_file(spec.with_name("unlearned.safetensors"))
    assert set(weights) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    evidence = json.loads(spec.with_name("unlearned.safetensors.evidence.json").read_text())
    assert evidence["evidence_version"] == "1.1"
    assert evidence["counts"]["gradients"] == 2 * 280
    assert evidence["seed"] == 4
    assert {change["name"] for change in evidence["tensors"]} == set(weights)
    assert not spec.with_name("unlearned.safetensors.checkpoint").exists()


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(spec, certify):
    made = {}
    for seed in (1, 1, 2):
        assert certify("unlearn", spec, "--method", "fine-tune", "--seed", seed, "--force").code == 0
        made.setdefault(seed, set()).add(spec.with_name("unlearned.safetensors").read_bytes())
    assert len(made[1]) == 1
    assert made[1] != made[2]


def test_retraining_by_the_users_own_function(spec, certify):
    spec.with_name("certify_test_train.py").write_text(
        "from certify_test_net import build\n\n\ndef train(X, y, seed):\n    assert len(X) == 280\n    return build()\n"
    )
    put(spec, 'kind = "torch"', 'kind = "torch"\ntrain = "certify_test_train:train"')
    done = certify("unlearn", spec, "--method", "retrain")
    assert done.code == 0
    assert "trained by the task's own function" in done.stderr


def test_npz_serves_as_well(spec, certify):
    original = load_file(spec.with_name("original.safetensors"))
    np.savez(spec.with_name("original.npz"), **{name: value.numpy() for name, value in original.items()})
    put(spec, "original.safetensors", "original.npz")
    put(spec, "unlearned.safetensors", "unlearned.npz")
    assert certify("unlearn", spec, "--method", "identity").code == 0
    written = np.load(spec.with_name("unlearned.npz"))
    assert all(np.array_equal(written[name], value.numpy()) for name, value in original.items())


BAD = {
    "no architecture": ('architecture = "certify_test_net:build"', "", "release.architecture: a torch model needs"),
    "no such module": ("certify_test_net:build", "certify_nowhere:build", "there is no module 'certify_nowhere'"),
    "no such function": ("certify_test_net:build", "certify_test_net:bild", "certify_test_net has no 'bild'"),
    "no function": ("certify_test_net:build", "certify_test_net", "is not package.module:function"),
    "raises": ("certify_test_net:build", "certify_test_net:fails", "the architecture raised OSError"),
    "other shapes": (
        "certify_test_net:build",
        "certify_test_net:build_wide",
        "0.weight has shape (16, 64), the architecture's has (17, 64)",
    ),
    "no original": (
        'original = "original.safetensors"',
        "",
        "unlearning starts from the original model and none is given",
    ),
    "no such file": ("original.safetensors", "missing.safetensors", "missing.safetensors: no such file"),
    "a pickle": ("original.safetensors", "model.pt", "cannot read a network from a .pt file; pickles run code"),
    "data as weights": ("original.safetensors", "train.npz", "has no 0.bias"),
    "a pickled target": ("unlearned.safetensors", "unlearned.pt", "cannot write a network to a .pt file"),
    "a GPU that is not there": ('device = "cpu"', 'device = "cuda:9"', "cuda:9 is asked for"),
    "no device": ('device = "cpu"', 'device = "abacus"', "'abacus' is no device"),
    "other loss": ('loss = "cross-entropy"', 'loss = "entropy"', "training.loss must be"),
    "momentum of adam": ("lr = 5e-3", "lr = 5e-3\nmomentum = 0.9", "training.momentum: adam has no momentum"),
    "nothing to move": (
        'kind = "torch"',
        'kind = "torch"\ntrainable = ["heads.*"]',
        "no parameter that needs a gradient matches heads.*",
    ),
    "an unknown key": ('device = "cpu"', 'devise = "cpu"', "unknown key compute.devise"),
    "everybody": ('forget = "forget.txt"', 'forget = "all.txt"', "every record is to be forgotten"),
    "nobody": ('forget = "forget.txt"', 'forget = "none.txt"', "the forget set is empty"),
    "over the original": ("unlearned.safetensors", "original.safetensors", "both the original"),
    "over the start": ("unlearned.safetensors", "initial.safetensors", "both the initial weights"),
}


@pytest.mark.parametrize(("old", "new", "trouble"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(spec, certify, old, new, trouble):
    spec.with_name("all.txt").write_text("".join(f"person-{number:04d}\n" for number in range(300)))
    spec.with_name("none.txt").write_text("\n")
    spec.with_name("model.pt").write_bytes(b"\x80\x04}.")
    put(spec, old, new)
    before = sorted(spec.parent.iterdir())
    done = certify("unlearn", spec, "--method", "fine-tune", "--force")
    line = done.stderr.replace(str(spec.parent), "")
    assert done.code == 2, line
    assert line.startswith("certify: ")
    assert line.count("\n") == 1
    assert trouble in line
    assert "person-" not in line
    assert sorted(path for path in spec.parent.iterdir() if path.name != "__pycache__") == [
        path for path in before if path.name != "__pycache__"
    ]


def test_a_diverging_run_writes_nothing(spec, certify):
    done = certify("unlearn", spec, "--method", "gradient-ascent", "--set", "bounded=false", "--set", "lr=1e39")
    assert done.code == 2
    assert "gradient-ascent: the loss or a weight is not finite after step" in done.stderr
    assert not spec.with_name("unlearned.safetensors").exists()


def test_weights_that_are_not_finite_are_refused(spec, certify):
    weights = load_file(spec.with_name("original.safetensors"))
    weights["2.bias"][3] = float("nan")
    save_file(weights, spec.with_name("original.safetensors"))
    done = certify("unlearn", spec, "--method", "fine-tune")
    assert done.code == 2
    assert "2.bias holds NaN or infinite numbers" in done.stderr


def test_a_method_for_linear_models_says_so(spec, certify):
    done = certify("unlearn", spec, "--method", "newton")
    assert done.code == 2
    assert "newton is not for networks" in done.stderr


def test_a_killed_run_is_taken_up(spec, certify, monkeypatch):
    from certify.unlearners.networks import checkpoint

    assert certify("unlearn", spec, "--method", "fine-tune").code == 0
    whole = spec.with_name("unlearned.safetensors").read_bytes()
    monkeypatch.setattr(checkpoint.Checkpoint, "due", property(lambda _: True))
    write = checkpoint.Checkpoint.save

    def dies(self, content):
        write(self, content)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "save", dies)
        assert certify("unlearn", spec, "--method", "fine-tune", "--force").code == 2
    kept = spec.with_name("unlearned.safetensors.checkpoint")
    assert kept.exists()
    other = certify("unlearn", spec, "--method", "fine-tune", "--force", "--seed", "9")
    assert other.code == 2
    assert "is the checkpoint of another run" in other.stderr
    done = certify("unlearn", spec, "--method", "fine-tune", "--force")
    assert done.code == 0
    assert "taken up from a checkpoint" in done.stderr
    assert spec.with_name("unlearned.safetensors").read_bytes() == whole
    assert not kept.exists()


def ending(monkeypatch, error, *, writes=1):
    """Every pass is kept, and the run ends with an error right after some of the writes."""
    write, done = Checkpoint.save, []

    def ends(self, content):
        write(self, content)
        done.append(content)
        if len(done) == writes:
            raise error

    monkeypatch.setattr(Checkpoint, "due", property(lambda _: True))
    monkeypatch.setattr(Checkpoint, "save", ends)


GO_ON = "unlearned.safetensors.checkpoint is left: the same command goes on from it, --restart throws it away"


def test_an_interrupt_says_what_is_left_and_how_to_go_on(spec, certify, monkeypatch):
    assert certify("unlearn", spec, "--method", "fine-tune").code == 0
    whole = spec.with_name("unlearned.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        ending(patch, KeyboardInterrupt, writes=2)
        done = certify("unlearn", spec, "--method", "fine-tune", "--force")
    assert done.code == 130
    kept = spec.with_name("unlearned.safetensors.checkpoint")
    assert done.stderr == f"\ncertify: interrupted; no weights were written; {spec.parent}/{GO_ON}\n"
    assert kept.exists()
    assert spec.with_name("unlearned.safetensors").read_bytes() == whole
    done = certify("unlearn", spec, "--method", "fine-tune", "--force")
    assert done.code == 0
    assert "taken up from a checkpoint" in done.stderr
    assert spec.with_name("unlearned.safetensors").read_bytes() == whole
    assert not kept.exists()


def test_an_interrupt_after_the_weights_does_not_say_that_nothing_was_written(spec, certify, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "remove", interrupted)
    done = certify("unlearn", spec, "--method", "identity")
    assert done.code == 130
    assert (
        done.stderr == f"\ncertify: interrupted; the weights are written ({spec.with_name('unlearned.safetensors')})\n"
    )
    assert spec.with_name("unlearned.safetensors").exists()


def test_an_error_that_leaves_a_checkpoint_says_so(spec, certify, monkeypatch):
    ending(monkeypatch, InputError("something is wrong", where="fine-tune", mend="mend it"))
    done = certify("unlearn", spec, "--method", "fine-tune")
    assert (done.code, done.stderr) == (2, f"certify: fine-tune: something is wrong; mend it; {spec.parent}/{GO_ON}\n")


@pytest.mark.parametrize(("name", "room"), [("unlearned.safetensors.checkpoint", 3), ("unlearned.safetensors", 0)])
def test_a_full_disk_loses_no_more_than_the_last_pass(spec, certify, monkeypatch, name, room):
    assert certify("unlearn", spec, "--method", "fine-tune").code == 0
    whole, stage, written = spec.with_name("unlearned.safetensors").read_bytes(), files._stage, []

    def full(path, *rest):
        staged = stage(path, *rest)
        written.append(path.name)
        if written.count(name) > room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return staged

    monkeypatch.setattr(Checkpoint, "due", property(lambda _: True))
    with monkeypatch.context() as patch:
        patch.setattr(files, "_stage", full)
        done = certify("unlearn", spec, "--method", "fine-tune", "--force")
    assert done.code == 2
    assert f"{name}: cannot be written (no space left on device); make room" in done.stderr
    assert "the same command" in done.stderr
    assert done.stderr.count("\n") == 1
    assert spec.with_name("unlearned.safetensors").read_bytes() == whole
    left = {path.name for path in spec.parent.iterdir() if path.name.startswith((".", "unlearned"))}
    assert left == {f"unlearned.safetensors{end}" for end in ("", ".evidence.json", ".checkpoint")}
    done = certify("unlearn", spec, "--method", "fine-tune", "--force")
    assert "taken up from a checkpoint" in done.stderr
    assert spec.with_name("unlearned.safetensors").read_bytes() == whole


FOREIGN = {
    "exits on import": ("raise SystemExit(0)", "release.architecture: importing certify_test_theirs ends the program"),
    "exits when called": (
        "def build():\n    raise SystemExit(0)",
        "release.architecture: the architecture ends the program",
    ),
    "needs an argument": ("def build(width):\n    pass", "the architecture raised TypeError"),
    "returns nothing": ("def build():\n    pass", "the architecture returned None, not a torch module"),
}


@pytest.mark.parametrize(("code", "trouble"), FOREIGN.values(), ids=FOREIGN)
def test_whatever_the_architecture_does_is_one_line(spec, certify, code, trouble):
    spec.with_name("certify_test_theirs.py").write_text(code + "\n")
    put(spec, "certify_test_net:build", "certify_test_theirs:build")
    refused(spec, certify, trouble)
    sys.modules.pop("certify_test_theirs", None)


TRAINERS = {
    "raises": ('raise ValueError("person-0003")', "train: the function raised ValueError"),
    "exits": ("raise SystemExit(0)", "train: the function ends the program"),
    "returns nothing": ("return None", "train: the function returned None, not a torch module"),
}


@pytest.mark.parametrize(("body", "trouble"), TRAINERS.values(), ids=TRAINERS)
def test_whatever_the_users_training_does_is_one_line(spec, certify, body, trouble):
    spec.with_name("certify_test_trainer.py").write_text(f"def train(X, y, seed):\n    {body}\n")
    put(spec, 'kind = "torch"', 'kind = "torch"\ntrain = "certify_test_trainer:train"')
    refused(spec, certify, trouble, "--method", "retrain")
    sys.modules.pop("certify_test_trainer", None)


MOODS = {
    "on every record": "raise KeyError('person-0003 is ill')",
    "on real records": "if x.any(): raise KeyError('person-0003 is ill')",
    "in training": "if self.training: raise EOFError('person-0003 is ill')",
    "by leaving": "if x.any(): raise SystemExit(0)",
    "like a full disk": "if x.any(): raise BrokenPipeError('person-0003 is ill')",
    "with an assertion": "assert not x.any(), 'person-0003 is ill'",
    "with an error of its own": "if x.any(): raise type('IllError', (BaseException,), {})('person-0003')",
    "out of memory": "if x.any(): raise MemoryError('person-0003 is ill')",
}


@pytest.mark.parametrize("mood", MOODS.values(), ids=MOODS)
def test_whatever_a_forward_raises_is_one_line_with_its_place(spec, certify, mood):
    spec.with_name("certify_test_moody.py").write_text(
        "from torch import nn\n\n\nclass Moody(nn.Sequential):\n    def forward(self, x):\n"
        f"        {mood}\n        return super().forward(x)\n\n\n"
        "def build():\n    return Moody(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))\n"
    )
    put(spec, "certify_test_net:build", "certify_test_moody:build")
    trouble = "--set batch_size=" if "MemoryError" in mood else "(certify_test_moody.py, line 6)"
    refused(spec, certify, trouble)
    sys.modules.pop("certify_test_moody", None)


def test_a_traceback_is_shown_to_those_who_ask_for_it(spec, certify, monkeypatch):
    spec.with_name("certify_test_asked.py").write_text("def build():\n    return {}['their own words']\n")
    put(spec, "certify_test_net:build", "certify_test_asked:build")
    for asked in (False, True):
        if asked:
            monkeypatch.setenv("CERTIFY_DEBUG", "1")
        done = certify("unlearn", spec, "--method", "fine-tune")
        assert done.code == 2
        assert done.stderr.splitlines()[-1].endswith("it is called without arguments and returns the untrained module")
        assert ("their own words" in done.stderr) is asked
    sys.modules.pop("certify_test_asked", None)


def test_the_users_functions_neither_move_the_command_nor_speak_for_it(spec, certify, monkeypatch):
    monkeypatch.chdir(spec.parent)
    spec.with_name("certify_test_moves.py").write_text(
        'import os\n\nfrom certify_test_net import build as make\n\nos.chdir("/")\n\n\n'
        'def build():\n    print("hello")\n    os.chdir("/")\n    return make()\n'
    )
    put(spec, "certify_test_net:build", "certify_test_moves:build")
    done = certify("unlearn", "certify.toml", "--method", "identity")
    assert (done.code, done.stdout) == (0, "")
    assert "hello" in done.stderr
    assert "now audit it: `certify check`" in done.stderr
    assert spec.with_name("unlearned.safetensors").exists()


def rewritten(spec, file, **arrays):
    kept = dict(np.load(spec.with_name(file)))
    np.savez(spec.with_name(file), **{**kept, **arrays})


def refused(spec, certify, trouble, *more):
    done = certify("unlearn", spec, *(more or ("--method", "fine-tune")))
    assert done.code == 2, done.stderr
    assert done.stderr.startswith("certify: ")
    assert done.stderr.count("\n") == 1
    assert trouble in done.stderr
    assert "person-" not in done.stderr
    assert done.stderr.count(str(spec)) <= 1
    assert not spec.with_name("unlearned.safetensors").exists()


def test_held_out_records_that_do_not_fit_are_refused(spec, certify):
    rewritten(spec, "test.npz", X=np.zeros((5, 3), np.float32), y=np.zeros(5, int))
    refused(spec, certify, "the model cannot read a record of shape (3,) and type float32 (held-out records)")
    rewritten(spec, "test.npz", X=np.zeros((5, 64), np.float32), y=np.full(5, 77))
    refused(spec, certify, "the classes are 77 to 77 and the model's outputs have shape (1, 10)")


def test_a_loss_that_does_not_fit_the_head_is_refused(spec, certify):
    put(spec, 'loss = "cross-entropy"', 'loss = "binary-cross-entropy"')
    rewritten(spec, "train.npz", y=np.load(spec.with_name("train.npz"))["y"] % 2)
    refused(spec, certify, "loss: binary-cross-entropy does not fit outputs of shape (1, 10)")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.uint64, ">i4"])
def test_classes_may_be_whole_numbers_of_any_type(spec, certify, kind):
    rewritten(spec, "train.npz", y=np.load(spec.with_name("train.npz"))["y"].astype(kind))
    done = certify("unlearn", spec, "--method", "fine-tune", "--set", "epochs=1")
    assert done.code == 0, done.stderr


def test_targets_may_be_vectors_and_must_be_finite(spec, certify):
    put(spec, 'loss = "cross-entropy"', 'loss = "squared"')
    put(spec, 'test = "test.npz"', "")
    targets = np.eye(10, dtype=np.float32)[np.load(spec.with_name("train.npz"))["y"]]
    rewritten(spec, "train.npz", y=np.where(targets > 2, targets, np.nan))
    refused(spec, certify, "the training records hold a number that is not finite; clean the targets")
    rewritten(spec, "train.npz", y=targets[:, :3])
    refused(spec, certify, "squared does not fit outputs of shape (1, 10) and a target of shape (3,)")
    rewritten(spec, "train.npz", y=targets)
    assert certify("unlearn", spec, "--method", "fine-tune", "--set", "epochs=1").code == 0


def test_a_head_that_is_not_there_is_refused_by_every_method(spec, certify):
    put(spec, 'kind = "torch"', 'kind = "torch"\nhead = "fc"')
    refused(spec, certify, "head: the model has no module 'fc'; it has 0, 1, 2")


@pytest.mark.parametrize("device", ["meta", "mps", "xla"])
def test_devices_that_nothing_can_run_on_are_refused(spec, certify, device):
    refused(spec, certify, f"{device!r} is no device", "--method", "fine-tune", "--device", device)


def test_seeds_beyond_the_generators_are_refused(spec, certify):
    refused(spec, certify, "'--seed'", "--method", "fine-tune", "--seed", str(10**30))
