"""Every method keeps to one device: on a fake one here, on a GPU where there is one (``pytest -m gpu``)."""

import numpy as np
import pytest
import torch
from every_method import NAMES, changed, fitting, quick
from fake_device import DEVICE, MixedDevicesError, fake_device

from certify.models.networks import State
from certify.unlearners import Request


def fleet(name, task, models):
    asked = [Request.at(task, np.arange(4 * k, 4 * k + 5)) for k in range(models)]
    results = quick(name).forget_fleet(task, asked, seeds=[5, 6, 7][:models])
    return [{**s.parameters, **s.buffers} for s in (State.of(result.model) for result in results)]


def test_the_fake_device_refuses_what_cuda_refuses():
    with fake_device():
        there, here = torch.ones(3, device=DEVICE), torch.ones(3)
        for wrong in (lambda: there + here, there.numpy, lambda: here[there.long()], lambda: torch.cat([there, here])):
            with pytest.raises(MixedDevicesError):
                wrong()
        for fine in (there + torch.tensor(1.0), there[here.long()], here.to(there.device), there * 2):
            assert fine.device == DEVICE
        assert there.cpu().numpy().sum() == 3
        second = torch.func.jvp(torch.func.grad(lambda w: (w**3).sum()), (there,), (2 * there,))[1]
        assert second.device == DEVICE
        assert second.tolist() == [12.0] * 3


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_mixed_with_tensors_of_the_cpu(name, monkeypatch):
    monkeypatch.setattr("certify.unlearners.networks.task.DEVICES", ("cpu", "cuda", "meta"))
    with fake_device():
        fleet(name, changed(fitting(name), device="meta"), 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_ends_where_the_cpu_ends(name, models):
    """In double precision, where the order of sums is all that differs."""
    task = fitting(name, torch.float64)
    for cpu, gpu in zip(fleet(name, task, models), fleet(name, changed(task, device="cuda"), models), strict=True):
        for key, value in cpu.items():
            torch.testing.assert_close(gpu[key].cpu(), value, rtol=1e-5, atol=1e-6)
