"""The verbs ``inferwatch canary ...``: known prompts asked again, so that a silent change shows."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from streams.canaries import Endpoint, Question, ask_all, load_prompts
from streams.settings import Settings, SettingsError

if TYPE_CHECKING:
    from streams.producer import EventProducer

app = typer.Typer(help="Known prompts asked again.", no_args_is_help=True)

EXIT_FAILED = 1

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


@app.callback()
def _group() -> None:
    """Keep ``run`` a verb of its own: Typer would take the only command for the group."""


@app.command(
    "run",
    epilog="Example: INFERWATCH_CANARY_API_KEY_FILE=key inferwatch canary run --endpoint https://llm.internal/v1 "
    "--model gpt-4o --deployment support-chat --every 1d",
)
def run(  # noqa: PLR0913, PLR0917 - the options of a verb
    endpoint: Annotated[str, typer.Option(help="Address of an OpenAI-compatible API, such as https://host/v1.")],
    model: Annotated[str, typer.Option(help="The model to ask for.")],
    prompts: Annotated[
        Path | None, typer.Option(help="A file of prompts, one a line; without it the 50 that are shipped.")
    ] = None,
    deployment: Annotated[str, typer.Option(help="The deployment the answers count for; the model if not said.")] = "",
    repeat: Annotated[int, typer.Option(min=1, max=100, help="Ask all prompts so many times in a row.")] = 1,
    every: Annotated[str, typer.Option(help="Go on and do so again after 90s, 15m, 1h, 1d; until Ctrl-C.")] = "",
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0)] = 0.0,
    longest: Annotated[int, typer.Option(min=1, max=100_000, help="Tokens of an answer, at most.")] = 512,
    timeout: Annotated[float, typer.Option(min=0.1, max=3_600.0, help="Seconds to wait for one answer.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a round for machines.")] = False,  # noqa: FBT002 - Typer's flags are boolean defaults
) -> None:
    """Ask known prompts and send the answers to inference-logs, where the detector `canary` compares them.

    The key of the endpoint is INFERWATCH_CANARY_API_KEY, or a file named by INFERWATCH_CANARY_API_KEY_FILE. The first
    three rounds of 50 prompts are learned; ask once a day at least, and with --repeat 3 the first time.
    """
    from streams.addressing import at_hand  # noqa: PLC0415 - a verb that is only explained starts faster
    from streams.producer import EventProducer  # noqa: PLC0415 - as above
    from streams.security import kafka_python_options  # noqa: PLC0415 - as above
    from streams.topics import INFERENCE_LOGS, full_name  # noqa: PLC0415 - as above

    pause_s = _seconds(every) if every else None
    texts = load_prompts(prompts)
    question = Question(model=model, deployment=deployment or model, temperature=temperature, max_tokens=longest)
    settings = Settings.from_env(os.environ)
    asked = Endpoint(endpoint, settings.canary_api_key, timeout)
    with at_hand(settings, os.environ) as reached:
        topic = full_name(reached, INFERENCE_LOGS)
        with EventProducer(reached.kafka_brokers, topic, **kafka_python_options(reached)) as producer:
            while True:
                began_s = time.monotonic()
                answered = _round(asked, question, texts * repeat, producer, as_json=as_json)
                if pause_s is None:
                    break
                time.sleep(max(pause_s - (time.monotonic() - began_s), 0.0))
    raise typer.Exit(0 if answered else EXIT_FAILED)


def _round(asked: Endpoint, question: Question, texts: list[str], producer: EventProducer, *, as_json: bool) -> bool:
    """Ask once, wait until all of it is durable, say what happened; whether anything was answered."""
    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(question.deployment, total=len(texts))
        result = ask_all(asked, question, texts, producer, lambda: progress.advance(task))
    producer.flush()
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
    else:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(result.errors.items()))
        said = f"asked {result.prompts} prompts of {question.model} for {question.deployment}"
        typer.echo(f"{said}, {result.failed} without an answer{f': {reasons}' if reasons else ''}")
    return result.failed < result.prompts


def _seconds(every: str) -> float:
    match = re.fullmatch(r"(\d{1,9})([smhd])", every)
    if match is None or not int(match[1]):
        raise SettingsError(f"--every: {every!r} is not accepted; a number and s, m, h or d, such as 1h")
    return float(match[1]) * _UNITS_S[match[2]]
