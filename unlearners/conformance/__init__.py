"""Conformance: fifteen checks that every unlearning method has to pass, on tiny built-in tasks, on the CPU, in seconds.

from certify.unlearners import conformance
print(conformance.check(MyMethod))                # a table
test_my_method = conformance.suite(MyMethod)      # a pytest test with one case a check

``python -m certify.unlearners.conformance NAME`` prints the table of a registered method, or of ``module:Class``.
"""

from certify.unlearners.conformance.findings import Finding, Report
from certify.unlearners.conformance.measures import Measures, check_measures
from certify.unlearners.conformance.suite import CHECKS, check, find, settle, suite
from certify.unlearners.conformance.trials import Trials, trials_of

__all__ = [
    "CHECKS",
    "Finding",
    "Measures",
    "Report",
    "Trials",
    "check",
    "check_measures",
    "find",
    "settle",
    "suite",
    "trials_of",
]
