"""What is said to one server, said to a cluster."""

from __future__ import annotations

import re

import pytest

from streams.clusters import clustered
from streams.migrations import TABLE, migrations

EVERYTHING = [statement for migration in migrations() for statement in migration.statements(90)]


def test_without_a_cluster_a_statement_stays_as_it_is() -> None:
    assert [clustered(statement, None) for statement in EVERYTHING] == [[statement] for statement in EVERYTHING]


def test_a_table_becomes_replicated_rows_and_a_face_that_spreads_by_what_makes_rows_the_same() -> None:
    rows, face = clustered(TABLE.strip(), "c1")
    assert rows.startswith("CREATE TABLE IF NOT EXISTS schema_migrations_local ON CLUSTER 'c1'\n(")
    assert (
        "ENGINE = ReplicatedReplacingMergeTree("
        "'/clickhouse/tables/{shard}/{database}/schema_migrations', '{replica}')\nORDER BY version"
    ) in rows
    assert face == (
        "CREATE TABLE IF NOT EXISTS schema_migrations ON CLUSTER 'c1' AS schema_migrations_local\n"
        "ENGINE = Distributed('c1', currentDatabase(), 'schema_migrations_local', sipHash64(version))"
    )


def test_arguments_of_an_engine_come_after_its_path_and_replica() -> None:
    rows, _ = clustered(
        "CREATE TABLE IF NOT EXISTS t (a Int8)\nENGINE = ReplacingMergeTree(a)\nORDER BY (a, f(a))", "c"
    )
    assert "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/t', '{replica}', a)" in rows


@pytest.mark.parametrize("statement", EVERYTHING, ids=lambda each: each[:50])
def test_every_statement_of_ours_has_a_rule_and_says_everywhere_what_it_defines(statement: str) -> None:
    for each in clustered(statement, "c1"):
        assert each.startswith("INSERT INTO ") or each.count("ON CLUSTER 'c1'") == 1
        if "MergeTree" in each:
            assert re.search(r"ENGINE = Replicated\w*MergeTree\('/clickhouse/tables/", each)


def test_events_are_spread_by_their_id_so_that_a_replay_meets_its_own_rows() -> None:
    (events,) = [each for each in EVERYTHING if each.startswith("CREATE TABLE IF NOT EXISTS inference_events")]
    assert clustered(events, "c1")[1].endswith("'inference_events_local', sipHash64(event_id))")


def test_a_view_that_follows_inserts_does_so_where_the_rows_are_and_a_view_for_readers_reads_all() -> None:
    view = "CREATE MATERIALIZED VIEW IF NOT EXISTS b_of_a TO b AS\nSELECT a.x FROM a GROUP BY x"
    (made,) = clustered(view, "c")
    assert made.startswith("CREATE MATERIALIZED VIEW IF NOT EXISTS b_of_a ON CLUSTER 'c' TO b_local AS\n")
    assert made.endswith("SELECT a_local.x FROM a_local GROUP BY x")
    assert clustered("CREATE VIEW IF NOT EXISTS v AS\nSELECT * FROM a FINAL", "c") == [
        "CREATE VIEW IF NOT EXISTS v ON CLUSTER 'c' AS\nSELECT * FROM a FINAL"
    ]


def test_rows_are_changed_where_they_are_and_a_new_column_is_there_for_readers_too() -> None:
    assert clustered("ALTER TABLE a DELETE WHERE x = {x:String}", "c") == [
        "ALTER TABLE a_local ON CLUSTER 'c' DELETE WHERE x = {x:String}"
    ]
    assert clustered("ALTER TABLE `a` DROP PARTITION 'x'", "c") == [
        "ALTER TABLE a_local ON CLUSTER 'c' DROP PARTITION 'x'"
    ]
    assert clustered("TRUNCATE TABLE IF EXISTS a", "c") == ["TRUNCATE TABLE IF EXISTS a_local ON CLUSTER 'c'"]
    assert clustered("ALTER TABLE a ADD COLUMN IF NOT EXISTS n Int8", "c") == [
        "ALTER TABLE a_local ON CLUSTER 'c' ADD COLUMN IF NOT EXISTS n Int8",
        "ALTER TABLE a ON CLUSTER 'c' ADD COLUMN IF NOT EXISTS n Int8",
    ]


@pytest.mark.parametrize("statement", ["RENAME TABLE a TO b", "CREATE TABLE IF NOT EXISTS t (a Int8) ENGINE = Log"])
def test_what_has_no_rule_is_refused(statement: str) -> None:
    with pytest.raises(ValueError, match="no rule"):
        clustered(statement, "c")
