"""``certify unlearn --method sisa``: prepared, replayed from file to file, taken up after a kill, and one line for whatever is wrong."""

import json

import numpy as np
import pytest
import torch
from network_project import write_project
from safetensors.torch import load_file, save_file

from certify.unlearners.networks.checkpoint import Checkpoint
from certify.unlearners.networks.shard_files import read

KNOBS = ("--set", "shards=3", "--set", "slices=2", "--set", "epochs=2")
PEOPLE = [f"person-{number:04d}" for number in range(300)]


@pytest.fixture
def spec(tmp_path):
    path = write_project(tmp_path / "project")
    put(path, 'original = "original.safetensors"', 'original = "ensemble.safetensors"')
    return path


@pytest.fixture
def prepared(spec, certify):
    done = certify("unlearn", spec, "--method", "sisa", "--prepare", "--seed", "7", *KNOBS)
    assert (done.code, done.stdout) == (0, ""), done.stderr
    assert "sisa: 3 members in 2 stages on 300 records" in done.stderr
    assert "warning" not in done.stderr
    return spec


def put(spec, old, new):
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new))


def change(spec, name="train.npz", **changes):
    with np.load(spec.with_name(name)) as data:
        arrays = dict(data)
    np.savez(spec.with_name(name), **{key: changes.get(key, lambda value: value)(arrays[key]) for key in arrays})


def goes_on(spec, old, new):
    """The model of the last request is the original of the next."""
    text = spec.read_text().split("\n")
    lines = [line for line in text if not line.startswith(("model =", "original ="))]
    lines.insert(lines.index("[release]") + 1, f'model = "{new}"\noriginal = "{old}"')
    spec.write_text("\n".join(lines))


def close(one, other):
    """Whether two files hold the same checkpoints, up to rounding: shards run one by one, or side by side."""
    first, second = read(one).states, read(other).states
    return all(
        torch.allclose(mine.parameters[name], theirs.parameters[name], rtol=1e-3, atol=1e-5)
        for mine, theirs in zip(first, second, strict=True)
        for name in mine.parameters
    )


def test_request_after_request_is_the_ensemble_prepared_without_them_all(prepared, certify, tmp_path):
    spec, folder = prepared, prepared.parent
    assert not (folder / "unlearned.safetensors").exists()
    assert (folder / "ensemble.safetensors").stat().st_mode & 0o077 == 0
    done = certify("unlearn", spec, "--method", "sisa")  # the knobs are the file's
    assert (done.code, done.stdout) == (0, ""), done.stderr
    assert "claims exact: equal, for the same seed" in done.stderr
    assert "ensemble.safetensors holds what the forgotten records shaped: destroy it" in done.stderr
    assert (folder / "unlearned.safetensors").stat().st_mode & 0o077 == 0
    evidence = json.loads((folder / "unlearned.safetensors.evidence.json").read_text())
    assert evidence["knobs"] == {"shards": 3, "slices": 2, "epochs": 2}
    assert (evidence["claim"], evidence["seed"]) == ("exact", None)  # the seed is a secret
    assert (evidence["reads"]["forget"]["records"], evidence["solver"]["shards_replayed"]) == (0, 3)
    assert evidence["model_sha256"] == read(folder / "unlearned.safetensors").record.sha256
    (folder / "ensemble.safetensors").unlink()

    # the list grows, and what is gone already is in the data still, as other numbers
    goes_on(spec, "unlearned.safetensors", "second.safetensors")
    spec.with_name("forget.txt").write_text("\n".join(PEOPLE[:21]))
    change(spec, X=lambda X: np.concatenate([X[:20] * 0 + 1e6, X[20:]]))
    done = certify("unlearn", spec, "--method", "sisa", *KNOBS)
    assert done.code == 0, done.stderr
    assert "20 records of the forget set were forgotten before" in done.stderr

    # the list is of this request alone, and what went first is out of the data
    goes_on(spec, "second.safetensors", "third.safetensors")
    spec.with_name("forget.txt").write_text(PEOPLE[299])
    change(spec, **{name: lambda values: values[20:] for name in ("X", "y", "ids")})
    done = certify("unlearn", spec, "--method", "sisa")
    assert done.code == 0, done.stderr
    assert read(folder / "third.safetensors").head["gone"] == sorted(read(folder / "third.safetensors").head["gone"])
    assert len(read(folder / "third.safetensors").head["gone"]) == 22

    other = write_project(tmp_path / "never")
    goes_on(other, "never.safetensors", "unlearned.safetensors")
    change(other, **{name: lambda values: values[21:299] for name in ("X", "y", "ids")})
    other.with_name("forget.txt").unlink()  # before any request
    assert certify("unlearn", other, "--method", "sisa", "--prepare", "--seed", "7", *KNOBS).code == 0
    assert close(folder / "third.safetensors", other.with_name("never.safetensors"))
    assert not close(folder / "third.safetensors", folder / "second.safetensors")


