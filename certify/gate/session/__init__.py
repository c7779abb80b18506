"""Deletion sessions: one linear model, a stream of requests to delete, correct and add records, each ending in a certified state."""

from certify.gate.session.records import Records
from certify.gate.session.session import Session
from certify.gate.session.tables import Step

__all__ = ["Records", "Session", "Step"]
