"""Floor 3: the request, the evidence, and every unlearning method.

from certify import unlearners
unlearners.names()
result = unlearners.get("newton")(steps=1).forget(task, request)
"""

from certify.unlearners.evidence import Budget, Evidence
from certify.unlearners.interface import Claim, Result, Unlearner
from certify.unlearners.registry import get, names
from certify.unlearners.task import ConvexTask, Request

__all__ = ["Budget", "Claim", "ConvexTask", "Evidence", "Request", "Result", "Unlearner", "get", "names"]
