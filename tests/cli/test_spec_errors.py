"""Whatever is wrong with the spec: exit 2, one line with the key and the mend."""

import math

import pytest

from certify.cli.app import _run

_NOT_TOML = {
    "bracket": "[release\n",
    "nul": 'a = "\x00"',
    "deep": "a = " + "[" * 20_000,
    "endless number": "a = " + "1" * 9_000,
    "key twice": "[policy]\nepsilon = 1\nepsilon = 2\n",
}


@pytest.mark.parametrize("text", _NOT_TOML.values(), ids=_NOT_TOML)
def test_a_spec_that_is_not_toml_is_refused(project, refuses, text):
    project.write("certify.toml", text)
    refuses(project, "certify.toml", "is not valid TOML")


@pytest.mark.parametrize("content", [b"\x80\x04\x95", "epsilon = 1".encode("utf-16")], ids=["pickle", "utf-16"])
def test_a_spec_that_is_not_text_is_refused(project, refuses, content):
    project.write("certify.toml", content)
    refuses(project, "certify.toml", "is not UTF-8 text")


def test_a_spec_that_is_missing_is_refused(project, refuses):
    project.remove("certify.toml")
    refuses(project, "certify.toml", "no such file")


def test_a_folder_without_a_spec_is_refused(tmp_path, capsys):
    assert _run(["check", str(tmp_path)]) == 2
    assert "certify.toml: no such file" in capsys.readouterr().err


def test_no_spec_anywhere_points_to_init(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert _run(["check"]) == 2
    assert "write one with `certify init`" in capsys.readouterr().err


def test_an_empty_spec_names_the_first_missing_table(project, refuses):
    project.write("certify.toml", "")
    refuses(project, "release is missing (and 2 more problems)", "certify init")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("relese.model", "release"),
        ("release.modle", "model"),
        ("objective.los", "loss"),
        ("data.forgett", "forget"),
        ("data.columns.taget", "target"),
        ("policy.epsilom", "epsilon"),
        ("audit.atacks", "attacks"),
        ("audit.max_tpr_at_fpr.fprr", "fpr"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(project, refuses, key, nearest):
    project.put(key, "x")
    named = key.partition(".")[0] if key.startswith("relese") else key
    refuses(project, f"unknown key {named}", f"did you mean {nearest!r}?")


def test_an_unknown_key_near_nothing_lists_the_known_ones(project, refuses):
    project.put("policy.zzzz", 1)
    refuses(project, "unknown key policy.zzzz", "known are delta, epsilon, ")


@pytest.mark.parametrize(
    "key",
    [
        "release",
        "data",
        "policy",
        "release.model",
        "release.kind",
        "objective.loss",
        "objective.l2",
        "data.path",
        "data.forget",
        "policy.epsilon",
        "policy.delta",
        "policy.noise_std",
    ],
)
def test_a_missing_key_is_named(project, refuses, key):
    project.drop(key)
    refuses(project, f"{key} is missing", "add it")


def test_a_glm_without_objective_is_refused(project, refuses):
    project.drop("objective")
    refuses(project, "[objective]", "declare loss and l2")


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("policy.epsilon", "1", "a number"),
        ("policy.epsilon", True, "a number"),
        ("policy.delta", [1e-5], "a number"),
        ("objective.l2", "4", "a number"),
        ("objective.l2", False, "a number"),
        ("objective.l2", 10**400, "a number"),
        ("objective.loss", 3, "text"),
        ("objective.smoothing", "0.5", "a number"),
        ("objective.one_vs_rest", "true", "true or false"),
        ("objective.fit_intercept", 1, "true or false"),
        ("objective.fit_intercept", "true", "true or false"),
        ("release.model", 3, "text"),
        ("release.model", "", "text that is not empty"),
        ("data.path", ["a"], "text"),
        ("data.columns", 3, "a table"),
        ("release.retrained", "x", "a list"),
        ("audit.attacks", [], "a list that is not empty"),
    ],
)
def test_a_wrong_type_is_named_in_words_of_toml(project, refuses, key, value, rule):
    project.put(key, value)
    refuses(project, f"{key} must be {rule}")