def test_who_was_forgotten_does_not_come_back_with_the_data(prepared, certify):
    spec = prepared
    assert certify("unlearn", spec, "--method", "sisa").code == 0
    goes_on(spec, "unlearned.safetensors", "second.safetensors")
    with np.load(spec.with_name("train.npz")) as data:
        whole = dict(data)
    change(spec, **{name: lambda values: values[20:] for name in ("X", "y", "ids")})
    spec.with_name("forget.txt").write_text(PEOPLE[50])
    assert certify("unlearn", spec, "--method", "sisa").code == 0
    goes_on(spec, "second.safetensors", "third.safetensors")
    np.savez(spec.with_name("train.npz"), **whole)  # the first twenty are there again
    spec.with_name("forget.txt").write_text(PEOPLE[51])
    done = certify("unlearn", spec, "--method", "sisa")
    assert done.code == 0, done.stderr
    evidence = json.loads(spec.with_name("third.safetensors.evidence.json").read_text())
    assert evidence["reads"]["retain"]["records"] < 278
    assert evidence["reads"]["forget"]["records"] == 0
    spec.with_name("forget.txt").write_text(PEOPLE[3])
    done = certify("unlearn", spec, "--method", "sisa", "--force")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "the forget set names no record that was not forgotten before" in done.stderr


def ordinary(spec):
    goes_on(spec, "original.safetensors", "unlearned.safetensors")


def damaged(spec):
    path = spec.with_name("ensemble.safetensors")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def truncated(spec):
    path = spec.with_name("ensemble.safetensors")
    path.write_bytes(path.read_bytes()[:-9])


def headless(spec):
    path = spec.with_name("ensemble.safetensors")
    path.write_bytes(path.read_bytes()[:30])


def of_another_version(spec):
    save_file(
        {"a": torch.zeros(2)},
        spec.with_name("ensemble.safetensors"),
        {"certify": json.dumps({"head": {"format": "certify-sisa/1"}, "sha256": ""})},
    )


def longer(spec):
    change(
        spec,
        X=lambda X: np.concatenate([X, X[:1]]),
        y=lambda y: np.append(y, 0),
        ids=lambda ids: np.append(ids, "someone"),
    )


def other_architecture(spec):
    code = spec.with_name("certify_test_net.py")
    code.with_name("certify_test_relu.py").write_text(code.read_text().replace("nn.Tanh()", "nn.ReLU()"))
    put(spec, "certify_test_net:build", "certify_test_relu:build")


