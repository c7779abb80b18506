"""``certify list unlearners``: short for all, in full for one, and for a program."""

import json
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint
from typing import Annotated, ClassVar

import pytest
from pydantic import Field

from certify.cli.described import facts, full
from certify.unlearners import Claim, Unlearner, get, names, registry


def test_the_list_is_short_and_fits_a_terminal(certify):
    lines = certify("list", "unlearners").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 5 * len(names())


@pytest.mark.parametrize("name", names())
def test_every_knob_of_every_method_is_explained(name):
    method = get(name)
    described = facts(method)
    assert [knob["name"] for knob in described["knobs"]] == [knob.name for knob in fields(method)]
    assert [knob["name"] for knob in described["knobs"] if not knob["help"]] == []
    assert max(map(len, full(method).splitlines())) <= 100


def test_one_method_in_full(certify):
    done = certify("list", "unlearners", "scrub")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("scrub: in turns away")
    assert "  temperature=2.0 (> 0)\n      T, of both softmaxes.\n" in done.stdout
    assert "for        torch models" in done.stdout
    assert "``" not in done.stdout


def test_for_programs(certify):
    everything = json.loads(certify("list", "--format", "json").stdout)
    assert set(everything) == {"unlearners", "attacks", "losses", "formats"}
    assert tuple(method["name"] for method in everything["unlearners"]) == names()
    (one,) = json.loads(certify("list", "unlearners", "newton", "--format", "json").stdout)["unlearners"]
    assert one["kinds"] == ["convex"]
    assert {knob["name"]: knob["default"] for knob in one["knobs"]} == {"steps": 1, "tolerance": None, "max_steps": 25}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("unlearners", "scrubb"), "certify: NAME: unknown unlearner 'scrubb'; did you mean 'scrub'?\n"),
        (
            ("losses", "logistic"),
            "certify: NAME: losses have no pages of their own; use `certify list losses` alone\n",
        ),
    ],
)
def test_what_has_no_page_is_said_in_one_line(certify, arguments, line):
    done = certify("list", *arguments)
    assert (done.code, done.stdout, done.stderr) == (2, "", line)


def test_a_wrong_value_points_to_the_methods_own_page(certify, project):
    done = certify("unlearn", project.path, "--method", "newton", "--set", "steps=two")
    assert done.code == 2
    assert done.stderr.endswith("; see `certify list unlearners newton`\n")


def test_a_strangers_method_without_a_text_is_listed_too():
    @dataclass(frozen=True)
    class Bare(Unlearner):
        name: ClassVar[str] = "bare"
        summary: ClassVar[str] = "does little"
        needs: ClassVar[str] = "nothing"
        reference: ClassVar[str] = "none"
        claim: ClassVar[Claim] = Claim.NONE
        rate: Annotated[float, Field(gt=0)] = 0.5

    assert "  rate=0.5 (> 0)" in full(Bare)
    assert "Bare(" not in full(Bare)


def test_a_strangers_broken_package_does_not_hide_the_others(certify, monkeypatch):
    point = EntryPoint("spoilt", "certify_nowhere:Method", "certify.unlearners")
    monkeypatch.setattr(registry, "_others", lambda: {"spoilt": point})
    done = certify("list", "unlearners")
    assert done.code == 0
    assert "\n  scrub " in done.stdout
    assert done.stderr.startswith("certify: warning: unlearner 'spoilt' (certify_nowhere:Method): cannot be loaded")
    assert done.stderr.count("\n") == 1
