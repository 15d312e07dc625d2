"""The expander is as strict as the data source, and stricter where the data source is silent."""

from __future__ import annotations

import pytest

from tests.dashboards.macros import MacroError, Screen, Value, expand

SCREEN = Screen(1_700_000_000, 1_700_003_600, 60, {"deployment": "chat", "many": ("a'b", "c"), "everything": "$__all"})


@pytest.mark.parametrize(
    ("sql", "expanded"),
    [
        ("$__timeFilter(time)", "time >= toDateTime(1700000000) AND time <= toDateTime(1700003600)"),
        (
            "$__timeFilter_ms(t.time)",
            "t.time >= fromUnixTimestamp64Milli(1700000000000) AND t.time <= fromUnixTimestamp64Milli(1700003600000)",
        ),
        ("$__dateFilter(d)", "d >= toDate('2023-11-14') AND d <= toDate('2023-11-14')"),
        (
            "$__dt(d, time)",
            (
                "(d >= toDate('2023-11-14') AND d <= toDate('2023-11-14')) AND "
                "(time >= toDateTime(1700000000) AND time <= toDateTime(1700003600))"
            ),
        ),
        ("$__timeInterval(time)", "toStartOfInterval(toDateTime(time), INTERVAL 60 second)"),
        ("$__timeInterval_ms(time)", "toStartOfInterval(toDateTime64(time, 3), INTERVAL 60000 millisecond)"),
        ("count() / $__interval_s", "count() / 60"),
        ("($__interval_s * (a + b))", "(60 * (a + b))"),
        ("$__fromTime, $__toTime", "toDateTime(1700000000), toDateTime(1700003600)"),
        (
            "$__fromTime_ms, $__toTime_ms",
            "fromUnixTimestamp64Milli(1700000000000), fromUnixTimestamp64Milli(1700003600000)",
        ),
        ("f('${deployment:percentencode}')", "f('chat')"),
        ("$__timeInterval(if(a, b, c))", "toStartOfInterval(toDateTime(if(a, b, c)), INTERVAL 60 second)"),
        ("${__from}, ${__to}", "1700000000000, 1700003600000"),
        ("$__conditionalAll(d IN (${many:sqlstring}), $many)", "d IN ('a''b','c')"),
        ("$__conditionalAll(d = '$everything', $everything)", "1=1"),
        ("SETTINGS $__adHocFilters('findings')", "SETTINGS additional_table_filters={}"),
    ],
)
def test_a_macro_becomes_what_the_data_source_makes_of_it(sql: str, expanded: str) -> None:
    assert expand(sql, SCREEN) == expanded


@pytest.mark.parametrize(
    ("form", "one", "several"),
    [
        ("${x}", "a'b", "'a'b','c'"),
        ("$x", "a'b", "'a'b','c'"),
        ("${x:raw}", "a'b", "a'b,c"),
        ("${x:csv}", "a'b", "a'b,c"),
        ("${x:pipe}", "a'b", "a'b|c"),
        ("${x:text}", "a'b", "a'b + c"),
        ("${x:json}", '"a\'b"', '["a\'b", "c"]'),
        ("${x:percentencode}", "a%27b", "%7Ba%27b%2Cc%7D"),
        ("${x:singlequote}", "'a\\'b'", "'a\\'b','c'"),
        ("${x:doublequote}", '"a\'b"', '"a\'b","c"'),
        ("${x:sqlstring}", "'a''b'", "'a''b','c'"),
    ],
)
def test_a_variable_is_written_as_grafana_formats_it(form: str, one: str, several: str) -> None:
    values: tuple[tuple[Value, str], ...] = (("a'b", one), (("a'b", "c"), several))
    for value, written in values:
        assert expand(form, Screen(0, 1, 60, {"x": value})) == written


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("$__timeFilter()", "takes 1 arguments, not 0"),
        ("$__timeFilter", "takes 1 arguments, not 0"),
        ("$__timeFilter (a)", "takes 1 arguments, not 0"),
        ("$__timeFilter(a, b)", "takes 1 arguments, not 2"),
        ("$__dateTimeFilter(a)", "takes 2 arguments, not 1"),
        ("$__interval_s(a)", "takes 0 arguments, not 1"),
        ("$__timeFilters(a)", "unknown macro"),
        ("$__interval", "unknown macro"),
        ("$__conditionalAll(a)", "takes 2 arguments, not 1"),
        ("$__conditionalAll(a, $b)", "unknown variable b"),
        ("$__timeFilter($__timeInterval(a))", "inside the arguments"),
        ("$__timeFilter(a", "do not close"),
        ("$__timeInterval(if(a, ')', b))", "takes 1 arguments, not 2"),
        ("${service:percentencode}", "unknown variable"),
        ("${deployment:sql}", "unknown format"),
        ("${__user.login}", "not expanded"),
        ("$tenant", "unknown variable"),
        ("[[deployment]]", "deprecated"),
        ("'a$'", "not expanded"),
        ("$$__timeFilter(a)", "not expanded"),
    ],
)
def test_what_the_data_source_would_refuse_or_pass_on_half_expanded_is_an_error(sql: str, complaint: str) -> None:
    with pytest.raises(MacroError, match=complaint):
        expand(sql, SCREEN)


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("$__conditionalAll(a, $deployment)", "a browser only"),
        ("SETTINGS $__adHocFilters('findings')", "a browser only"),
        ("'${deployment:percentencode}'", "not expanded"),
        ("'$deployment'", "not expanded"),
        ("${__from}", "not expanded"),
    ],
)
def test_the_ruler_of_alerts_has_no_browser(sql: str, complaint: str) -> None:
    with pytest.raises(MacroError, match=complaint):
        expand(sql, SCREEN, "ruler")


def test_no_variable_can_end_the_string_it_stands_in() -> None:
    hostile = "x\\' OR 1=1 -- $__timeFilter(a) \"`\n"
    value = expand("${deployment:percentencode}", Screen(0, 1, 60, {"deployment": hostile}))
    assert not set(value) & set("'\\\"`$()\n ")