BAD = {
    "ordinary weights": (ordinary, "is no ensemble of sisa (but one network's weights, or damaged)", "--prepare"),
    "nothing named": (
        lambda spec: put(spec, 'original = "ensemble.safetensors"', ""),
        "release.original: sisa goes on from an ensemble of its own and none is named",
        "--prepare",
    ),
    "nothing there": (
        lambda spec: spec.with_name("ensemble.safetensors").unlink(),
        "ensemble.safetensors: no such file",
        "--prepare",
    ),
    "damaged": (damaged, "ensemble.safetensors: is damaged: a digest does not fit", "prepare"),
    "truncated": (truncated, "ensemble.safetensors: is damaged, or no state of sisa", "prepare"),
    "without a head": (headless, "is no ensemble of sisa (but one network's weights, or damaged)", "prepare"),
    "of another version": (of_another_version, "is a state of another version of sisa", "prepare"),
    "other numbers": (lambda spec: change(spec, X=lambda X: X * 1.01), "is of other records", "give it the records"),
    "other labels": (lambda spec: change(spec, y=lambda y: y[::-1]), "is of other records", "give it the records"),
    "other names": (
        lambda spec: change(spec, ids=lambda ids: np.array([*ids[:-1], "someone"])),
        "is of other records",
        "only those that it forgot may be missing",
    ),
    "one record less": (
        lambda spec: change(spec, **{name: lambda values: values[:-1] for name in ("X", "y", "ids")}),
        "is of other records",
        "only those that it forgot may be missing",
    ),
    "one record more": (longer, "is of other records", "give it the records"),
    "another recipe": (lambda spec: put(spec, "lr = 5e-3", "lr = 6e-3"), "was trained by another recipe", "load it"),
    "other tensors": (
        lambda spec: (put(spec, "net:build", "net:build_wide"), put(spec, 'initial = "initial.safetensors"\n', "")),
        "is of another architecture",
        "load it",
    ),
    "the same tensors at other work": (other_architecture, "is of another architecture", "load it"),
    "no room for a state": (
        lambda spec: put(spec, "unlearned.safetensors", "unlearned.npz"),
        "cannot write an ensemble to a .npz file",
        "use .safetensors",
    ),
    "over itself": (
        lambda spec: put(spec, "unlearned.safetensors", "ensemble.safetensors"),
        "both the original and the model to write",
        "release.model",
    ),
    "nobody": (lambda spec: spec.with_name("forget.txt").write_text(""), "the forget set is empty", "id"),
    "everybody": (
        lambda spec: spec.with_name("forget.txt").write_text("\n".join(PEOPLE)),
        "every record is to be forgotten",
        "",
    ),
}


def files(spec):
    return {path.name: path.read_bytes() for path in spec.parent.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(prepared, certify, name):
    harm, trouble, mend = BAD[name]
    harm(prepared)
    before = files(prepared)
    done = certify("unlearn", prepared, "--method", "sisa", "--force")
    assert done.code == 2, done.stderr
    assert done.stderr.startswith("certify: ")
    assert done.stderr.count("\n") == 1
    assert trouble in done.stderr
    assert mend in done.stderr
    assert "person-" not in done.stderr
    assert files(prepared) == before


@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        (("--method", "sisa", "--set", "shards=4"), "prepared with 3 shards and 2 slices, 2 passes a stage"),
        (("--method", "sisa", "--set", "epochs=3"), "prepared with 3 shards and 2 slices, 2 passes a stage"),
        (("--method", "fine-tune"), "holds an ensemble of sisa, not the weights of one network"),
        (("--method", "fine-tune", "--prepare"), "--prepare: fine-tune has nothing to prepare"),
        (("--method", "newton", "--prepare"), "newton is not for networks"),
        (("--method", "sisa", "--prepare"), "is already there; use --force to train another one"),
    ],
)
def test_options_that_make_no_sense_here(prepared, certify, options, trouble):
    before = files(prepared)
    done = certify("unlearn", prepared, *options)
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert trouble in done.stderr
    assert files(prepared) == before


def test_preparing_overwrites_an_ensemble_if_told_to_and_nothing_else_ever(prepared, certify):
    spec, path = prepared, prepared.with_name("ensemble.safetensors")
    first = path.read_bytes()
    assert certify("unlearn", spec, "--method", "sisa", "--prepare", "--force", "--seed", "7", *KNOBS).code == 0
    assert path.read_bytes() == first
    assert certify("unlearn", spec, "--method", "sisa", "--prepare", "--force", "--seed", "8", *KNOBS).code == 0
    assert path.read_bytes() != first
    for name, trouble in (
        ("original.safetensors", "is there and no ensemble of sisa: it is not overwritten"),
        ("initial.safetensors", "is there and no ensemble of sisa: it is not overwritten"),
        ("new.npz", "cannot write an ensemble to a .npz file"),
        ("unlearned.safetensors", "both the model to write and the ensemble to write"),
    ):
        goes_on(spec, name, "unlearned.safetensors")
        before = files(spec)
        done = certify("unlearn", spec, "--method", "sisa", "--prepare", "--force")
        assert (done.code, done.stderr.count("\n")) == (2, 1), done.stderr
        assert trouble in done.stderr
        assert files(spec) == before


