"""The verbs ``inferwatch dead-letters ...``: what could not be read, why, and back with it once it can."""

from __future__ import annotations

import os
import re
import time
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from streams.asking import Filter
from streams.settings import Settings, SettingsError
from streams.show import clock, inert

app = typer.Typer(help="Records that could not be read.", no_args_is_help=True)

EXIT_REFUSED = 1

Json = Annotated[bool, typer.Option("--json", help="One JSON document (or one a line) for machines.")]
Reason = Annotated[str, typer.Option(help="Only those whose reason holds this text.")]

_COLUMNS = """
concat(topic, ':', toString(partition), ':', toString(offset), ':', toString(event_index)) AS id,
toFloat64(record_time) AS record_time_s, reason, content_type, size_bytes, sha256, head, topic_id
"""
_MATCHING = """
record_time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
AND (positionCaseInsensitive(reason, {reason:String}) > 0 OR {reason:String} = '')
AND (topic = {topic:String} OR {topic:String} = '')
"""
_LIST = f"""
SELECT {_COLUMNS} FROM dead_letters_latest WHERE {_MATCHING}
ORDER BY record_time DESC, topic, partition, offset DESC, event_index LIMIT {{limit:UInt32}}
"""  # noqa: S608 - put together of our own constants; what a person types is bound by the server
_COUNTS = f"""
SELECT replaceRegexpAll(reason, '[0-9]+', 'N') AS reason, count() AS letters, max(toFloat64(record_time)) AS last_s
FROM dead_letters_latest WHERE {_MATCHING}
GROUP BY 1 ORDER BY letters DESC, reason LIMIT 50
"""  # noqa: S608 - as above
_SHOW = f"""
SELECT {_COLUMNS} FROM dead_letters_latest
WHERE topic = {{topic:String}} AND partition = {{partition:UInt32}} AND offset = {{offset:Int64}}
  AND (event_index = {{index:Int32}} OR {{any:Bool}})
ORDER BY record_time DESC, event_index LIMIT 100
"""  # noqa: S608 - as above
_ID = re.compile(
    r"(?P<topic>[A-Za-z0-9._-]{1,249}):(?P<partition>\d{1,9}):(?P<offset>\d{1,18})(?::(?P<index>-1|\d{1,9}))?"
)


@app.command("list", epilog="Example: inferwatch dead-letters list --since 24h --reason 'not JSON'")
def list_(
    reason: Reason = "",
    topic: Annotated[str, typer.Option(help="Only those from this topic.")] = "",
    since: Annotated[str, typer.Option(help="How far to look back: 90s, 15m, 24h, 7d.")] = "7d",
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 20,
    counts: Annotated[bool, typer.Option("--counts", help="Only how many there are for each reason.")] = False,  # noqa: FBT002 - Typer's flags are boolean defaults
    as_json: Json = False,  # noqa: FBT002 - as above
) -> None:
    """List dead letters, the newest last, and how many there are for each reason."""
    since_s = Filter.parse(severity="info", detector="", deployment="", since=since, limit=1).since_s
    since_ms = max(int((time.time() - since_s) * 1_000), 0)
    asked = {"since_ms": since_ms, "reason": reason, "topic": topic}
    rows = [] if counts else _query(_LIST, {**asked, "limit": limit})
    grouped = _query(_COUNTS, asked) if counts or not as_json else []
    if as_json:
        for row in [*reversed(rows), *grouped]:
            typer.echo(msgspec.json.encode(row))
        return
    console = Console()
    for row in reversed(rows):
        console.print(_line(row), soft_wrap=True)
    if not grouped:
        console.print("no dead letters match", style="dim")
    for row in grouped:
        console.print(Text.assemble((f"{row['letters']:>8} x ", "bold"), inert(row["reason"])), soft_wrap=True)


