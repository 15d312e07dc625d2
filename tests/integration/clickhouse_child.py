"""The ClickHouse engine's library as a server process.

Run as a script: ``python clickhouse_child.py LIBRARY ARGUMENT...``, arguments as clickhouse-local takes them.
"""

from __future__ import annotations

import ctypes
import os
import sys

SERVE = (
    "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; "
    "SELECT sleepEachRow(1) FROM system.numbers "
    "SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0 FORMAT Null"
)
"""Opens both ports, then never returns: the engine serves for as long as its own query runs."""


def main(library: str, arguments: list[str]) -> int:
    """Serve until a signal ends the process; returns the engine's exit code."""
    line = [os.fsencode(argument) for argument in ("clickhouse", *arguments, "--query", SERVE)]
    return int(ctypes.CDLL(library).chdb_query_cmdline(len(line), (ctypes.c_char_p * len(line))(*line)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
