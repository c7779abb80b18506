"""Every registered method passes every check of the conformance suite, and the suite can be asked in each of its ways."""

import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
from broken_methods import FlipsBeforeBackward, OptimiserOnTheTeacher, Sound

from certify import unlearners
from certify.core.errors import ConfigurationError
from certify.unlearners import Claim, Unlearner, conformance
from certify.unlearners.conformance.__main__ import main


@pytest.mark.parametrize("name", unlearners.names())
def test_a_registered_method_conforms(name):
    report = conformance.check(unlearners.get(name))
    assert report.passed, str(report)


def test_there_are_fifteen_checks_numbered_in_their_descriptions():
    assert [int(check.__doc__.split(".")[0]) for check in conformance.CHECKS.values()] == list(range(1, 16))


# What a third party writes: one case a check, skipped where it does not apply.
test_a_sound_method = conformance.suite(Sound)


def test_the_pytest_suite_has_a_case_a_check_and_fails_in_one_line():
    test = conformance.suite(FlipsBeforeBackward)
    (mark,) = test.pytestmark
    assert mark.args == ("check", list(conformance.CHECKS))
    with pytest.raises(pytest.fail.Exception, match=r"sign: perceptron: one small step was to raise the forget loss"):
        test("sign")
    with pytest.raises(pytest.skip.Exception, match="starts from the original"):
        test("fresh-init")


def test_an_instance_is_tried_with_its_own_knobs():
    with pytest.raises(ConfigurationError, match="is not for networks"):
        unlearners.get("newton")().forget_fleet(None, [])
    assert conformance.check(Sound(lr=1e-3), ["sign"]).passed
    assert conformance.check(Sound(lr=1e9, share=1.0), ["finite"]).failures == ("finite",)


def test_a_method_that_does_not_say_what_it_is_is_refused():
    @dataclass(frozen=True)
    class Mute(Unlearner):
        name: ClassVar[str] = "mute"
        claim: ClassVar[Claim] = Claim.NONE

    with pytest.raises(ConfigurationError, match="does not say its summary, needs, reference, family"):
        conformance.check(Mute)


def test_a_method_that_raises_fails_and_does_not_break_the_suite():
    @dataclass(frozen=True)
    class Breaks(Sound):
        name: ClassVar[str] = "breaks"

        def run_networks(self, meter, state):
            raise KeyError(f"deep inside {meter.name} of {state.models}")

    report = conformance.check(Breaks, ["no-op", "isolation"])
    assert report.failures == ("no-op", "isolation")
    assert "KeyError: 'deep inside breaks of 1'" in report["no-op"].why


def test_a_report_prints_a_line_a_check():
    report = conformance.check(OptimiserOnTheTeacher, ["no-op", "fresh-init", "isolation"])
    first, *lines = str(report).splitlines()
    assert first == "optimiser-on-the-teacher: 1 checks fail"
    assert [line.split()[:2] for line in lines] == [["FAIL", "no-op"], ["-", "fresh-init"], ["pass", "isolation"]]
    with pytest.raises(KeyError):
        report["sign"]
    with pytest.raises(ConfigurationError, match="unknown check 'noop'; did you mean 'no-op'"):
        conformance.check(Sound, ["noop"])


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [
        (["newton"], 0, "newton: conforms"),
        (["broken_methods:OptimiserOnTheTeacher", "newton"], 1, "FAIL  no-op"),
        (["--help"], 0, "registered: retrain, sisa, newton"),
    ],
)
def test_the_command_prints_a_table_and_returns_an_exit_code(capsys, arguments, code, shown):
    assert main(arguments) == code
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        ("newtn", "did you mean 'newton'"),
        ("nowhere:Method", "cannot be imported"),
        ("broken_methods:MISTAKES", "is no Unlearner"),
    ],
)
def test_the_command_says_what_is_wrong_with_a_name(capsys, name, trouble):
    assert main([name]) == 2
    assert trouble in capsys.readouterr().err


def test_checking_a_convex_method_never_loads_torch():
    code = (
        "import sys; from certify.unlearners.conformance import check; from certify.unlearners import get; "
        "assert check(get('newton')).passed; assert 'torch' not in sys.modules; assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
