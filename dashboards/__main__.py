# ruff: noqa: T201 - a command line prints
"""``python -m dashboards build``: write what Grafana is provisioned with, or check that it is fresh."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.build import PROVISIONING, stale, write


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when fresh or written, 1 when `--check` finds stale files."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser(
        "build", help="write the provisioning files", description="example: python -m dashboards build"
    )
    build.add_argument("--check", action="store_true", help="write nothing; exit 1 and name the files that are stale")
    build.add_argument("--to", type=Path, default=PROVISIONING, metavar="DIR", help="default: %(default)s")
    given = parser.parse_args(arguments)
    if given.check:
        names = stale(given.to)
        for name in names:
            print(f"stale: {name}", file=sys.stderr)
        if names:
            print("run `python -m dashboards build` and commit the result", file=sys.stderr)
        return 1 if names else 0
    for name in write(given.to):
        print(f"written: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
