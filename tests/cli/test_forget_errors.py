"""Whatever is wrong with the forget set: exit 2, one line that names lines, never ids."""

import numpy as np
import pytest

_BAD = {
    "empty": ("", "the forget set is empty"),
    "blank": (" \n\t\r\n\n", "the forget set is empty"),
    "unknown": ("person-9999\n", "1 of 1 ids are not in /train.npz (first: line 1)"),
    "one unknown": ("person-0003\n\nperson-9999\n", "1 of 2 ids are not in /train.npz (first: line 3)"),
    "twice": ("person-0003\nperson-0050\nperson-0003\n", "line 3 repeats the id of line 1"),
    "twice with spaces": ("person-0003\n  person-0003 \n", "line 2 repeats the id of line 1"),
    "a header": ("id\nperson-0003\n", "1 of 2 ids are not in /train.npz (first: line 1)"),
    "a table": ("person-0003,person-0004\n", "are not in /train.npz"),
    "quotes": ('"person-0003"\n', "are not in /train.npz"),
    "other case": ("PERSON-0003\n", "are not in /train.npz"),
    "latin-1": (b"pers\xf6n\n", "is not UTF-8 text"),
    "utf-16": ("person-0003\n".encode("utf-16"), "is not UTF-8 text"),
}


@pytest.mark.parametrize(("content", "trouble"), _BAD.values(), ids=_BAD)
def test_a_forget_set_that_makes_no_sense_is_refused(project, refuses, content, trouble):
    project.write("forget.txt", content)
    refuses(project, "forget.txt: ", trouble)


def test_forgetting_everybody_is_refused(project, refuses):
    project.write("forget.txt", "\n".join(project.arrays["ids"]))
    refuses(project, "forget.txt: every record is to be forgotten", "withdraw the model instead")


@pytest.mark.parametrize("spoil", ["missing", "folder"])
def test_a_forget_set_that_is_not_there_is_refused(project, refuses, spoil):
    project.remove("forget.txt")
    if spoil == "folder":
        (project.folder / "forget.txt").mkdir()
    refuses(project, "forget.txt: " + ("no such file" if spoil == "missing" else "is a folder"))


@pytest.mark.parametrize(
    "write",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.rstrip("\n").encode(),
        lambda text: ("\n\n" + text.replace("\n", "  \n\n")).encode(),
    ],
    ids=["crlf", "byte-order mark", "no last line end", "blank lines and spaces"],
)
def test_marks_of_other_editors_change_nothing(project, certify, write):
    project.write("forget.txt", write((project.folder / "forget.txt").read_text()))
    assert certify("check", project.path, "--quiet").code == 0


@pytest.mark.parametrize("text", ["-1", "200", "3.0", "1_0", "+3", "03", "\u0663", "three", "9" * 5_000, "0x3"])
def test_row_numbers_have_one_spelling(project, refuses, text):
    """A typing error must not name another person's record: int() alone reads 1_0 as 10."""
    project.data(ids=None)
    project.write("forget.txt", f"0\n{text}\n")
    refuses(project, "forget.txt: 1 of 2 ids are not in /train.npz (first: line 2)")


def test_row_numbers_count_from_zero_where_the_data_has_no_ids(project, projects, certify):
    project.data(ids=None)
    project.write("forget.txt", "".join(f"{row}\n" for row in projects.FORGOTTEN))
    assert certify("check", project.path, "--quiet").code == 0


@pytest.mark.parametrize("first", [2**63, -(2**62)])
def test_ids_of_any_whole_number_are_found(project, projects, certify, first):
    dtype = np.uint64 if first > 0 else np.int64
    project.data(ids=np.array([first + row for row in range(200)], dtype=dtype))
    project.write("forget.txt", "".join(f"{first + row}\n" for row in projects.FORGOTTEN))
    assert certify("check", project.path, "--quiet").code == 0


def spaced(project, *rows: int):
    """These people's ids with spaces around them in the data, where they count."""
    ids = project.arrays["ids"].astype("U32")
    for row in rows:
        ids[row] = f" {ids[row]}  "
    project.data(ids=ids)


@pytest.mark.parametrize("line", ["person-0003", " person-0003  ", "\tperson-0003"])
def test_an_id_that_matches_but_for_spaces_around_it_is_said_to(project, refuses, line):
    spaced(project, 3)
    project.write("forget.txt", f"person-0050\n{line}\nperson-0077\n")
    refuses(
        project,
        "forget.txt: 1 of 3 ids are not in /train.npz (first: line 2)",
        "1 of them would match but for spaces around the id there",
        "take the spaces off the ids in /train.npz",
    )


def test_how_many_ids_match_but_for_spaces_is_counted(project, refuses):
    spaced(project, 3, 50)
    project.write("forget.txt", "person-0003\nperson-0050\nperson-9999\nperson-0077\n")
    refuses(project, "3 of 4 ids are not in /train.npz (first: line 1); 2 of them would match but for spaces")


def test_an_id_with_spaces_is_not_taken_for_the_one_without(project, refuses, certify):
    """The data know "a" and " a  ", two people: which of them a line with spaces means, nobody can tell."""
    ids = project.arrays["ids"].astype("U32")
    ids[4] = f" {ids[3]}  "
    project.data(ids=ids)
    project.write("forget.txt", "person-0050\n person-0003  \n")
    refuses(project, "forget.txt: line 2 has spaces around its id", "both with and without")
    project.write("forget.txt", "person-0003\nperson-0050\nperson-0077\nperson-0121\n")  # without spaces it is plain
    assert certify("check", project.path, "--quiet").code == 0
