from __future__ import annotations

import re
import unicodedata

import pytest

from streams.reporting.inert import inert, plain
from tests.report.attacks import ATTACKS


def shown(text: str) -> str:
    """What is seen, without the elements."""
    return re.sub(r"</?(bdi|span)[^>]*>", "", inert(text))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\u202eb", r"a\u202eb"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("a\x00b\r\n\tc", r"a\x00b\r\n\tc"),
        ("half \ud800", r"half \ud800"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("blank\u3164\u2800\u00a0", r"blank\u3164\u2800\xa0"),
        ("Köln 北京 שלום 😀", "Köln 北京 שלום 😀"),
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
        ("e\u0301", "e\u0301"),
    ],
)
def test_what_nobody_would_see_is_written_out_and_letters_stay(text: str, seen: str) -> None:
    assert shown(text) == seen


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_leaves_a_character_that_is_not_seen_or_moves_others(name: str) -> None:
    for text in (inert(ATTACKS[name]), plain(ATTACKS[name])):
        kinds = {unicodedata.category(each) for each in text}
        assert not kinds & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert text.encode()
        assert not re.search(r"[\u0300-\u036f]{3}", text)


def test_an_escape_is_told_from_the_same_letters_typed_by_somebody() -> None:
    assert inert("\x1b") == '<bdi><span class="odd">\\x1b</span></bdi>'
    assert inert("\\x1b") == "<bdi>\\x1b</bdi>"


def test_a_long_text_is_cut_and_says_how_long_it_is() -> None:
    text = inert("x" * 1_000_000)
    assert len(text) < 2_200
    assert "cut here: 1,000,000 characters in all" in text
    assert "cut here" not in inert("x" * 2_000)
