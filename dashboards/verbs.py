# ruff: noqa: T201, FBT002 - printing is what a verb does, and Typer's flags are boolean defaults
"""The verbs ``inferwatch dashboards ...``: the build in a Grafana, and what a Grafana has of it.

The console script finds them by the entry point ``inferwatch.verbs`` and hands in what only it may know: the settings
and a way to ask the store.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

if TYPE_CHECKING:
    from dashboards.grafana import Access, Grafana
    from dashboards.publish import Thing

EXIT_FAILED = 1

OVERLAP_S = 120.0
"""Looked at again in every round: a row may be stored a little later than it says."""

DAY_S = 86_400.0

Json = Annotated[bool, typer.Option("--json", help="One JSON document for machines.")]


class Shell(Protocol):
    """What the console script gives."""

    def settings(self) -> Access:
        """How Grafana is reached."""

    def asking(self) -> AbstractContextManager[Callable[[str], list[dict[str, Any]]]]:
        """A way to read the store for as long as the context lasts."""


def verbs(shell: Shell) -> typer.Typer:
    """The group of verbs."""
    app = typer.Typer(help="The screens in a Grafana server.", no_args_is_help=True)
    own = Verbs(shell)
    app.command("push", epilog="Example: INFERWATCH_GRAFANA_TOKEN_FILE=token inferwatch dashboards push")(own.push)
    app.command("pull-diff", epilog="Example: inferwatch dashboards pull-diff | less")(own.pull_diff)
    app.command("check", epilog="Example: inferwatch dashboards check --json")(own.check)
    app.command("annotate", epilog="Example: inferwatch dashboards annotate --follow")(own.annotate)
    app.command("smoke", epilog="Example: inferwatch dashboards smoke --hours 24")(own.smoke)
    return app


class Verbs:
    """What each of them does."""

    def __init__(self, shell: Shell) -> None:
        """Nothing is read or reached before a verb runs."""
        self._shell = shell

    def push(
        self,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Also over what others have saved.")] = False,
        editable: Annotated[
            bool, typer.Option("--editable-rules", help="Alert rules may be changed in Grafana's pages afterwards.")
        ] = False,
    ) -> None:
        """Put folder, dashboards and alert rules into Grafana, where they differ; twice is the same as once.

        For a Grafana that is not provisioned from files, as compose's is. Grafana is INFERWATCH_GRAFANA_URL; sign in
        with INFERWATCH_GRAFANA_TOKEN_FILE, or INFERWATCH_GRAFANA_USER and INFERWATCH_GRAFANA_PASSWORD_FILE.
        """
        from dashboards.publish import things, write  # noqa: PLC0415 - a verb that is only explained starts faster

        grafana = _grafana(self._shell)
        for thing in things(grafana):
            wrote = write(grafana, thing, overwrite=overwrite, editable=editable)
            print(f"{thing.name}: {'written' if wrote else 'as built'}")

    def pull_diff(self) -> None:
        """Print what Grafana has otherwise than the build, as a unified diff; exit 1 where anything differs."""
        diffs = [text for thing in _things(self._shell) if (text := thing.diff())]
        for text in diffs:
            print(text)
        raise typer.Exit(EXIT_FAILED if diffs else 0)

    def check(self, as_json: Json = False) -> None:
        """Say what Grafana lacks, has of an older build, or has been changed by others; exit 1 for any of them."""
        from dashboards.publish import has_data_source, strays  # noqa: PLC0415 - as above

        grafana = _grafana(self._shell)
        states = {thing.name: _state(thing) for thing in _things(self._shell, grafana)}
        states["data source"] = "fresh" if has_data_source(grafana) else "missing: not written from here"
        others = strays(grafana)
        if as_json:
            print(json.dumps({"things": states, "strays": others}))
        else:
            for name, state in states.items():
                print(f"{name}: {state}")
            for uid in others:
                print(f"dashboard {uid}: not of this build")
        raise typer.Exit(0 if set(states.values()) == {"fresh"} else EXIT_FAILED)

    def annotate(
        self,
        days: Annotated[float, typer.Option("--days", min=0.01, max=400.0, help="How far to look back.")] = 7.0,
        follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
        every_s: Annotated[float, typer.Option("--every", min=1.0, max=3_600.0, help="Seconds between looks.")] = 15.0,
    ) -> None:
        """Mark incidents, approved changes and baselines on the graphs of everybody who asks for the tag inferwatch."""
        grafana = _grafana(self._shell)
        since_s = time.time() - days * DAY_S
        while True:
            began_s = time.time()
            if _annotated(self._shell, grafana, since_s, go_on=follow):
                since_s = max(since_s, began_s - OVERLAP_S)
            if not follow:
                return
            time.sleep(every_s)

    def smoke(
        self,
        hours: Annotated[int, typer.Option(min=1, max=10_000, help="The time range of the panels.")] = 6,
    ) -> None:
        """Ask a running Grafana for its health, and the query of every panel through it; exit 1 for any that fails."""
        from dashboards.smoke import smoke as tries  # noqa: PLC0415 - as above

        failed = 0
        for tried in tries(_grafana(self._shell), hours):
            failed += bool(tried.wrong)
            print(f"{'FAIL' if tried.wrong else 'ok'} {tried.what}{f': {tried.wrong}' if tried.wrong else ''}")
        print(f"{failed} failed")
        raise typer.Exit(EXIT_FAILED if failed else 0)


def _grafana(shell: Shell) -> Grafana:
    from dashboards.grafana import Grafana  # noqa: PLC0415 - as above

    return Grafana(shell.settings())


def _things(shell: Shell, grafana: Grafana | None = None) -> list[Thing]:
    from dashboards.publish import things  # noqa: PLC0415 - as above

    return list(things(grafana or _grafana(shell)))


def _state(thing: Thing) -> str:
    of_files = ", from files" if thing.from_files and thing.state != "fresh" else ""
    return {
        "fresh": "fresh",
        "missing": "missing",
        "stale": f"stale{of_files}: of an older build",
        "edited": f"edited{of_files}: saved by {thing.who or 'somebody else'}",
    }[thing.state]


def _annotated(shell: Shell, grafana: Grafana, since_s: float, *, go_on: bool) -> bool:
    """One round; False where Grafana could not be told and the next round has to look again."""
    from dashboards.annotations import marks, put_all  # noqa: PLC0415 - as above
    from dashboards.grafana import GrafanaError  # noqa: PLC0415 - as above

    try:
        with shell.asking() as ask:
            counted = put_all(grafana, marks(ask, since_s))
    except GrafanaError as error:
        if not go_on:
            raise
        print(f"not now: {error}", file=sys.stderr, flush=True)
        return False
    if not go_on or any(counted[word] for word in ("added", "changed", "removed")):
        print(", ".join(f"{number} {word}" for word, number in counted.items()), flush=True)
    return True
