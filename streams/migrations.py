"""The numbered files of DDL that make the tables, and their statements."""

from __future__ import annotations

import importlib.resources
import re

from streams import schema

TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    version UInt32,
    name String,
    applied_at DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY version
"""
"""Which of them were applied."""


class Migration:
    """One numbered file of DDL."""

    def __init__(self, file_name: str, text: str) -> None:
        """`file_name` is ``NNNN_what.sql``; statements end with a semicolon at the end of a line."""
        number, _, rest = file_name.partition("_")
        self.version = int(number)
        self.name = rest.removesuffix(".sql")
        self._text = text

    @property
    def what(self) -> str:
        """Its name, as a person reads it."""
        return f"{self.version:04d} {self.name}"

    def statements(self, retention_days: int) -> list[str]:
        """The DDL with the retention written in, comments taken out."""
        code = "\n".join(line for line in self._text.splitlines() if not line.startswith("--"))
        found = (part.strip() for part in re.split(r";\s*\n", code.replace("{days}", str(retention_days)) + "\n"))
        return [part for part in found if part]


def migrations() -> list[Migration]:
    """All migrations, in order."""
    files = [file for file in importlib.resources.files(schema).iterdir() if file.name.endswith(".sql")]
    return [Migration(file.name, file.read_text()) for file in sorted(files, key=lambda each: each.name)]
