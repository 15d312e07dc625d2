"""Parameters that code computes: hashes of a typed prompt, and what detectors say when calls are played to them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from detectors import features
from detectors.types import InferenceEvent, Message
from streams.clickhouse import Store, migrate
from streams.forensics.preparing import prepared
from streams.keys import derive
from streams.settings import Settings, SettingsError
from tests.chdb_directory import chdb_url
from tests.speed.planted import KEY, plant, planted

PROMPT = "Tell me about  the Zanzibar report, please"


@pytest.fixture(scope="module")
def settings() -> Settings:
    made = Settings(clickhouse_url=chdb_url(), clickhouse_database="preparing", key=KEY)
    migrate(made)
    return made


@pytest.fixture(scope="module")
def store(settings: Settings) -> Store:
    return Store.connect(settings)


def test_a_typed_prompt_is_hashed_as_a_worker_hashes_that_of_a_call(store: Store, settings: Settings) -> None:
    asked = Message(role="user", content=PROMPT)
    event = InferenceEvent(deployment="chat", input_messages=(Message(role="system", content="be kind"), asked))
    (seen,) = features.observe([event], derive(KEY).hashes)
    assert prepared(store, settings, "near_duplicates", {"prompt": PROMPT})["simhash"] == str(seen.prompt_simhash)
    template = prepared(store, settings, "first_sender_of_template", {"prompt": PROMPT})["template"]
    assert template == str(seen.prompt_template)


def test_what_is_given_is_not_computed(store: Store, settings: Settings) -> None:
    for values in ({"event": "e1"}, {"simhash": "7"}, {"simhash": "7", "prompt": PROMPT}):
        assert prepared(store, settings, "near_duplicates", values) == values
    assert prepared(store, settings, "timeline", {"deployment": "chat"}) == {"deployment": "chat"}


def test_a_prompt_cannot_be_hashed_without_the_key_and_no_key_is_made_for_it(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="INFERWATCH_KEY"):
        prepared(store, Settings(data_dir=tmp_path), "near_duplicates", {"prompt": PROMPT})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("near_duplicates", {}, "one of --param event=..., --param prompt=..., --param simhash"),
        ("near_duplicates", {"prompt": "  "}, "no word"),
        ("first_sender_of_template", {"deployment": "chat"}, "--param template"),
        ("would_have_seen", {"incident": "inc-none"}, "is no incident"),
        ("would_have_seen", {"incident": ""}, "is no incident"),
        ("would_have_seen", {"incident": "inc-none", "played": "[]"}, "is computed"),
        ("would_have_seen", {"incident": "inc-none", "events": "0"}, "--param events"),
        ("would_have_seen", {"incident": "inc-none", "events": "\u0664\u00b2"}, "--param events"),
    ],
)
def test_what_cannot_be_computed_is_said(
    name: str, values: dict[str, str], says: str, store: Store, settings: Settings
) -> None:
    with pytest.raises(SettingsError, match=says):
        prepared(store, settings, name, values)


def test_the_calls_around_an_incident_are_played_to_every_detector(store: Store, settings: Settings) -> None:
    what = planted(1_790_000_000.0)
    of = {"incident": what.incident.incident_id}
    store.insert_incidents([what.incident])
    with pytest.raises(SettingsError, match="nothing to play"):
        prepared(store, settings, "would_have_seen", of)
    plant(store, what)
    whole = played(prepared(store, settings, "would_have_seen", of))
    onset_us = round(what.incident.onset_s * 1e6)
    assert whole["unapproved_change"][2:] == ["seen", "till", onset_us, "high", 1, 0, 661]
    assert whole["feature_drift"][2] == "blind"
    assert prepared(store, settings, "would_have_seen", {"incident": of["incident"][:9]})["incident"] == of["incident"]
    few = played(prepared(store, settings, "would_have_seen", {**of, "events": "20"}))
    assert few["output_drift"][2] == "warming"
    assert {row[-1] for row in few.values()} == {0, 20}


def played(values: dict[str, str]) -> dict[str, list[object]]:
    rows = msgspec.json.decode(values["played"], type=list[list[object]])
    return {str(row[0]): row for row in rows}
