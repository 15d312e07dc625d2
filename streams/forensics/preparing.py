"""Parameters of a question that code computes from others: what needs the installation's key, or detectors.

A sketch and a template are keyed hashes: a prompt that a person types is hashed as the pipeline hashes those of calls.
Which detectors would have seen an incident only the detectors can say. What is computed is a parameter like any other
and bound like it, so that a question stays one SELECT, and every form of output the server's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from detectors import features
from detectors.types import InferenceEvent, Message, Observation
from streams.clickhouse import Store
from streams.forensics.playing import played
from streams.keys import present_keys
from streams.settings import Settings, SettingsError

Prepare = Callable[[Store, Settings, Mapping[str, str]], Mapping[str, str]]


def prepared(store: Store, settings: Settings, name: str, values: Mapping[str, str]) -> dict[str, str]:
    """The values for the question of that name with those that are computed.

    Raises `SettingsError` where they cannot be, `StoreError`.
    """
    prepare = _PREPARED.get(name)
    return dict(values) if prepare is None else {**values, **prepare(store, settings, values)}


def _sketch(_: Store, settings: Settings, values: Mapping[str, str]) -> Mapping[str, str]:
    """The simhash of a prompt, unless it is given or that of an event is meant."""
    _one_of("near_duplicates", values, ("event", "prompt", "simhash"))
    seen = _seen(settings, values.get("prompt", ""))
    return {} if seen is None or "simhash" in values else {"simhash": str(seen.prompt_simhash)}


def _template(_: Store, settings: Settings, values: Mapping[str, str]) -> Mapping[str, str]:
    """The template of a prompt, likewise."""
    _one_of("first_sender_of_template", values, ("event", "prompt", "template"))
    seen = _seen(settings, values.get("prompt", ""))
    return {} if seen is None or "template" in values else {"template": str(seen.prompt_template)}


def _played(store: Store, settings: Settings, values: Mapping[str, str]) -> Mapping[str, str]:
    if "played" in values:
        raise SettingsError("--param played: it is computed; give --param incident=ID")
    events = values.get("events", "20000")
    if not events.isdecimal() or not 1 <= int(events) <= MOST_PLAYED:
        raise SettingsError(f"--param events: {events[:20]!r} is not accepted; 1 to {MOST_PLAYED}")
    incident_id, said = played(store, settings, values.get("incident", ""), int(events))
    return {"incident": incident_id, "played": said}


def _radius(_: Store, __: Settings, values: Mapping[str, str]) -> Mapping[str, str]:
    """Without either there is no place, and "nobody was touched" would be the wrong answer."""
    _one_of("blast_radius", values, ("incident", "deployment"))
    if not values.get("incident") and values.get("onset", _NEVER).startswith("1970"):
        raise SettingsError("blast_radius needs --param onset=..., unless an incident says when it began")
    return {}


def _whom(_: Store, __: Settings, values: Mapping[str, str]) -> Mapping[str, str]:
    _one_of("everything_by", values, ("principals", "incident"))
    return {}


def _one_of(name: str, values: Mapping[str, str], given: tuple[str, ...]) -> None:
    if not any(values.get(each) for each in given):
        raise SettingsError(f"{name} needs one of --param {'=..., --param '.join(given)}=...")


def _seen(settings: Settings, prompt: str) -> Observation | None:
    """A prompt as the pipeline saw it when it came; `None` for none."""
    if not prompt:
        return None
    keys = present_keys(settings)
    if keys is None:
        raise SettingsError(
            "the hash of a prompt is made with the installation's key: set INFERWATCH_KEY, or give the event"
        )
    event = InferenceEvent(deployment="", input_messages=(Message(role="user", content=prompt),))
    (observation,) = features.observe([event], keys.hashes)
    if not observation.prompt_simhash:
        raise SettingsError("--param prompt: there is no word in it")
    return observation


_NEVER: Final = "1970-01-01"
MOST_PLAYED: Final = 1_000_000
"""Calls that one question may play: minutes of one processor."""

_PREPARED: Final[Mapping[str, Prepare]] = {
    "near_duplicates": _sketch,
    "first_sender_of_template": _template,
    "would_have_seen": _played,
    "blast_radius": _radius,
    "blast_radius_sessions": _radius,
    "everything_by": _whom,
}
