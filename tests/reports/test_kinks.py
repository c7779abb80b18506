"""The bound by the duality gap in every place where bounds are shown, and nowhere when it was not computed."""

import json

from certify.reports import figures
from certify.reports.html import render_html
from certify.reports.schema import parse_document
from certify.reports.text import render_text


def test_the_gap_is_shown_where_it_was_computed(samples):
    document = samples.document(bounds=samples.bounds(duality_gap=2.0**-21))
    assert "Duality gap bound" in render_html(document)
    assert "duality gap: 4.77 × 10⁻⁷" in figures.distance_bounds(document)


def test_the_gap_is_absent_where_it_was_not(samples):
    assert "uality gap" not in render_html(samples.document())


def test_documents_from_before_the_gap_are_read(samples):
    old = samples.document().to_dict()
    del old["bounds"]["duality_gap"], old["objective"]["l1"]
    read = parse_document(json.dumps(old), where="old.json")
    assert read.bounds is not None
    assert read.bounds.duality_gap is None
    assert read.objective is not None
    assert read.objective.l1 == 0


def test_an_l1_term_stands_in_the_first_line(samples):
    document = samples.document()
    assert document.objective is not None
    sparse = samples.document(objective=document.objective.model_copy(update={"l1": 2.5}))
    assert "l1 = 2.5" in render_text(sparse)
    assert "l1" not in render_text(document)
