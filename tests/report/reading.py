"""A page as a parser sees it: which elements with which attributes, and the text that a person reads."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

_VOID = {"meta", "img", "source", "br", "link", "base"}
_UNSEEN = {"script", "style", "title"}


class Page(HTMLParser):
    """Elements in order with their attributes, the text that is seen, and what script, style and title hold."""

    def __init__(self, html: str) -> None:
        """Read all of it."""
        super().__init__(convert_charrefs=True)
        self.html = html
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.inside: dict[str, list[str]] = {name: [] for name in _UNSEEN}
        self.others: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        within = self._open[-1] if self._open else ""
        (self.inside[within] if within in _UNSEEN else self.texts).append(data)

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]

    def pictures(self) -> list[bytes]:
        """The pictures inside the file."""
        kept = [*self.attributes("src"), *self.attributes("srcset")]
        assert all(each.startswith("data:image/svg+xml;base64,") for each in kept)
        return [base64.b64decode(each.partition(",")[2], validate=True) for each in kept]
