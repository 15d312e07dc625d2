"""An answer of the store in a form of the server's own: bytes as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from urllib3.exceptions import HTTPError

_PIECE_BYTES = 65_536


class Reply:
    """The bytes of an answer, once; `summary` is what the server says of its work, where it was asked to wait."""

    def __init__(self, stream: Any, errors: Callable[[], AbstractContextManager[None]]) -> None:
        """`stream` is the driver's; `errors` makes errors of ours out of its."""
        self._stream = stream
        self._errors = errors
        self.summary: dict[str, str] = json.loads(getattr(stream, "headers", {}).get("X-ClickHouse-Summary") or "{}")

    def __iter__(self) -> Iterator[bytes]:
        """The bytes. Raises `StoreError`: a server that gives up in the middle says so behind what it has sent."""
        tail = b""
        read = getattr(self._stream, "read1", self._stream.read)
        try:
            with self._errors():
                try:
                    while piece := read(_PIECE_BYTES):
                        tail = (tail + piece)[-_PIECE_BYTES:]
                        yield piece
                except HTTPError as error:
                    raise OSError(_last_words(tail)) from error
        finally:
            self._stream.close()

    def fail(self, said: bytes) -> NoReturn:
        """Raise the `StoreError` that a server wrote into its answer."""
        with self._errors():
            raise OSError(_last_words(said))
        raise AssertionError  # `errors` never lets an OSError pass


def _last_words(tail: bytes) -> str:
    """The exception behind the part of the answer that came; texts before it stay out."""
    _, _, said = tail.decode("utf-8", "replace").rpartition("Code: ")
    return f"Code: {said}" if "DB::Exception" in said else "the connection broke"