def test_a_value_in_place_of_a_table_is_refused(project, refuses):
    project.write("certify.toml", "release = 3\n")
    refuses(project, "release must be a table", "[release]")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("policy.epsilon", value) for value in (-1, math.nan, math.inf, -math.inf)],
        *[("policy.delta", value) for value in (0, 1, 1.5, -0.1, math.nan, math.inf)],
        *[("policy.noise_std", value) for value in (0, -1.0, math.nan, math.inf)],
        *[("policy.tolerance", value) for value in (0, -1e-3, math.nan, math.inf)],
        *[("policy.max_total_mu", value) for value in (0, -1, math.nan)],
        *[("objective.l2", value) for value in (math.nan, math.inf, -math.inf)],
        ("release.kind", "gml"),
        ("audit.attacks", [""]),
    ],
)
def test_an_impossible_value_is_refused_by_key(project, refuses, key, value):
    project.put(key, value)
    refuses(project, f"{key}")


def test_an_unknown_loss_is_refused_with_the_nearest_one(project, refuses):
    project.put("objective.loss", "logistc")
    refuses(project, "objective.loss", "unknown loss 'logistc'; did you mean 'logistic'?")


def test_a_loss_whose_smoothing_is_missing_is_refused(project, refuses):
    project.put("objective.loss", "huber-hinge")
    refuses(project, "objective.smoothing", "the huber-hinge loss needs smoothing (h, half the width")


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-300])
def test_smoothing_out_of_range_is_refused(project, refuses, value):
    project.put("objective.loss", "softplus-hinge").put("objective.smoothing", value)
    refuses(project, "objective.smoothing", "must be a number above 0")


def test_smoothing_of_a_loss_that_has_none_is_refused(project, refuses):
    project.put("objective.smoothing", 0.5)
    refuses(project, "objective.smoothing", "the logistic loss has no smoothing")


def test_one_vs_rest_of_a_loss_without_two_classes_is_refused(project, refuses):
    project.put("objective.loss", "softmax").put("objective.one_vs_rest", True)
    refuses(project, "objective.one_vs_rest", "takes a loss of two classes, and softmax is none")


@pytest.mark.parametrize("key", ["release.model", "data.path", "data.forget"])
@pytest.mark.parametrize("value", ["a\\u0000b.npz", "x" * 5_000 + ".npz"], ids=["nul", "endless"])
def test_a_name_that_no_file_can_have_is_refused(project, refuses, key, value):
    project.put(key, value)
    refuses(project)


def test_a_pyproject_without_our_table_is_refused(project, certify):
    path = project.write("pyproject.toml", "[tool.other]\nx = 1\n")
    done = certify("check", path)
    assert done.code == 2
    assert "has no [tool.certify] table" in done.stderr


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"# a comment\r\n"], ids=["byte-order mark", "crlf comment"])
def test_the_marks_of_other_editors_are_accepted(project, certify, prefix):
    text = project.path.read_bytes()
    project.write("certify.toml", prefix + text.replace(b"\n", b"\r\n"))
    assert certify("check", project.path, "--quiet").code == 0


@pytest.mark.parametrize("content", ["tool = 1\n", "[tool]\ncertify = 1\n", "tool = []\n"])
def test_a_pyproject_whose_tool_is_no_table_is_told_in_one_line(tmp_path, monkeypatch, content):
    from certify.core.errors import CertifyError
    from certify.gate.load import load_spec

    (tmp_path / "pyproject.toml").write_text(content)
    monkeypatch.chdir(tmp_path)
    for spec in (None, "pyproject.toml"):
        with pytest.raises(CertifyError) as caught:
            load_spec(spec)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("policy.noise_std", 1e200, "must be less than or equal to 1e150, not 1e200"),
        ("policy.noise_std", 1e-200, "must be greater than or equal to 1e-150, not 1e-200"),
        ("policy.noise_std", 10**200, "must be less than or equal to 1e150, not 1e200"),
        ("policy.delta", 1e-250, "must be greater than or equal to 1e-200, not 1e-250"),
        ("policy.delta", 1.5, "must be less than 1, not 1.5"),
        ("policy.tolerance", -0.001, "must be greater than 0, not -0.001"),
        ("session.max_steps", 0, "must be greater than or equal to 1, not 0"),
        ("session.max_steps", -(10**30), "must be greater than or equal to 1, not -1e30"),
        ("objective.l1", -0.5, "must be greater than or equal to 0, not -0.5"),
    ],
)
def test_limits_and_values_are_said_in_as_few_digits_as_they_have(project, refuses, key, value, said):
    project.put(key, value)
    assert len(refuses(project, f"{key} {said};")) < 200
