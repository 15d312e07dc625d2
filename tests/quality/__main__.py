"""Runs the bench: ``python -m tests.quality [--task NAME] [--seeds N] [--seed S]``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.quality.bench import DATA, HERE, PACKAGE, Bench, NoSuchTaskError, discover


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.quality", description="How good the detectors are.")
    parser.add_argument("--task", action="append", default=[], help="only this one; may be given again")
    parser.add_argument("--seeds", type=int, help="fewer runs than the task asks for")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of real data")
    parser.add_argument("--out", type=Path, default=HERE, help="where RESULTS.md, results/ and plots/ go")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """What `make quality` runs."""
    given = _parser().parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # before the processes start: two of them on two cores
    console = Console(stderr=True)
    if not given.data.is_dir():
        console.print(f"there is no data in {given.data}: the whole bench is left out ({', '.join(discover())})")
        return 0
    try:
        return Bench(PACKAGE, given.data, given.out, console).run(given.task, given.seeds, given.seed)
    except NoSuchTaskError as error:
        console.print(str(error), style="red", markup=False)
        return 2


if __name__ == "__main__":
    sys.exit(main())