@app.command("show", epilog="Example: inferwatch dead-letters show inference-logs:3:41")
def show(letter_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:  # noqa: FBT002 - as above
    """Show where a dead letter came from, why it is one, and how it begins."""
    where = _parsed(letter_id)
    index = where["index"]
    place = {"topic": where["topic"], "partition": int(where["partition"]), "offset": int(where["offset"])}
    rows = _query(_SHOW, {**place, "index": int(index or 0), "any": index is None})
    if not rows:
        raise SettingsError(f"no dead letter {letter_id}; `inferwatch dead-letters list` prints their ids")
    for row in rows:
        if as_json:
            typer.echo(msgspec.json.encode(row))
            continue
        for name in ("id", "reason", "content_type", "size_bytes", "sha256", "topic_id", "head"):
            typer.echo(f"{name:<12} {inert(str(row[name]))}")
        typer.echo(f"{'time':<12} {clock(row['record_time_s'])}\n")


@app.command("requeue", epilog="Example: inferwatch dead-letters requeue --reason 'native: not JSON' --dry-run")
def requeue(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="These, as `list` prints them.")] = None,
    reason: Reason = "",
    everything: Annotated[bool, typer.Option("--all", help="All there are.")] = False,  # noqa: FBT002 - as above
    again: Annotated[bool, typer.Option("--again", help="Those too that were requeued before.")] = False,  # noqa: FBT002 - as above
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,  # noqa: FBT002 - as above
    as_json: Json = False,  # noqa: FBT002 - as above
) -> None:
    """Send dead letters back to the topic they came from, each once, after what was wrong is put right.

    Of a record with good and bad events only the bad ones are read again. Ends with status 1 when some cannot be sent.
    """
    from streams.requeuing import Choice  # noqa: PLC0415 - verbs that need no Kafka start faster
    from streams.requeuing import requeue as send_back  # noqa: PLC0415 - as above

    if not (ids or reason or everything):
        raise SettingsError("requeue: which? Give IDs, --reason TEXT or --all")
    parsed = [_parsed(each) for each in ids or ()]
    origins = frozenset(f"{each['topic']}:{each['partition']}:{each['offset']}" for each in parsed)
    choice = Choice(origins=origins, reason=reason, again=again)
    columns = (TextColumn("requeued {task.completed}"), TimeElapsedColumn())
    with _reachable() as settings, Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("requeue", total=None)
        done = send_back(settings, choice, lambda: shown.advance(task), dry_run=dry_run)
    if as_json:
        typer.echo(msgspec.json.encode(done))
    else:
        typer.echo(f"{'would requeue' if dry_run else 'requeued'} {done.sent} of {done.matched} dead letters")
        for count, why in (
            (done.already, "were requeued before; --again sends them once more"),
            (
                done.truncated,
                "are refused: too large, only their first bytes were kept; the record itself is at its origin",
            ),
            (done.of_our_own, "are refused: they are of a topic that only inferwatch writes to"),
        ):
            if count:
                typer.echo(f"{count} {why}")
    raise typer.Exit(EXIT_REFUSED if done.truncated or done.of_our_own else 0)


def _line(row: dict[str, Any]) -> Text:
    return Text.assemble(
        (clock(row["record_time_s"]), "dim"),
        " ",
        (inert(row["id"]), "bold"),
        f" {row['size_bytes']} bytes: {inert(row['reason'])}",
    )


def _parsed(letter_id: str) -> dict[str, Any]:
    match = _ID.fullmatch(letter_id)
    if match is None:
        raise SettingsError(f"{letter_id[:80]!r} is no id; expected topic:partition:offset, or with :index behind it")
    return match.groupdict()


def _reachable() -> Any:
    from streams.addressing import at_hand  # noqa: PLC0415 - as above

    return at_hand(Settings.from_env(os.environ), os.environ)


def _query(sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    from streams.clickhouse import Store  # noqa: PLC0415 - as above

    with _reachable() as settings:
        store = Store.connect(settings)
        try:
            return store.query(sql, parameters)
        finally:
            store.close()
