"""What ClickHouse keeps of queries, by the rules in docker/clickhouse/server.xml.

By the same engine of patterns as the server's: a listening server of ours is a library, which loads no masking rules.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import re2

FILE = Path(__file__).resolve().parents[1] / "docker" / "clickhouse" / "server.xml"


def masked(query: str) -> str:
    """As the server would log a query, by the rules of server.xml."""
    for rule in ET.parse(FILE).iter("rule"):  # noqa: S314 - our own file
        query = re2.sub(str(rule.findtext("regexp")), str(rule.findtext("replace")), query)
    return query


def test_the_query_log_keeps_what_was_asked_and_not_the_values() -> None:
    asked = (
        "SELECT event_id FROM inference_events WHERE hasAllTokens(prompt, 'o\\'neill''s word') AND principal = "
        "'p_0123456789abcdef0123456789abcdef' /* sk-proj-abcdefghijklmnop1234, ann@example.com */ LIMIT 5"
    )
    assert masked(asked) == (
        "SELECT event_id FROM inference_events WHERE hasAllTokens(prompt, '...') AND principal = '...' "
        "/* [key], [address] */ LIMIT 5"
    )


def test_the_query_log_is_kept_for_a_season() -> None:
    assert "<query_log><ttl>event_date + INTERVAL 90 DAY</ttl></query_log>" in FILE.read_text()
