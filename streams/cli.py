"""Every verb a person types. Thin: parse, call, print."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console

from detectors.base import DEPLOYMENT, PRINCIPAL
from detectors.types import Finding
from streams import show
from streams.logs import clean_traceback
from streams.settings import Settings, SettingsError
from streams.verbs import access as verbs_access
from streams.verbs import alerts as verbs_alerts
from streams.verbs import ask as verbs_ask
from streams.verbs import attest as verbs_attest
from streams.verbs import backtest as verbs_backtest
from streams.verbs import baselines as verbs_baselines
from streams.verbs import canary as verbs_canary
from streams.verbs import changes as verbs_changes
from streams.verbs import dead_letters as verbs_dead_letters
from streams.verbs import evidence as verbs_evidence
from streams.verbs import findings as verbs_findings
from streams.verbs import hold as verbs_hold
from streams.verbs import incidents as verbs_incidents
from streams.verbs import report as verbs_report
from streams.verbs import subjects as verbs_subjects
from streams.verbs import suppress as verbs_suppress

app = typer.Typer(
    name="inferwatch",
    help="Watches models in production: inference logs in, findings out.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
detectors_app = typer.Typer(help="The detector catalog.", no_args_is_help=True)
topics_app = typer.Typer(help="The Kafka topics.", no_args_is_help=True)
app.add_typer(detectors_app, name="detectors")
app.add_typer(topics_app, name="topics")
app.add_typer(verbs_dead_letters.app, name="dead-letters")
app.command(epilog="Example: inferwatch backtest --since 7d --detector latency_shift --set alarm_budget=0.5")(
    verbs_backtest.backtest
)
app.add_typer(verbs_canary.app, name="canary")
app.command(epilog="Example: inferwatch findings --severity high --since 24h")(verbs_findings.findings)
app.add_typer(verbs_incidents.app, name="incidents")
app.add_typer(verbs_ask.app, name="ask")
app.add_typer(verbs_suppress.app, name="suppress")
app.command(epilog="Example: inferwatch attest models/support-chat --packages requirements.lock --mcp tools.json")(
    verbs_attest.attest
)
app.add_typer(verbs_alerts.app, name="alerts")
app.add_typer(verbs_changes.app, name="changes")
app.add_typer(verbs_baselines.app, name="baseline")
app.add_typer(verbs_evidence.app, name="evidence")
app.add_typer(verbs_hold.app, name="hold")
app.add_typer(verbs_access.app, name="access")
app.command(
    epilog="Example: inferwatch erase p_0f3a... --why DSR-31 --dry-run; `inferwatch erase -` asks for the identity"
)(verbs_subjects.erase)
app.command(epilog="Example: inferwatch export p_0f3a... -o subject.json --why DSR-30")(verbs_subjects.export)
app.command(epilog="Example: inferwatch report inc-1f0c -o incident.html; or `inferwatch report --since 7d`")(
    verbs_report.report
)

EXIT_USAGE = 2
EXIT_FAILED = 1

Json = Annotated[bool, typer.Option("--json", help="One JSON document (or one a line) for machines.")]


def main() -> None:
    """Run a verb; an error is one line on standard error, a traceback only with --debug."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # Not "urllib3": when clickhouse_connect is imported, it sets that one back.
    for library in ("kafka", "urllib3.connectionpool", "clickhouse_connect"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # what goes wrong there reaches us as an exception
    arguments = [each for each in sys.argv[1:] if each != "--debug"]
    try:
        app(args=arguments, prog_name="inferwatch")
    except SettingsError as error:
        _fail(error, EXIT_USAGE, debug=len(arguments) + 1 < len(sys.argv))
    except (BrokenPipeError, KeyboardInterrupt):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - a person gets one line; the traceback is a flag away
        _fail(error, EXIT_FAILED, debug=len(arguments) + 1 < len(sys.argv))


def _fail(error: Exception, status: int, *, debug: bool) -> NoReturn:
    if debug:
        print(clean_traceback(error, _settings_if_any()), end="", file=sys.stderr)
        sys.exit(status)
    known = type(error).__module__.startswith(("streams.", "dashboards."))
    text = str(error) if known else f"{type(error).__name__}: {error}; run again with --debug for the traceback"
    print(f"inferwatch: {text.splitlines()[0] if text else type(error).__name__}", file=sys.stderr)
    sys.exit(status)


def _settings_if_any() -> Settings | None:
    try:
        return _settings()
    except SettingsError:
        return None


def _settings() -> Settings:
    return Settings.from_env(os.environ)


@contextmanager
def _reachable() -> Iterator[Settings]:
    """The settings; where none name servers, those of the one-machine stack, running or at rest."""
    from streams.addressing import at_hand  # noqa: PLC0415 - verbs that need no stack start faster

    with at_hand(_settings(), os.environ) as settings:
        yield settings


class Shell:
    """What verbs of other packages are given: they never import ours, so that neither package knows the other."""

    def settings(self) -> Settings:
        """The settings of this process."""
        return _settings()

    @contextmanager
    def asking(self) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
        """A way to read the store."""
        from streams.clickhouse import Store  # noqa: PLC0415 - verbs that need no store start faster

        with _reachable() as settings, closing(Store.connect(settings)) as store:
            yield store.query


for _group in entry_points(group="inferwatch.verbs"):
    app.add_typer(_group.load()(Shell()), name=_group.name)


@app.callback(invoke_without_command=True)
def _version(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        print(version("inferwatch"))
        raise typer.Exit


@app.command(epilog="Example: inferwatch demo --scenario tool_rug_pull")
def demo(
    source: Annotated[
        Path | None, typer.Option("--from", help="Play recorded data from this directory instead of synthetic traffic.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the traffic.")] = 1,
    events: Annotated[int, typer.Option(min=2_000, help="How many events to send, at most.")] = 20_000,
    keep: Annotated[bool, typer.Option("--keep", help="Stay up after the summary, until Ctrl-C.")] = False,
    scenario: Annotated[
        str, typer.Option(help="Play this scenario instead and say whether all came as expected; `list` lists them.")
    ] = "",
    write: Annotated[
        Path | None, typer.Option(help="Write the scenario's events and notices to this file, for `replay` or `send`.")
    ] = None,
) -> None:
    """Start everything on this machine, send traffic with an incident inside, show what is found."""
    if scenario or write:
        raise typer.Exit(_demo_scenario(scenario, seed, write))
    from streams.plays.demo import run  # noqa: PLC0415 - it needs the extra `local`

    raise typer.Exit(run(_settings(), source=source, seed=seed, events=events, keep=keep))


def _demo_scenario(name: str, seed: int, path: Path | None) -> int:
    from streams.plays import demo_scenario  # noqa: PLC0415 - as above
    from streams.plays.scenario import named  # noqa: PLC0415 - as above

    if name == "list":
        demo_scenario.listing(Console())
        return 0
    played = named(name)
    if path is None:
        return demo_scenario.run(_settings(), played, seed)
    print(f"wrote {demo_scenario.write(played, seed, path)} lines to {path}", file=sys.stderr)
    return 0


@app.command(epilog="Example: inferwatch worker --roles ingest,triage")
def worker(
    roles: Annotated[str, typer.Option(help="What to do, separated by commas.")] = "",
    local: Annotated[
        bool, typer.Option("--local", help="Start the embedded broker and engine too, and set them up.")
    ] = False,
) -> None:
    """Run the agents until SIGTERM: ingest, provenance, watch-deployments, watch-principals, triage, notify."""
    from streams.running import ROLES, run_local, run_worker  # noqa: PLC0415 - Faust takes a second to import

    chosen = tuple(role.strip() for role in roles.split(",")) if roles else ROLES
    unknown = sorted(set(chosen) - set(ROLES))
    if unknown:
        raise SettingsError(f"--roles: {unknown[0]!r} is not accepted; some of {', '.join(ROLES)}")
    if local:
        run_local(_settings(), chosen)
    else:
        run_worker(_settings(), chosen)


@app.command(epilog="Example: inferwatch send access.ndjson --format litellm --rate 200")
def send(
    file: Annotated[str, typer.Argument(help="A file of logs in any format we read; - for standard input.")],
    format_: Annotated[str, typer.Option("--format", help="Say what it is instead of having it sniffed.")] = "",
    rate: Annotated[float, typer.Option(min=0, help="Records per second; 0: as fast as Kafka takes them.")] = 0.0,
    speed: Annotated[float, typer.Option(min=0, help="Keep the events' own pace, times this; 0: do not.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Send logs to Kafka, with progress and back-pressure."""
    from streams.sending import Pace, send_file  # noqa: PLC0415 - as above

    with _reachable() as settings:
        sent = send_file(settings, file, sys.stdin.buffer, format_, Pace(rate, speed))
    if as_json:
        print(msgspec.json.encode(sent).decode())
    else:
        notices = f" ({sent.notices} of them notices)" if sent.notices else ""
        print(f"sent {sent.records} records{notices}, {sent.size_bytes} bytes to {settings.kafka_brokers}")


@app.command(epilog="Example: inferwatch replay yesterday.ndjson.gz --json | jq .summary")
def replay(
    file: Annotated[str, typer.Argument(help="A file of logs in any format we read; - for standard input.")],
    as_json: Json = False,
) -> None:
    """Run a file through the pipeline and the detectors here, without Kafka or ClickHouse."""
    from streams import replay as replaying  # noqa: PLC0415 - as above
    from streams.cases import incident_page  # noqa: PLC0415 - as above
    from streams.composing import make_bank, make_cases, make_pipeline  # noqa: PLC0415 - as above
    from streams.keys import load_keys  # noqa: PLC0415 - as above
    from streams.sending import records  # noqa: PLC0415 - as above

    settings, console = _settings(), Console(stderr=as_json)
    pipeline = make_pipeline(settings, load_keys(settings), replaying.TOPIC)
    banks = [make_bank(settings, scope) for scope in (DEPLOYMENT, PRINCIPAL)]
    steps = replaying.replay(records(file, sys.stdin.buffer), time.time(), pipeline, banks)
    casebook, print_finding = replaying.Casebook(make_cases(settings)), show.finding_printer(Console(), as_json=as_json)

    def take(finding: Finding) -> None:
        print_finding(finding)
        casebook.take(finding)

    totals = replaying.summed(steps, take)
    incident_page.pages(Console(), casebook.incidents, as_json=as_json)
    console.print(
        f"{totals.events} events, {totals.findings} findings, {totals.dead_letters} dead letters, "
        f"{totals.ignored} parts ignored, {len(casebook.incidents)} incidents"
        + (f", {totals.notices} notices" if totals.notices else "")
    )
    for reason, count in totals.reasons.most_common(5):
        console.print(f"  {count} x {reason}", markup=False)


@detectors_app.command("list", epilog="Example: inferwatch detectors list --json")
def detectors_list(as_json: Json = False) -> None:
    """List the detectors: what each sees, where, how bad."""
    from detectors.bank import discover  # noqa: PLC0415 - as above

    show.detectors(Console(), discover(), as_json=as_json)


@detectors_app.command("show", epilog="Example: inferwatch detectors show extraction")
def detectors_show(detector_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Show what a responder needs to know of one detector."""
    from detectors.bank import discover  # noqa: PLC0415 - as above

    catalog = discover()
    if detector_id not in catalog:
        raise SettingsError(f"{detector_id!r} is no detector; one of {', '.join(catalog)}")
    show.detector(Console(), detector_id, catalog[detector_id].metadata, as_json=as_json)


@detectors_app.command("runbook", epilog="Example: inferwatch detectors runbook > RUNBOOK.md")
def detectors_runbook() -> None:
    """Print the response plan: per detector how to confirm, contain, roll back, assess and notify (Markdown)."""
    from detectors.bank import discover  # noqa: PLC0415 - as above
    from streams.runbook import runbook  # noqa: PLC0415 - as above

    print(runbook(discover()), end="")


@app.command(epilog="Example: inferwatch migrate --check")
def migrate(
    check: Annotated[bool, typer.Option("--check", help="Only say what is due; status 1 if anything is.")] = False,
) -> None:
    """Create the database or bring it up to date: its schema, and how long and where it keeps what."""
    from streams.clickhouse import migrate as apply  # noqa: PLC0415 - as above
    from streams.clickhouse import outlook  # noqa: PLC0415 - as above

    with _reachable() as settings:
        due = outlook(settings) if check else apply(settings)
    for each in due:
        print(f"{'due' if check else 'applied'} {each.what}")
    if not check or not due:
        print("the schema is up to date")
    raise typer.Exit(EXIT_FAILED if check and due else 0)


@topics_app.command("create", epilog="Example: INFERWATCH_PARTITIONS=16 inferwatch topics create")
def topics_create() -> None:
    """Create the topics that are missing."""
    from streams import topics  # noqa: PLC0415 - as above

    with _reachable() as settings:
        made = topics.create(settings)
    for topic in made:
        print(f"created {topic.name} with {topic.partitions} partitions")
    print("all topics exist")


@app.command(epilog="Example: inferwatch doctor --json")
def doctor(as_json: Json = False) -> None:
    """Check broker, topics, ClickHouse, schema, clocks and blind detectors; say what to do.

    Ends with status 1 when something does not work, 0 when it works but sees less than it could.
    """
    from streams.doctor import FAIL, examine  # noqa: PLC0415 - as above

    with _reachable() as settings:
        checks = list(examine(settings, time.time))
    show.checks(Console(), checks, as_json=as_json)
    raise typer.Exit(EXIT_FAILED if any(check.status == FAIL for check in checks) else 0)


@app.command(epilog="Example: inferwatch settings --json")
def settings(as_json: Json = False) -> None:
    """Print all settings; secrets are masked."""
    rows = _settings().masked()
    if as_json:
        print(msgspec.json.encode(rows).decode())
        return
    for name, value in rows.items():
        print(f"{name}={'' if value is None else value}")


if __name__ == "__main__":
    main()
