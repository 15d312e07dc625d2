from __future__ import annotations

import pytest

from detectors.hosts import MAX_HOST_CHARS, MAX_HOSTS, clean, hosts, renamed
from detectors.types import InferenceEvent, Message, ToolCall


def event(answer: str | None = None, arguments: str | None = None, **fields: object) -> InferenceEvent:
    calls = (ToolCall(name="fetch", arguments=arguments),) if arguments else None
    message = Message(role="assistant", content=answer, tool_calls=calls)
    return InferenceEvent(deployment="d", output_messages=(message,), **fields)  # type: ignore[arg-type]  # names of fields


def test_hosts_come_from_connections_tool_calls_and_answers() -> None:
    found = hosts(
        event(
            "see https://docs.example.com/a?b and http://DOCS.example.com",
            '{"url": "https://api.example.com/x", "host": "db.internal"}',
            egress_hosts=("Vendor.example:443",),
        )
    )
    assert found == (
        "connection:vendor.example",
        "tool:api.example.com",
        "tool:db.internal",
        "answer:docs.example.com",
    )


def test_without_texts_and_connections_nothing_is_known() -> None:
    assert hosts(InferenceEvent(deployment="d")) is None
    assert hosts(event("no address")) == ()


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("User:secret@Example.COM:8080", "example.com"),
        ("example.com.", "example.com"),
        ("m\u00fcnchen.de", "xn--mnchen-3ya.de"),
        ("10.0.0.1:5432", "10.0.0.1"),
        ("[::1]:80", "::1"),
        ("999.1.1.1", None),
        ("localhost", None),
        ("a..b", None),
        ("<script>.com", None),
        ("", None),
    ],
)
def test_a_host_is_compared_in_one_form(written: str, host: str | None) -> None:
    assert clean(written) == host


@pytest.mark.parametrize("label", ["a" * 63 + ".", "\u0430\u0440" * 40 + ".", "\x1b[31m", "\u202e"])
def test_hostile_names_come_out_short_printable_and_ascii(label: str) -> None:
    for host in (clean(label * 8 + "evil.com"), *(hosts(event(f"https://{label * 4}evil.com/")) or ())):
        assert host is None or (host.isascii() and host.isprintable() and len(host) <= MAX_HOST_CHARS + 8)


def test_a_flood_of_links_gives_few_hosts() -> None:
    assert len(hosts(event(" ".join(f"https://h{index}.com" for index in range(50_000)))) or ()) == MAX_HOSTS


def test_only_hosts_that_texts_named_get_another_name() -> None:
    assert renamed(("connection:a.b", "tool:c.d", "answer:::1"), lambda host: host.upper() + "!") == (
        "connection:a.b",
        "tool:C.D!",
        "answer:::1!",
    )
