"""An ensemble whose prediction is the mean of its members' probabilities, as one module."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from certify.models.networks.state import State


class Ensemble(nn.Module):
    """``log mean_s softmax(member_s(x))`` over the members that were trained: outputs whose softmax is the mean of theirs.

    Args:
        member: the members' architecture; its numbers are not used.
        members: how many.
    """

    trained: Tensor

    def __init__(self, member: nn.Module, members: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(copy.deepcopy(member) for _ in range(members))
        self.register_buffer("trained", torch.ones(members, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of the mean probabilities, (B, C)."""
        each = torch.stack([torch.log_softmax(member(x), dim=1) for member in self.members])
        silent = torch.where(self.trained, 0.0, -math.inf).to(each.dtype)
        total = self.trained.sum().to(each.dtype)
        return torch.logsumexp(each + silent[:, None, None], dim=0) - torch.log(total)


def joined(members: State, trained: Sequence[bool]) -> State:
    """The ensemble's own state, one model, from the stacked states of its members."""
    parameters = {
        f"members.{place}.{name}": value[place : place + 1]
        for place in range(members.models)
        for name, value in members.parameters.items()
    }
    buffers = {
        f"members.{place}.{name}": value[place : place + 1]
        for place in range(members.models)
        for name, value in members.buffers.items()
    }
    flags = torch.tensor([list(trained)], dtype=torch.bool, device=members.device)
    return State(parameters, {"trained": flags, **buffers})
