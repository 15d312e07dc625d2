"""Statements for one server, made into those for a cluster. Pure; it knows our own DDL and refuses any other.

A table becomes two: ``NAME_local``, replicated, on every server, and ``NAME``, which has no rows and stands for all of
them. Whoever reads or inserts goes on by the old names. Rows are spread by a hash of their identity, so that what a
replay stores again comes to the shard where it is already, and FINAL, which each shard does for itself, is right. Views
that follow inserts do so where the rows are; what they fill is summed by whoever reads it, as before.
"""

from __future__ import annotations

import re

_CREATE_TABLE = re.compile(
    r"CREATE TABLE IF NOT EXISTS (?P<name>\w+)\s*(?P<columns>\(.*\))\s*"
    r"ENGINE = (?P<engine>\w*MergeTree)(?:\((?P<arguments>[^()]*)\))?(?P<rest>.*)",
    re.DOTALL,
)
_ORDER = re.compile(r"ORDER BY (?:\((?P<several>(?:[^()]|\([^()]*\))*)\)|(?P<one>\w+))")
_FOLLOWING_VIEW = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS (?P<name>\w+) TO (?P<target>\w+) AS(?P<query>.*)", re.DOTALL
)
_VIEW = re.compile(r"CREATE (?P<how>OR REPLACE VIEW|VIEW IF NOT EXISTS) (?P<name>\w+) AS(?P<query>.*)", re.DOTALL)
_ON_TABLE = re.compile(
    r"(?P<verb>ALTER|OPTIMIZE|TRUNCATE) TABLE (?P<if>IF EXISTS )?`?(?P<name>\w+)`?(?P<rest>.*)", re.DOTALL
)
_WHOLE = re.compile(r"DROP VIEW IF EXISTS \w+|CREATE DATABASE IF NOT EXISTS `[\w.-]+`")
_SOURCES = re.compile(r"\bFROM (\w+)")
_AS_IT_IS = re.compile(r"(?:INSERT INTO|SELECT|WITH)\b")
_ADD_COLUMN = re.compile(r"\bADD COLUMN\b")

PATH = "/clickhouse/tables/{{shard}}/{{database}}/{name}"
"""Where the replicas of a table find each other in Keeper; servers have the macros `shard` and `replica`."""


def local(name: str) -> str:
    """The table that has the rows, on each server of a cluster."""
    return f"{name}_local"


def clustered(statement: str, cluster: str | None) -> list[str]:
    """`statement` as it is without a cluster, else what does the same on all of its servers.

    Raises `ValueError` for a kind of statement that it has no rule for.
    """
    if cluster is None or _AS_IT_IS.match(statement):
        return [statement]
    everywhere = f"ON CLUSTER '{cluster}'"
    if found := _CREATE_TABLE.fullmatch(statement):
        return _tables(found, cluster, everywhere)
    if found := _FOLLOWING_VIEW.fullmatch(statement):
        return [_following(found, everywhere)]
    if found := _VIEW.fullmatch(statement):
        return [f"CREATE {found['how']} {found['name']} {everywhere} AS{found['query']}"]
    if found := _ON_TABLE.fullmatch(statement):
        return _changes(found, everywhere)
    if _WHOLE.fullmatch(statement):
        return [f"{statement} {everywhere}"]
    raise ValueError(f"no rule for a cluster: {statement[:60]}")


def _tables(found: re.Match[str], cluster: str, everywhere: str) -> list[str]:
    name, engine = found["name"], found["engine"]
    arguments = ", ".join(
        (f"'{PATH.format(name=name)}'", "'{replica}'", *([found["arguments"]] if found["arguments"] else []))
    )
    rows = f"CREATE TABLE IF NOT EXISTS {local(name)} {everywhere}\n{found['columns']}\n"
    rows += f"ENGINE = Replicated{engine}({arguments}){found['rest']}"
    face = f"CREATE TABLE IF NOT EXISTS {name} {everywhere} AS {local(name)}\n"
    face += f"ENGINE = Distributed('{cluster}', currentDatabase(), '{local(name)}', {_shard(found['rest'])})"
    return [rows, face]


def _following(found: re.Match[str], everywhere: str) -> str:
    query = found["query"]
    for name in set(_SOURCES.findall(query)):
        query = re.sub(rf"\b{name}\b", local(name), query)
    target = local(found["target"])
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {found['name']} {everywhere} TO {target} AS{query}"


def _shard(rest: str) -> str:
    """A hash of what makes a row the same as another: the event's id where there is one, else the whole order key."""
    order = _ORDER.search(rest)
    if order is None:
        raise ValueError("no rule for a cluster: a table without an order key")
    key = order["several"] or order["one"]
    names = [part.strip() for part in key.split(",")]
    return "sipHash64(event_id)" if "event_id" in names else f"sipHash64({', '.join(names)})"


def _changes(found: re.Match[str], everywhere: str) -> list[str]:
    """What changes the rows' table; a new column is there for readers too, before and without its expression."""
    exists, rest = found["if"] or "", found["rest"]
    changed = [f"{found['verb']} TABLE {exists}{local(found['name'])} {everywhere}{rest}"]
    if found["verb"] == "ALTER" and _ADD_COLUMN.search(rest):
        changed.append(f"ALTER TABLE {exists}{found['name']} {everywhere}{rest}")
    return changed
