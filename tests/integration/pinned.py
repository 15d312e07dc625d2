"""Fetched once, checked against a pinned hash, kept in a cache that several runs may share."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]

FETCH_TIMEOUT_S = 240
"""Longest wait for a package client, seconds: a registry that accepts and never answers must not hold up a run.
Less than a test's own limit, so that the run says what it waited for."""

QUOTED_CHARS = 200


class UnavailableError(Exception):
    """This machine cannot provide a server; the message names what is missing. A reason to leave tests out."""


class TamperedError(Exception):
    """What was fetched is not what was pinned. Never a reason to leave tests out: it fails them."""


def cache_dir() -> Path:
    """Where downloads stay: ``INFERWATCH_TEST_CACHE``, else ``.cache/test-servers`` in the repository."""
    return Path(os.environ.get("INFERWATCH_TEST_CACHE") or REPOSITORY / ".cache" / "test-servers")


def fetched_once(name: str, fetch: Callable[[Path], None]) -> Path:
    """The directory `name` of the cache, made by `fetch` if it is not there.

    Safe for runs at the same time, and for a run killed in the middle:

    1. one run at a time holds the lock of this name;
    2. `fetch` fills a temporary directory beside it and checks the hashes;
    3. a rename makes it visible, so what has the name is complete and was checked.
    """
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    complete = cache / name
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix=f"{name}.part-") as part:
                tree = Path(part, "tree")
                tree.mkdir()
                fetch(tree)
                tree.rename(complete)
    return complete


def tool(name: str) -> str:
    """The path of a program.

    Raises:
        UnavailableError: it is not on PATH.

    """
    path = shutil.which(name)
    if path is None:
        raise UnavailableError(f"{name} is not on PATH")
    return path


def run_client(command: list[str], *, cwd: Path) -> None:
    """Run a package client, which finds its registry in its own configuration.

    Raises:
        UnavailableError: it could not fetch; the message quotes the first error it printed.

    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, errors="replace", timeout=FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{name} did not fetch within {FETCH_TIMEOUT_S} s") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).splitlines()
        first_error = next((line for line in said if "error" in line.lower()), f"exit status {done.returncode}")
        raise UnavailableError(f"{name} could not fetch: {first_error[:QUOTED_CHARS]}")


def sha256(path: Path) -> str:
    """SHA-256 of a file, lowercase hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_directory(directory: Path, sums: Path) -> None:
    """Compare every file of `directory` with `sums`, a list as sha256sum writes it.

    Raises:
        TamperedError: a file is missing, differs, or is not in the list.

    """
    pinned = {name: digest for digest, name in map(str.split, sums.read_text(encoding="utf-8").splitlines())}
    found = {path.name: sha256(path) for path in directory.iterdir()}
    wrong = sorted(name for name, _ in pinned.items() ^ found.items())
    if wrong:
        raise TamperedError(f"not as pinned in {sums.name}: {', '.join(dict.fromkeys(wrong))}")
