"""Unlearning of networks: the task, and the meter through which a method touches records."""

from certify.unlearners.networks.meter import NetworkMeter, Split
from certify.unlearners.networks.task import NetworkTask

__all__ = ["NetworkMeter", "NetworkTask", "Split"]
