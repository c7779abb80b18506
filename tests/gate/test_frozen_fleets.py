"""Models of which only some parameters were trained: the others are the original's in every model that an audit trains."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from network_project import write_project
from safetensors.torch import load_file, save_file
from small_networks import perceptron, perceptron_task

from certify import unlearners
from certify.core.errors import ConfigurationError
from certify.gate.audits.method import Method
from certify.gate.audits.run import audit
from certify.unlearners import Request


@pytest.fixture
def spec(tmp_path):
    """The head alone may move."""
    path = write_project(tmp_path / "project")
    text = path.read_text().replace('initial = "initial.safetensors"\n', "")
    text = text.replace('kind = "torch"', 'kind = "torch"\ntrainable = ["2.*"]')
    path.write_text(text + '\n[audit]\nattacks = ["parameter-distance", "function-distance"]\nreplicates = 20\n')
    return path


def retrained(spec, seed):
    task = replace(perceptron_task(), trainable=("2.*",))
    model = unlearners.get("retrain")().forget(task, Request.at(task, np.arange(20)), seed=seed).model
    save_file(model.state_dict(), spec.with_name("unlearned.safetensors"))


@pytest.mark.parametrize("seed", [50, 51])
def test_an_honest_retraining_of_the_head_is_one_of_the_retrained_models(spec, seed):
    retrained(spec, seed)
    result = audit(spec)
    first = {one.attack: one for one in reversed(result.report.audit.findings) if one.p_value is not None}
    assert result.exit_code != 1
    assert {name: one.p_value > 0.01 for name, one in first.items()} == {
        "parameter-distance": True,
        "function-distance": True,
    }
    assert first["parameter-distance"].value == pytest.approx(1, abs=0.2)
    original = load_file(spec.with_name("original.safetensors"))
    kept = sorted(spec.parent.rglob("certify-audit/weights/*/retrained/*.safetensors"))
    assert len(kept) == 20
    for path in kept:
        state = load_file(path)
        assert torch.equal(state["0.weight"], original["0.weight"])
        assert torch.equal(state["0.bias"], original["0.bias"])
        assert not torch.equal(state["2.weight"], original["2.weight"])


def test_shadow_models_train_the_head_alone(spec, monkeypatch):
    text = spec.read_text().replace('["parameter-distance", "function-distance"]', '["u-lira"]\nmodels = 16')
    spec.write_text(text.replace('kind = "torch"', 'kind = "torch"\nunlearner = "fine-tune"'))
    save_file(perceptron().state_dict(), spec.with_name("unlearned.safetensors"))
    original, seen, unlearn = load_file(spec.with_name("original.safetensors")), [], Method.__call__

    def watched(self, block):
        found = unlearn(self, block)
        for state in (block.originals, found):
            seen.append(all(torch.equal(one, original["0.weight"]) for one in state.parameters["0.weight"]))
            seen.append(not any(torch.equal(one, original["2.weight"]) for one in state.parameters["2.weight"]))
        return found

    monkeypatch.setattr(Method, "__call__", watched)
    audit(spec)
    assert seen
    assert all(seen)


def test_without_the_original_nothing_says_what_was_frozen(spec):
    retrained(spec, 50)
    spec.write_text(spec.read_text().replace('original = "original.safetensors"\n', ""))
    with pytest.raises(ConfigurationError, match=r"release\.trainable"):
        audit(spec)
