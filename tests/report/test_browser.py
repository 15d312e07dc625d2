"""Reports in a browser: silent console, attacks as text, tables that sort, pictures, paper."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.image import imread

from streams.reporting.case_page import case_page
from streams.reporting.overview import overview
from streams.reporting.page import rendered
from tests.report.attacks import ATTACKS, poisoned
from tests.report.browser import NAMES, Browser, find
from tests.report.known import case_facts, installation, traffic

EVERYTHING = " ".join(text for name, text in ATTACKS.items() if name != "long") + " " + ATTACKS["long"]
WIDE, NARROW = 1_280, 400
ENTER = 13


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find()
    if path is None:
        pytest.skip(f"no browser on this machine (none of {', '.join(NAMES)}): reports were not opened in one")
    with Browser(path) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    quiet = (traffic("b", 9), traffic("a", 100), traffic("c", 20))
    made = {
        "attacked installation": rendered(overview(poisoned(installation(), EVERYTHING)), charts=True),
        "attacked incident": rendered(case_page(poisoned(case_facts(), EVERYTHING)), charts=True),
        "installation": rendered(overview(installation(traffic=quiet)), charts=False),
    }
    return {name: write(folder / f"{number}.html", html) for number, (name, html) in enumerate(made.items())}


def write(path: Path, html: str) -> Path:
    path.write_text(html, encoding="utf-8")
    return path


def pixels(browser: Browser) -> npt.NDArray[np.float64]:
    """The screenshot: shape (height, width, 3), 0 to 1."""
    return np.asarray(imread(io.BytesIO(browser.screenshot())), dtype=float)[:, :, :3]


@pytest.mark.parametrize("name", ["attacked installation", "attacked incident"])
def test_a_page_full_of_attacks_opens_in_silence_and_shows_them_as_text(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    browser.emulate("light", WIDE)
    browser.open(pages[name])
    assert browser.problems == []
    assert {each.partition(":")[0] for each in browser.requests} == {"file", "data"}
    assert len([each for each in browser.requests if each.startswith("file")]) == 1
    seen = browser.evaluate("document.body.innerText")
    for attack in ("script", "image", "style", "link", "attribute", "template"):
        assert seen.count(ATTACKS[attack]) > 10
    assert r"\x1b[2J" in seen and r"invoice\u202excod.exe" in seen and r"ig\u200bno\u2060re" in seen
    count = "document.querySelectorAll('{}').length"
    assert browser.evaluate(count.format("script")) == browser.evaluate(count.format("style")) == 1
    assert browser.evaluate(count.format("iframe, object, embed, base, link, form, input, h1 ~ h1, b, [onclick]")) == 0
    assert browser.evaluate("document.title").startswith(("</td>", "inferwatch", "CRITICAL"))


def test_what_got_past_the_escaping_would_be_stopped_by_the_page_s_own_policy(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    attack = (
        "<script>document.title = 'owned'; alert(1)</script><img src=x onerror='document.title = \"owned\"'>"
        "<style>body { display: none }</style><iframe src='data:text/html,x'></iframe>"
        "<img src='http://127.0.0.1:1/x.png'><p style='display: none'>"
    )
    html = pages["installation"].read_text().replace("<main>", f"<main>{attack}", 1)
    browser.open(write(tmp_path / "broken.html", html))
    assert browser.evaluate("document.title") == "inferwatch: state of the installation"
    assert browser.evaluate("getComputedStyle(document.body).display") == "block"
    assert not [each for each in browser.problems if each.startswith(("dialog", "exception"))]
    assert len([each for each in browser.problems if "Content Security Policy" in each]) >= 4


def test_the_browser_would_say_so_if_something_ran(browser: Browser, tmp_path: Path) -> None:
    html = "<script>console.error('seen'); alert('seen'); fetch('http://127.0.0.1:1/'); nothing()</script>"
    browser.open(write(tmp_path / "live.html", html))
    browser.evaluate("new Promise(done => setTimeout(done, 50))")
    kinds = {each.partition(":")[0] for each in browser.problems}
    assert {"dialog", "console.error", "exception"} <= kinds
    assert "http://127.0.0.1:1/" in browser.requests


def column(browser: Browser, title: str, number: int) -> list[str]:
    """A column of the table under that heading, as it is shown."""
    script = f"""
        [...[...document.querySelectorAll("h3")].find(each => each.textContent === {title!r})
            .parentElement.querySelectorAll('[aria-label="{title}"] tbody tr')]
            .map(row => row.cells[{number}].textContent)"""
    found: list[str] = browser.evaluate(script)
    return found


def header(title: str, number: int) -> str:
    return f"document.querySelectorAll('[aria-label=\"{title}\"] th')[{number}]"


def test_tables_sort_by_what_cells_mean_with_mouse_and_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["installation"])
    assert column(browser, "Traffic", 1) == ["9", "100", "20"]
    calls = header("Traffic", 1)
    browser.evaluate(f"{calls}.firstElementChild.click()")
    assert column(browser, "Traffic", 1) == ["9", "20", "100"], "as numbers, not as words"
    browser.evaluate(f"{calls}.firstElementChild.focus()")
    browser.press("Enter", ENTER)
    assert column(browser, "Traffic", 1) == ["100", "20", "9"]
    assert browser.evaluate(f"{calls}.getAttribute('aria-sort')") == "descending"
    browser.evaluate(f"{header('Traffic', 0)}.firstElementChild.click()")
    assert column(browser, "Traffic", 0) == ["a", "b", "c"]
    assert browser.evaluate(f"{calls}.getAttribute('aria-sort')") == "none"
    assert browser.problems == []


@pytest.mark.parametrize("name", ["attacked installation", "attacked incident"])
def test_a_page_is_no_blank_in_light_and_dark(browser: Browser, pages: dict[str, Path], name: str) -> None:
    shown: dict[str, npt.NDArray[np.float64]] = {}
    for scheme in ("light", "dark"):
        browser.emulate(scheme, WIDE)
        browser.open(pages[name])
        browser.evaluate("document.querySelector('img').scrollIntoView()")
        shown[scheme] = pixels(browser)
        assert shown[scheme].shape == (1_000, WIDE, 3)
        assert len(np.unique(shown[scheme] @ (65_536.0, 256.0, 1.0))) > 200, "colors"
        assert shown[scheme].std(axis=(0, 1)).min() > 0.05
        drawn = "[...document.images].every(each => each.complete && each.naturalWidth > 400)"
        assert browser.evaluate(drawn)
    assert shown["light"].mean() > 0.7
    assert shown["dark"].mean() < 0.3


@pytest.mark.parametrize("name", ["attacked installation", "attacked incident"])
def test_on_a_narrow_screen_only_tables_scroll(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.emulate("light", NARROW)
    browser.open(pages[name])
    assert browser.evaluate("document.documentElement.scrollWidth") <= NARROW
    wide = "[...document.querySelectorAll('.wide')].some(each => each.scrollWidth > each.clientWidth)"
    assert browser.evaluate(wide)


def test_paper_is_white_also_for_who_has_a_dark_screen(browser: Browser, pages: dict[str, Path]) -> None:
    browser.emulate("dark", WIDE, media="print")
    browser.open(pages["installation"])
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    paper = browser.printed()
    assert paper.startswith(b"%PDF-") and len(paper) > 10_000
    assert 2 <= paper.count(b"/Type /Page\n") <= 12
