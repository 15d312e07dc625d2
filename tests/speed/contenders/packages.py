"""The packages of a contender that nobody else needs: fetched when the bench runs, checked against their lock."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.integration.pinned import fetched_once, run_client, sha256

LOCK = Path(__file__).with_name("quix.lock")


def quix() -> Path:
    """A folder with Quix Streams and what it needs. Raises `UnavailableError` where it cannot be fetched."""

    def fetch(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        run_client([*pip, "--require-hashes", "--target", str(folder), "-r", str(LOCK)], cwd=folder)

    return fetched_once(f"quix-{sha256(LOCK)[:16]}", fetch)
