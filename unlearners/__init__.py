"""Floor 3: the request, the evidence, and every unlearning method.

from certify import unlearners
unlearners.names()
result = unlearners.get("newton")(steps=1).forget(task, request)
"""

from typing import TYPE_CHECKING, Any

from certify.unlearners.evidence import Budget, Claim, Evidence
from certify.unlearners.interface import Result, Unlearner
from certify.unlearners.registry import get, names
from certify.unlearners.task import ConvexTask, Request

if TYPE_CHECKING:
    from certify.models.networks.recipe import Recipe
    from certify.unlearners.networks.task import NetworkTask

__all__ = [
    "Budget",
    "Claim",
    "ConvexTask",
    "Evidence",
    "NetworkTask",
    "Recipe",
    "Request",
    "Result",
    "Unlearner",
    "get",
    "names",
]


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for."""
    if name == "NetworkTask":
        from certify.unlearners.networks.task import NetworkTask

        return NetworkTask
    if name == "Recipe":
        from certify.models.networks.recipe import Recipe

        return Recipe
    raise AttributeError(f"module 'certify.unlearners' has no attribute {name!r}")
