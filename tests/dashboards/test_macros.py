"""The expander is as strict as the data source, and stricter where the data source is silent."""

from __future__ import annotations

import pytest

from tests.dashboards.macros import MacroError, Screen, expand

SCREEN = Screen(1_700_000_000, 1_700_003_600, 60, {"deployment": "chat"})


@pytest.mark.parametrize(
    ("sql", "expanded"),
    [
        ("$__timeFilter(time)", "time >= toDateTime(1700000000) AND time <= toDateTime(1700003600)"),
        (
            "$__timeFilter_ms(t.time)",
            "t.time >= fromUnixTimestamp64Milli(1700000000000) AND t.time <= fromUnixTimestamp64Milli(1700003600000)",
        ),
        ("$__timeInterval(time)", "toStartOfInterval(toDateTime(time), INTERVAL 60 second)"),
        ("count() / $__interval_s", "count() / 60"),
        ("$__fromTime, $__toTime", "toDateTime(1700000000), toDateTime(1700003600)"),
        ("f('${deployment:percentencode}')", "f('chat')"),
        ("$__timeInterval(if(a, ')', b))", "toStartOfInterval(toDateTime(if(a, ')', b)), INTERVAL 60 second)"),
    ],
)
def test_a_macro_becomes_what_the_data_source_makes_of_it(sql: str, expanded: str) -> None:
    assert expand(sql, SCREEN) == expanded


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("$__timeFilter()", "takes 1 arguments, not 0"),
        ("$__timeFilter", "takes 1 arguments, not 0"),
        ("$__timeFilter(a, b)", "takes 1 arguments, not 2"),
        ("$__interval_s(a)", "takes 0 arguments, not 1"),
        ("$__timeFilters(a)", "unknown macro"),
        ("$__conditionalAll(a, $b)", "unknown macro"),
        ("$__timeFilter($__timeInterval(a))", "inside the arguments"),
        ("$__timeFilter(a", "do not close"),
        ("${service:percentencode}", "unknown variable"),
        ("${deployment}", "not expanded"),
        ("${deployment:sqlstring}", "not expanded"),
        ("$deployment", "not expanded"),
    ],
)
def test_what_the_data_source_would_refuse_or_pass_on_half_expanded_is_an_error(sql: str, complaint: str) -> None:
    with pytest.raises(MacroError, match=complaint):
        expand(sql, SCREEN)


def test_no_variable_can_end_the_string_it_stands_in() -> None:
    hostile = "x\\' OR 1=1 -- $__timeFilter(a) \"`\n"
    value = expand("${deployment:percentencode}", Screen(0, 1, 60, {"deployment": hostile}))
    assert not set(value) & set("'\\\"`$()\n ")
