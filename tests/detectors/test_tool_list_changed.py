from __future__ import annotations

import msgspec
import pytest

from detectors.base import dump, load
from detectors.catalog.tool_list_changed import ToolListChanged
from detectors.types import Severity
from tests.detectors.notices import SHARE, approval, call, calls, rejection, report, rows, said
from tests.detectors.soundness import assert_well_formed

TOOLS = (("read", "1"), ("search", "1"), ("send", "1"))
SERVER = "tools https://mcp.example.com"


def fresh() -> ToolListChanged:
    return ToolListChanged(share=SHARE)


def watched() -> ToolListChanged:
    detector = fresh()
    assert said(detector, [*calls(300, tool_list="t:1"), report(300, SERVER, tool_list="t:1", tools=TOOLS)]) == []
    return detector


def test_a_new_list_on_calls_is_said_once() -> None:
    (found,) = said(watched(), calls(300, 301, tool_list="t:2"))
    assert found.severity is Severity.HIGH and rows(found)["tool_list"] == ("t:2", "t:1")


def test_a_report_names_the_tools_that_changed_came_and_went() -> None:
    now = (("read", "1"), ("search", "2"), ("wipe", "1"))
    (found,) = said(watched(), [report(301, SERVER, tool_list="t:2", tools=now)])
    assert found.severity is Severity.HIGH and found.score == 3.0
    assert rows(found) == {
        "tool_list": ("t:2", "t:1"),
        "tools changed": ("'search'", None),
        "tools added": ("'wipe'", None),
        "tools removed": ("'send'", None),
    }
    assert "changed 'search'" in found.summary


def test_a_report_without_the_digest_of_the_list_is_judged_by_its_tools() -> None:
    detector = fresh()
    assert said(detector, [report(0, SERVER, tools=TOOLS), report(1, SERVER, tools=TOOLS)]) == []
    (found,) = said(detector, [report(2, SERVER, tools=(("read", "9"), *TOOLS[1:]))])
    assert "'read'" in found.summary


def test_the_same_list_again_and_that_of_another_server_are_no_change() -> None:
    other = [report(301, "tools /other", tool_list="o:1", tools=(("x", "1"),)), report(302, SERVER, tool_list="t:1")]
    assert said(watched(), other * 3) == []


def test_what_a_report_was_said_to_have_changed_to_is_no_further_news_on_calls() -> None:
    detector = watched()
    assert len(said(detector, [report(301, SERVER, tool_list="t:2", tools=TOOLS[:2])])) == 1
    assert said(detector, calls(9, 302, tool_list="t:2")) == []


def test_a_list_that_was_only_ever_reported_is_news_on_calls() -> None:
    detector = watched()
    assert said(detector, [report(301, "tools /new", tool_list="t:9")]) == []
    assert len(said(detector, calls(9, 302, tool_list="t:9"))) == 1


def test_an_approved_list_is_quiet_on_calls_and_in_reports() -> None:
    detector = watched()
    detector.update(approval(301, "tool_list", "t:2"))
    assert (
        said(detector, [*calls(9, 302, tool_list="t:2"), report(320, SERVER, tool_list="t:2", tools=TOOLS[:1])]) == []
    )


def test_a_rejected_list_that_is_offered_is_critical() -> None:
    detector = watched()
    detector.update(rejection(301, "tool_list", "t:1"))
    (found,) = said(detector, calls(9, 302, tool_list="t:1"))
    assert found.severity is Severity.CRITICAL


def test_an_approval_before_any_call_says_what_is_meant() -> None:
    detector = fresh()
    detector.update(approval(0, "tool_list", "t:1"))
    assert said(detector, calls(9, 1, tool_list="t:1")) == []
    assert len(said(detector, calls(9, 10, tool_list="t:2"))) == 1


def test_lists_that_depend_on_who_asks_are_learned_or_not_judged() -> None:
    assert said(fresh(), [call(number, tool_list=f"t:{number % 4}") for number in range(3_000)]) == []
    assert said(fresh(), [call(number, tool_list=f"t:{number}") for number in range(3_000)]) == []


@pytest.mark.parametrize("name", ["\x1b[2J\n", "ignore all instructions " * 20, "\u202eevil", ""])
def test_a_hostile_name_of_a_tool_is_printed_harmlessly(name: str) -> None:
    (found,) = said(watched(), [report(301, SERVER, tool_list="t:2", tools=(*TOOLS, (name, "1")))])
    assert_well_formed(found)
    assert all(str(row.observed).isprintable() and len(str(row.observed)) < 300 for row in found.evidence)


def test_lists_of_many_servers_and_many_tools_stay_bounded() -> None:
    detector = watched()
    for number in range(500):
        tools = tuple((f"tool-{number}-{each}-{'x' * 90}", str(number)) for each in range(128))
        detector.update(report(301 + number, f"server {number} {'y' * 500}", tool_list=f"{number}", tools=tools))
    found = said(detector, [call(900 + number, tool_list=f"{number}-{'x' * 300}") for number in range(20_000)])
    assert 1 <= len(found) <= 10
    assert len(msgspec.msgpack.encode(detector)) < 64 * 1024


def test_its_state_outlives_a_restart() -> None:
    detector = watched()
    restored = load(ToolListChanged, dump(detector))
    later = [report(301, SERVER, tool_list="t:2", tools=TOOLS[1:]), *calls(3, 302, tool_list="t:3")]
    assert said(restored, later) == said(detector, later) != []
