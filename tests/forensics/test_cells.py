"""CSV that a spreadsheet shows and never runs."""

from __future__ import annotations

import csv
import io

import pytest

from streams.forensics.cells import csv_of, neutral

RUN = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "＋1", "－1", "＠SUM(A1)", "﹦1", "−1", "⁼1"]  # noqa: RUF001 - look-alikes
HIDDEN = [' =cmd|" /C calc"!A0', "\ufeff=1", "\u200b=1", '"=1', "\n=1", "\x00=1", "\u00a0=1", "\u3000\uff1d1", "\x0b=1"]


@pytest.mark.parametrize("text", RUN + HIDDEN, ids=ascii)
def test_a_cell_that_would_run_begins_with_an_apostrophe(text: str) -> None:
    if text.startswith("\x00"):
        assert neutral(text) == "\\x00=1"  # begins with a backslash now
        return
    assert neutral(text).startswith("'")


@pytest.mark.parametrize("separator", [";", "\t", "|", "\n", "\r\n", "\u2028"], ids=ascii)
@pytest.mark.parametrize("gap", ["", " ", '"', "\ufeff"], ids=ascii)
def test_what_stands_behind_any_separator_does_not_run_either(separator: str, gap: str) -> None:
    assert f"{separator}{gap}'=1" in neutral(f"a{separator}{gap}=1")


@pytest.mark.parametrize(
    "text", ["", "a", "a=b", "a-b", "mail@example.com", "2026-11-22T14:05:00Z", "1 - 1", "a;b", "'=1"]
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert neutral(text) == text


def test_numbers_stay_numbers_and_texts_are_quoted() -> None:
    lines = b"".join(
        csv_of(["n", "=head", "text", "none", "list"], [(-1, -0.5, "-1", None, ["=a", "b"]), (True, 7, 'q"q', "", {})])
    )
    assert lines == (
        b'"n","\'=head","text","none","list"\r\n-1,-0.5,"\'-1","","[""=a"",""b""]"\r\n"true",7,"q""q","","{}"\r\n'
    )


def test_a_reader_of_csv_gets_the_same_cells_back() -> None:
    texts = ["a,b", 'q"q', "line\nend", "Köln 北京 \u202e", ";;", "'"]
    (row,) = csv.reader(io.StringIO(b"".join(csv_of([], [texts])).decode().split("\r\n", 1)[1], newline=""))
    assert row == texts


def test_text_that_is_no_text_is_written_all_the_same() -> None:
    assert b"\\ud800" in b"".join(csv_of(["a"], [["\ud800"]]))
