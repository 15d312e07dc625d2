"""The one directory of the engine in this process: it serves no second one for as long as the process lives."""

from __future__ import annotations

import functools
import tempfile

_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def chdb_url() -> str:
    """The address for `Settings.clickhouse_url`; the directory goes when the process ends."""
    _KEPT.append(tempfile.TemporaryDirectory(prefix="inferwatch-chdb-", ignore_cleanup_errors=True))
    return f"chdb://{_KEPT[0].name}"
