"""A worker that joins, is given its partitions and then does nothing, as if a library hung: no error, no commit."""

from __future__ import annotations

import asyncio
from typing import Any

from streams import app, cli


async def _hang(*_: Any) -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    app.consume = _hang
    cli.main()
