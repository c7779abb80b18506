"""The document survives its JSON, and damaged or newer ones are refused."""

import json
import math
from types import ModuleType

import pytest

from certify.core.errors import InputError
from certify.reports.schema import Document, parse_document


def test_a_document_survives_its_json(document: Document) -> None:
    assert parse_document(document.to_json(), where="x") == document


def test_infinity_is_a_string_in_json_and_a_number_again(samples: ModuleType) -> None:
    text = samples.unbounded().to_json()
    assert json.loads(text)["bounds"]["distance"] == "Infinity"
    assert parse_document(text, where="x").bounds is not None
    assert math.isinf(parse_document(text, where="x").bounds.distance)  # type: ignore[union-attr]
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no schema_version"),
        ('{"schema_version": 1}', "no schema_version"),
        ('{"schema_version": "2.0"}', "schema version"),
        ('{"schema_version": "1.0"}', "damaged"),
    ],
)
def test_what_is_not_a_document_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse_document(text, where="c.json")
    assert "\n" not in str(caught.value)


def test_unknown_fields_are_refused(samples: ModuleType) -> None:
    raw = samples.document().to_dict() | {"surprise": 1}
    with pytest.raises(InputError, match="surprise"):
        parse_document(json.dumps(raw), where="x")


def test_every_byte_of_truncation_is_noticed(samples: ModuleType) -> None:
    text = samples.document().to_json().rstrip()
    for cut in range(0, len(text), 97):
        with pytest.raises(InputError):
            parse_document(text[:cut], where="x")


def test_a_newer_minor_version_is_named_as_such(samples: ModuleType) -> None:
    raw = samples.document().to_dict() | {"schema_version": "1.7", "surprise": 1}
    with pytest.raises(InputError, match="newer certify"):
        parse_document(json.dumps(raw), where="x")
