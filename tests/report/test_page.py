"""Pages of facts that are full of attacks: what a browser would make of them."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import unicodedata
import warnings
import xml.etree.ElementTree as ET
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dashboards.cells import SEVERITY_COLORS
from streams import reporting
from streams.reporting import drawing
from streams.reporting.case_page import case_page
from streams.reporting.charts import Frame, Timeline
from streams.reporting.overview import overview
from streams.reporting.page import SCRIPT, STYLE, rendered
from streams.reporting.palette import SERIES, SEVERITIES
from tests.report.attacks import ATTACKS, poisoned
from tests.report.known import NOW_S, case_facts, installation, traffic
from tests.report.reading import Page

MAKERS: dict[str, Any] = {"installation": lambda text: overview(_facts(installation(), text)),
                          "incident": lambda text: case_page(_facts(case_facts(), text))}  # fmt: skip
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "p", "main", "section", "bdi"),
    *("span", "ul", "ol", "li", "strong", "dl", "div", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td"),
    *("button", "figure", "figcaption", "picture", "source", "img", "pre", "a", "footer", "script"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "scope", "aria-sort", "aria-label", "role"),
    *("tabindex", "type", "data-key", "media", "srcset", "alt", "src", "download", "href"),
}


def _facts(facts: Any, text: str | None) -> Any:
    return facts if text is None else poisoned(facts, text)


@functools.cache
def html_of(name: str, text: str | None = None) -> str:
    return rendered(MAKERS[name](text), charts=False)


@functools.cache
def page_of(name: str, text: str | None = None) -> Page:
    return Page(html_of(name, text))


@pytest.fixture(scope="module")
def drawn() -> Page:
    """A page with charts, with an attack in every string."""
    names = ("script", "mathtext", "terminal", "direction", "lines", "half")
    return Page(rendered(MAKERS["incident"](" ".join(ATTACKS[name] for name in names)), charts=True))


def skeleton(page: Page) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """All but what stands around texts (a line of a query each), and what is sorted by or kept for machines."""
    return [
        (tag, tuple((name, value) for name, value in attributes.items() if name not in {"href", "data-key"}))
        for tag, attributes in page.elements
        if tag != "bdi" and attributes.get("class") not in {"odd", "cut"}
    ]


def acting(html: str) -> set[str]:
    """The characters that do something where they are printed."""
    return {each for each in html if unicodedata.category(each) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", MAKERS)
def test_an_attack_in_every_field_makes_no_element_and_no_attribute(name: str, attack: str) -> None:
    page = page_of(name, ATTACKS[attack])
    assert skeleton(page) == skeleton(page_of(name, "harmless"))
    assert not page.others, "a comment, or something declared"


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", MAKERS)
def test_an_attack_is_shown_as_text_without_a_character_that_acts(name: str, attack: str) -> None:
    html, page = html_of(name, ATTACKS[attack]), page_of(name, ATTACKS[attack])
    assert acting(html) <= {"\n"}
    first = re.split(r"[^ -~]", ATTACKS[attack][:60])[0]
    assert page.text.count(first) > 10
    assert len(html) < 3_000_000


@pytest.mark.parametrize("name", MAKERS)
def test_there_are_only_elements_and_attributes_of_the_template(name: str) -> None:
    page = page_of(name, ATTACKS["attribute"])
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert {each for _, attributes in page.elements for each in attributes} <= ATTRIBUTES


def test_nothing_of_a_page_comes_from_elsewhere(drawn: Page) -> None:
    kept = [*drawn.attributes("src"), *drawn.attributes("srcset"), *drawn.attributes("href")]
    assert len(kept) > 5
    assert all(each.startswith(("data:image/svg+xml;base64,", "data:application/json;base64,")) for each in kept)
    style = drawn.inside["style"][0]
    assert "url(" not in style and "@import" not in style


@pytest.mark.parametrize("attack", [None, "script"])
@pytest.mark.parametrize("name", MAKERS)
def test_the_page_may_run_one_script_of_ours_and_nothing_else(name: str, attack: str | None) -> None:
    page = page_of(name, None if attack is None else ATTACKS[attack])
    (said,) = [each["content"] for _, each in page.elements if each.get("http-equiv") == "Content-Security-Policy"]
    policy = dict(part.split(" ", 1) for part in said.split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["img-src"] == "data:"
    for tag, file in (("script", SCRIPT), ("style", STYLE)):
        (text,) = page.inside[tag]
        assert text == files(reporting).joinpath(file).read_text()
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"


def test_the_script_makes_no_markup_of_text() -> None:
    script = files(reporting).joinpath(SCRIPT).read_text()
    makers = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function|fetch|import|setTimeout"
    assert not re.search(makers, script)


@pytest.mark.parametrize("hours", [0.01, 0.1, 1.0, 2.9, 4.97, 7.9, 23.0, 47.0, 70.0, 168.0, 2_000.0])
def test_an_axis_has_ticks_for_every_length_of_time(hours: float) -> None:
    frame = Frame(since_s=NOW_S - hours * 3_600.0, until_s=NOW_S, step_s=60.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = drawing.drawn(Timeline(title="", frame=frame, dots=()))
    assert 3 <= svg.count(b'id="xtick_') <= 10


def test_a_scope_that_nobody_knows_is_inert_too() -> None:
    case = case_facts().case
    incident = msgspec.structs.replace(case.incident, scope=ATTACKS["terminal"], subject="other")
    facts = case_facts(case=msgspec.structs.replace(case, incident=incident))
    assert acting(rendered(case_page(facts), charts=False)) <= {"\n"}


def test_names_of_series_are_as_inert_as_the_rest(drawn: Page) -> None:
    assert acting(drawn.html) <= {"\n"}
    assert len([each for tag, each in drawn.elements if each.get("class", "").startswith("series")]) >= 10


def test_a_picture_holds_no_text_but_names_of_detectors_and_nothing_that_acts(drawn: Page) -> None:
    pictures = drawn.pictures()
    assert len(pictures) >= 8 and len(pictures) % 2 == 0
    for picture in pictures:
        root = ET.fromstring(picture)  # noqa: S314 - of our own making
        tags = {each.tag.rpartition("}")[2] for each in root.iter()}
        assert tags <= {"svg", "defs", "style", "g", "path", "use", "text", "clipPath", "rect"}
        for each in root.iter():
            assert not [name for name in each.attrib if name.rpartition("}")[2].startswith("on")]
            reference = each.get("{http://www.w3.org/1999/xlink}href")
            assert reference is None or re.fullmatch(r"#\w+", reference)


def test_the_same_facts_are_the_same_bytes() -> None:
    pages = [rendered(case_page(case_facts()), charts=False) for _ in range(2)]
    assert pages[0] == pages[1]
    chart = next(
        each for section in overview(installation()).sections for each in section.blocks if each.kind == "chart"
    )
    assert drawing.drawn(chart) == drawing.drawn(chart) != drawing.darkened(drawing.drawn(chart))


@pytest.mark.parametrize("attack", [None, *ATTACKS])
def test_machines_find_all_of_it_as_json(attack: str | None) -> None:
    text = None if attack is None else ATTACKS[attack][:1_000]
    facts = _facts(case_facts(), text)
    (link,) = [each for tag, each in Page(rendered(case_page(facts), charts=False)).elements if tag == "a"]
    assert link["download"] == "inferwatch-incident.json"
    read = json.loads(base64.b64decode(link["href"].partition(",")[2], validate=True))
    assert read["case"]["incident"]["summary"] == facts.case.incident.summary
    assert read["numbers"]["calls"][0]["prompt"] == facts.numbers.calls[0].prompt


def test_of_a_text_without_end_machines_get_the_beginning() -> None:
    read = json.loads(overview(_facts(installation(), ATTACKS["long"])).attachment)
    assert read["told"][0]["summary"] == "x" * 4_000 + " (cut here: 1,000,000 characters in all)"


def test_a_number_that_is_none_is_null_for_machines() -> None:
    facts = installation(traffic=(msgspec.structs.replace(traffic(), p50_s=float("nan")),))
    assert json.loads(overview(facts).attachment)["traffic"][0]["p50_s"] is None


def test_without_matplotlib_charts_are_tables_and_the_page_says_what_is_missing() -> None:
    page = page_of("incident")
    assert not page.attributes("src")
    assert drawing.INSTALL in page.text
    assert "p50 to the first token" in page.text


def test_severities_have_the_colors_of_the_dashboards_in_style_and_charts() -> None:
    assert dict(SEVERITIES) == SEVERITY_COLORS
    style = files(reporting).joinpath(STYLE).read_text()
    assert all(color.lower() in style for color in (*SEVERITIES.values(), *SERIES))


def test_the_first_sentence_says_what_is_wrong_where_and_since_when() -> None:
    said = overview(installation()).verdict
    assert said.startswith("1 open incident, the worst critical, since 2025-06-15 15:06:40Z (2 h 0 min ago). chat: ")
    assert overview(installation()).look == "sev critical"


@pytest.mark.parametrize(
    ("heard", "said", "look"),
    [
        ((), "Nothing is known: no event arrived", "blind"),
        ((traffic(last_s=NOW_S - 7_200.0),), "No open incident, but nothing has arrived for 2 h 0 min", "blind"),
        ((traffic(),), "No open incident; 100 calls seen. Some detectors are blind in 1 deployment.", "well"),
    ],
)
def test_no_incident_is_good_news_only_while_events_arrive(heard: tuple[Any, ...], said: str, look: str) -> None:
    document = overview(installation(cases=(), traffic=heard))
    assert document.verdict.startswith(said)
    assert document.look == look


def test_an_incident_begins_with_its_likeliest_cause_and_how_long_it_lasts() -> None:
    said = case_page(case_facts()).verdict
    assert said == "Most likely: The model's weights were modified. Since 2025-06-15 15:06:40Z, open for 2 h 0 min."


def test_what_is_on_record_and_who_works_on_it_is_said() -> None:
    case = case_facts().case
    incident = msgspec.structs.replace(case.incident, quiet="maintenance", kept_quiet=("at night", "maintenance"))
    text = Page(
        rendered(case_page(case_facts(case=msgspec.structs.replace(case, incident=incident))), charts=False)
    ).text
    assert re.search(r"works on it\s*lee", text)
    assert re.search(r"nobody is told\s*maintenance", text) and re.search(r"was kept quiet\s*at night", text)
    assert "1 d 0 h before" in text and "T-1" in text
    assert re.search(r"weights\s*sha256:old, attested in ci 2025-06-15 14:06:40Z", text)


def test_who_may_not_read_events_gets_the_incident_and_is_told_what_is_missing() -> None:
    page = Page(rendered(case_page(case_facts(numbers=None)), charts=False))
    assert "may not read events" in page.text
    assert "served_model_change" in page.text


def test_texts_of_calls_are_only_there_when_they_were_asked_for() -> None:
    with_texts, without = (
        Page(rendered(case_page(case_facts(with_texts=asked)), charts=False)).text for asked in (True, False)
    )
    assert "what is asked" in with_texts
    assert "what is asked" not in without


def luminance(color: str) -> float:
    """Relative luminance as WCAG defines it, 0 to 1."""
    channels = [int(color[at : at + 2], 16) / 255.0 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_color_of_text_can_be_read_on_its_ground(scheme: int) -> None:
    style = files(reporting).joinpath(STYLE).read_text()
    colors = dict(re.findall(r"--(\w+): (#\w{6})", re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)[scheme]))
    for ink in ("ink", "soft", "odd", "link"):
        for ground in ("paper", "tint"):
            low, high = sorted(map(luminance, (colors[ink], colors[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_every_picture_has_a_text_and_every_column_a_heading(drawn: Page) -> None:
    pictures = [attributes for tag, attributes in drawn.elements if tag == "img"]
    assert all(each["alt"].startswith("Chart: ") for each in pictures)
    assert {each.get("scope") for tag, each in drawn.elements if tag == "th"} == {"col"}


ROOT = Path(__file__).resolve().parents[2]


def test_the_pictures_of_the_readme_are_there_and_small() -> None:
    named = set(re.findall(r"\]\((tests/report/pictures/\w+\.png)\)", (ROOT / "README.md").read_text()))
    assert named == {str(path.relative_to(ROOT)) for path in (ROOT / "tests/report/pictures").glob("*")}
    assert len(named) >= 3
    for name in named:
        picture = (ROOT / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert 10_000 < len(picture) < 200_000
