"""One log format a file: record value in, inference events out; pure.

A codec module has three names:

- ``FORMAT``: its name, as written in settings and in ``--format``;
- ``CONTENT_TYPES``: the ``content-type`` header values that mean it, lowercase, without parameters;
- ``decode(value: bytes) -> Decoded``, and ``sniff(value: bytes) -> bool``: true only where the value
  could be of no other format (it may parse, it may not guess).
"""

from __future__ import annotations

import msgspec

from detectors.types import InferenceEvent

MAX_EVENTS = 10_000
"""Events, or lines, of one record. Real exports hold hundreds; without a limit 4 MB of ``1,1,1,...`` are two million
dead letters, and the partition behind them waits until all are stored."""


class UndecodableError(Exception):
    """Never will: the whole record is a dead letter. The message says what was expected where."""


class Reject(msgspec.Struct, frozen=True):
    """One event of a record that will never decode; `reason` names the field."""

    reason: str


class Decoded(msgspec.Struct, frozen=True):
    """What one record held.

    `items` are in record order, and an item's position is its index for ever: it is part of the event's
    identity. `ignored` counts parts that are no model calls (a database span, a header record).
    """

    items: list[InferenceEvent | Reject]
    ignored: int = 0
