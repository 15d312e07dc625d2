"""The pictures of the README: the demo's own reports in a browser. ``make screenshots`` makes them anew."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.report.browser import Browser, find

PICTURES = Path(__file__).with_name("pictures")
WIDTH, HEIGHT = 1_280, 920


def main() -> None:
    """Play the demo in a directory of its own, write its two reports, and take pictures of them."""
    path = find()
    if path is None:
        sys.exit("no Chromium on the path: install it (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory(prefix="inferwatch-screenshots-") as name:
        place = Path(name)
        _run(place, "demo")
        _run(place, "report", "--since", "8h", "--output", "all.html")
        cases = [json.loads(line) for line in _run(place, "incidents", "list", "--json").splitlines()]
        serving = [case["incident"] for case in cases if case["incident"]["component"] == "serving"]
        longest = max(serving, key=lambda incident: incident["count"])
        _run(place, "report", longest["incident_id"], "--output", "one.html")
        with Browser(path) as browser:
            _picture(browser, place / "all.html", "light", "installation", "html")
            _picture(browser, place / "one.html", "light", "incident", "html")
            _picture(browser, place / "one.html", "dark", "course", "figure")


def _run(place: Path, *arguments: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_")}
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        cwd=place,
        env=environ | {"INFERWATCH_DATA_DIR": str(place / "data")},
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.decode()


def _picture(browser: Browser, page: Path, scheme: str, name: str, at: str) -> None:
    browser.emulate(scheme, WIDTH, HEIGHT)
    browser.open(page)
    browser.evaluate(f"document.querySelector({at!r}).scrollIntoView(), 0")
    browser.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    image = Image.open(io.BytesIO(browser.screenshot())).convert("RGB")
    # A repository keeps every version of a picture: 256 colors, of which none is far from what it was.
    image = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE, kmeans=1)
    PICTURES.mkdir(exist_ok=True)
    image.save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