def test_what_is_not_trained_is_as_before_training(spec, certify):
    put(spec, 'kind = "torch"', 'kind = "torch"\ntrainable = ["2.*"]')
    assert certify("unlearn", spec, "--method", "sisa", "--prepare", *KNOBS).code == 0
    initial = load_file(spec.with_name("initial.safetensors"))
    last = read(spec.with_name("ensemble.safetensors")).states[-1]
    assert all(torch.equal(last.parameters["0.weight"][shard], initial["0.weight"]) for shard in range(3))
    assert certify("unlearn", spec, "--method", "sisa").code == 0
    put(spec, 'initial = "initial.safetensors"\n', "")
    done = certify("unlearn", spec, "--method", "sisa", "--prepare", "--force", *KNOBS)
    assert done.code == 2
    assert "training.initial: 0.weight is not to be trained, and nothing says what it is before training" in done.stderr


def test_linear_models_have_nothing_to_prepare(project, certify):
    done = certify("unlearn", project.path, "--method", "newton", "--prepare")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "newton has nothing to prepare" in done.stderr
    done = certify("unlearn", project.path, "--method", "sisa", "--prepare")
    assert "sisa is not for linear models" in done.stderr


@pytest.mark.parametrize(
    "writes",
    [1, 2, 3, 4],  # before and within the first stage, between the two, within the second
)
@pytest.mark.parametrize("step", ["prepare", "replay"])
def test_what_was_killed_goes_on_with_the_same_bits(spec, certify, monkeypatch, step, writes):
    prepare = ("unlearn", spec, "--method", "sisa", "--prepare", *KNOBS, "--force")
    assert certify(*prepare).code == 0
    command = prepare if step == "prepare" else ("unlearn", spec, "--method", "sisa", "--force")
    name = "ensemble.safetensors" if step == "prepare" else "unlearned.safetensors"
    path, kept = spec.with_name(name), spec.with_name(f"{name}.checkpoint")
    assert certify(*command).code == 0
    whole, write, done = path.read_bytes(), Checkpoint.save, []
    evidence = spec.with_name("unlearned.safetensors.evidence.json")
    counts = json.loads(evidence.read_text())["counts"] if step == "replay" else None
    path.unlink()

    def dies(self, content):
        write(self, content)
        done.append(content["begins"])
        if len(done) == writes:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "due", property(lambda _: True))
        patch.setattr(Checkpoint, "save", dies)
        stopped = certify(*command)
    assert done[-1] == ["sisa/0/0", "sisa/0/1", "sisa/1/0", "sisa/1/1"][writes - 1]
    assert stopped.code == 130
    assert f"{kept} is left: the same command goes on from it" in stopped.stderr
    assert not path.exists()
    assert kept.stat().st_mode & 0o077 == 0
    if step == "prepare":
        other = certify(*command, "--seed", "9")
        assert other.code == 2
        assert "is the checkpoint of another run" in other.stderr
        assert kept.exists()
    looked = []
    monkeypatch.setattr(Checkpoint, "require_taken_up", lambda self: looked.append(self.saved))
    again = certify(*command)
    assert again.code == 0, again.stderr
    assert looked == [None]
    assert path.read_bytes() == whole
    assert not kept.exists()
    if step == "replay":
        assert "taken up from a checkpoint" in again.stderr
        assert json.loads(evidence.read_text())["counts"] == counts


def test_a_checkpoint_can_be_thrown_away(spec, certify):
    command = ("unlearn", spec, "--method", "sisa", "--prepare", *KNOBS)

    spec.with_name("ensemble.safetensors.checkpoint").write_bytes(b"not a checkpoint")
    done = certify(*command)
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "is a damaged checkpoint" in done.stderr
    done = certify(*command, "--restart")
    assert done.code == 0
    assert "its seed is 0, and should be a secret" in done.stderr
    assert not spec.with_name("ensemble.safetensors.checkpoint").exists()
