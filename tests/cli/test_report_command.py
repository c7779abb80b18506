"""`certify report`: a certificate in, a page out; a damaged or edited one is refused."""

import json

import pytest

_TEXTS = ("text", "json", "markdown", "html", "sarif", "junit")


@pytest.fixture
def certificate(project, certify, monkeypatch):
    """The path of a certificate just written."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    path = project.folder / "certificate.json"
    assert certify("check", project.path, "--quiet", "--output", path).code == 0
    return path


@pytest.mark.parametrize("name", _TEXTS)
def test_a_certificate_renders_as_the_check_did(project, certify, certificate, name):
    shown = certify("report", certificate, "--format", name)
    assert shown.code == 0
    assert shown.stdout == certify("check", project.path, "--format", name).stdout


def test_a_page_of_a_failure_was_still_made(project, certify):
    path = project.folder / "certificate.json"
    certify("check", project.put("release.model", "original.npz").path, "--quiet", "--output", path)
    done = certify("report", path)
    assert done.code == 0
    assert "FAIL" in done.stdout


def test_output_replaces_standard_output(certify, certificate):
    page = certificate.with_name("page.html")
    done = certify("report", certificate, "--output", page)
    assert (done.code, done.stdout) == (0, "")
    assert "</html>" in page.read_text()


def test_a_certificate_is_not_overwritten_by_its_page(certify, certificate):
    before = certificate.read_bytes()
    assert certify("report", certificate, "--output", certificate).code == 2
    assert certificate.read_bytes() == before


def _refused(certify, path, *fragments):
    done = certify("report", path)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert [fragment for fragment in (path.name, "; ", *fragments) if fragment not in done.stderr] == []


_NOT_JSON = {
    "empty": b"",
    "words": b"hello",
    "deep": b"[" * 100_000,
    "endless number": b'{"schema_version": ' + b"1" * 9_000 + b"}",
}


@pytest.mark.parametrize("content", _NOT_JSON.values(), ids=_NOT_JSON)
def test_a_file_that_is_not_json_is_refused(tmp_path, certify, content):
    path = tmp_path / "certificate.json"
    path.write_bytes(content)
    _refused(certify, path, "is not JSON", "certify check --output json=FILE")


@pytest.mark.parametrize("content", ["1", "[]", "{}", "null", '{"schema_version": 1.0}'])
def test_json_that_is_no_certificate_is_refused(tmp_path, certify, content):
    path = tmp_path / "certificate.json"
    path.write_text(content)
    _refused(certify, path, "is not a certificate")


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_certificate_that_cannot_be_read_is_refused(tmp_path, certify, kind):
    path = tmp_path / "certificate.json"
    if kind == "folder":
        path.mkdir()
    if kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    _refused(certify, path, {"missing": "no such file", "folder": "is a folder", "binary": "is not UTF-8"}[kind])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_certificate_is_refused(certify, certificate, share):
    content = certificate.read_bytes()
    certificate.write_bytes(content[: int(share * len(content))])
    _refused(certify, certificate, "is not JSON")


_EDITS = {
    "newer version": (lambda d: d.update(schema_version="2.0"), "has schema version '2.0'"),
    "no version": (lambda d: d.update(schema_version=""), "has schema version ''"),
    "unknown verdict": (lambda d: d.update(verdict="passs"), "certificate's verdict is damaged"),
    "missing part": (lambda d: d.pop("policy"), "certificate's policy is damaged"),
    "unknown part": (lambda d: d.update(zz=1), "certificate's zz is damaged"),
    "wrong type": (lambda d: d["guarantee"].update(epsilon=[1]), "certificate's guarantee.epsilon is damaged"),
    "verdict": (lambda d: d.update(verdict="fail", exit_code=1), "contradict each other"),
    "exit code": (lambda d: d.update(exit_code=1), "contradict each other"),
    "one check": (lambda d: d["checks"][-1].update(verdict="fail"), "contradict each other"),
    "no checks": (lambda d: d.update(checks=[]), "contradict each other"),
}


@pytest.mark.parametrize(("edit", "trouble"), _EDITS.values(), ids=_EDITS)
def test_an_edited_certificate_is_refused(certify, certificate, edit, trouble):
    document = json.loads(certificate.read_text())
    edit(document)
    certificate.write_text(json.dumps(document))
    _refused(certify, certificate, trouble)


def test_a_failure_edited_into_a_pass_is_refused(project, certify):
    path = project.folder / "certificate.json"
    certify("check", project.put("release.model", "original.npz").path, "--quiet", "--output", path)
    document = json.loads(path.read_text()) | {"verdict": "pass", "exit_code": 0}
    path.write_text(json.dumps(document))
    _refused(certify, path, "contradict each other")
