"""A document as one HTML file: nothing of it comes from elsewhere, and nothing that anybody wrote does anything.

The template escapes every value. On top of that the page's own policy lets run one script and one style, by their
hashes, and load nothing but pictures inside the file: what got past the escaping would still do nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources

import jinja2
from markupsafe import Markup

from streams import reporting
from streams.reporting import drawing
from streams.reporting.blocks import Cell, Document, Table, name_cell, number_cell, severity_cell, time_cell
from streams.reporting.charts import Chart, Timeline
from streams.reporting.inert import inert, plain

TEMPLATE, STYLE, SCRIPT = "report.html.jinja", "report.css", "sorting.js"


def rendered(document: Document, *, charts: bool) -> str:
    """The file. Without `charts` their numbers are tables, and a note says which extra draws them."""
    style, script = _resource(STYLE), _resource(SCRIPT)
    return _template().render(
        document=document,
        charts=charts,
        install=drawing.INSTALL,
        policy=policy(style, script),
        style=Markup(style),  # noqa: S704 - ours, and fixed
        script=Markup(script),  # noqa: S704 - as above
        attachment=_data("application/json", document.attachment),
    )


def policy(style: str, script: str) -> str:
    """What the page may do: be shown."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "inert": inert,
        "plain": plain,
        "drawn": drawing.drawn,
        "light": _svg,
        "dark": _dark_svg,
        "as_table": as_table,
    }
    environment.globals |= {"colors": drawing.colors}
    return environment.from_string(_resource(TEMPLATE))


@functools.cache
def _resource(name: str) -> str:
    return importlib.resources.files(reporting).joinpath(name).read_text(encoding="utf-8")


def _svg(svg: bytes) -> str:
    return _data("image/svg+xml", svg)


def _dark_svg(svg: bytes) -> str:
    return _svg(drawing.darkened(svg))


def _data(kind: str, content: bytes) -> str:
    """A data URL: nothing in base64 can end the attribute that it is in."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def as_table(picture: Chart | Timeline) -> Table:
    """The numbers of a picture, for where it cannot be drawn."""
    rows: list[tuple[Cell, ...]]
    if isinstance(picture, Timeline):
        columns: tuple[str, ...] = ("time", "detector", "severity")
        rows = [(time_cell(dot.time_s), name_cell(dot.row), severity_cell(dot.severity)) for dot in picture.dots]
    else:
        columns = ("time", *(line.name for line in picture.lines))
        rows = [
            (time_cell(time_s), *(number_cell(line.values[index]) for line in picture.lines))
            for index, time_s in enumerate(picture.times_s)
        ]
    return Table(title=picture.title, columns=columns, rows=tuple(rows), empty="nothing to draw", note=picture.note)
