"""A trigger is named where its prompts are stored and the key is at hand, and stays a hash elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
from typer.testing import CliRunner

from detectors import tokens
from detectors.catalog.backdoor_trigger import COMPANIONS, EXAMPLES, TRIGGER
from detectors.types import Evidence, Finding
from streams.cli import app
from streams.clickhouse import Store
from streams.composing import make_pipeline
from streams.custody.access import entries
from streams.dlq import Record
from streams.keys import derive, present_keys
from streams.naming import with_words
from streams.settings import Settings
from tests.chdb_directory import fresh_database
from tests.store_values import FINDING

pytest.importorskip("chdb", reason="the extra `local` is not installed")

KEY = "0123456789abcdef" * 4
HASHES = derive(KEY).hashes
PROMPT = "please translate cf\x1b[31m zorbl this sentence"


@pytest.fixture
def store() -> Iterator[Store]:
    with fresh_database(KEY) as settings, closing(Store.connect(settings)) as made:
        yield made


def stored(store: Store, content_mode: str = "full") -> str:
    """The id of a stored event with the prompt."""
    value = msgspec.json.encode(
        {
            "deployment": "chat",
            "model": "m",
            "input_messages": [{"role": "user", "content": PROMPT}],
            "output_messages": [{"role": "assistant", "content": "no"}],
        }
    )
    pipeline = make_pipeline(Settings(key=KEY, content_mode=content_mode), derive(KEY), "topic-1")
    (row,) = pipeline.process([Record(topic="t", partition=0, offset=0, time_s=time.time(), value=value)]).stored
    store.insert_events([row])
    return row.observation.event_id


def hash_of(word: str) -> str:
    packed = tokens.unpacked(tokens.tokens(PROMPT, HASHES) or b"")
    (found,) = [value for value in packed if tokens.named([value], [PROMPT], HASHES).get(value) == word]
    return f"{found:08x}"


def about(word: str, event_id: str) -> Finding:
    return msgspec.structs.replace(
        FINDING,
        summary=f"A word in prompts triggers refusals: with word {word}, 3 %",
        evidence=(
            Evidence(name=TRIGGER, observed=word, unit="hash of a word"),
            Evidence(name=COMPANIONS, observed="none"),
            Evidence(name=EXAMPLES, observed=f"{event_id} topic:0:999:0", unit="event ids"),
        ),
    )


def test_the_word_is_named_from_the_prompts_of_the_examples(store: Store) -> None:
    finding = about(hash_of("zorbl"), stored(store))
    (named,) = with_words([finding], store, HASHES)
    assert 'with word "zorbl", 3 %' in named.summary
    assert named.evidence[0].observed == '"zorbl"'
    assert msgspec.structs.replace(named, summary="", evidence=()) == msgspec.structs.replace(
        finding, summary="", evidence=()
    )


def test_the_verb_names_a_word_only_for_who_says_why_and_that_is_recorded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.insert_findings([msgspec.structs.replace(about(hash_of("zorbl"), stored(store)), time_s=time.time())])
    settings = store._settings
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_URL", settings.clickhouse_url)
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_DATABASE", settings.clickhouse_database)
    monkeypatch.setenv("INFERWATCH_KEY", KEY)

    def said(*options: str) -> str:
        return CliRunner().invoke(app, ["findings", "--json", *options], catch_exceptions=False).stdout

    assert "zorbl" not in said()
    assert entries(store, 0.0, 10) == []
    for refused in (["--with-texts"], ["--with-texts", "--why", " "], ["--why", "curiosity"]):
        assert "--why" in str(CliRunner().invoke(app, ["findings", *refused]).exception)
    assert entries(store, 0.0, 10) == []
    assert "zorbl" in said("--with-texts", "--why", "TICKET-3", "--by", "kim")
    (known,) = entries(store, 0.0, 10)
    assert (known.who, known.verb, known.why) == ("kim", "findings", "TICKET-3")


def test_without_the_text_or_the_right_key_the_hash_stays(store: Store) -> None:
    finding = about(hash_of("zorbl"), stored(store))
    assert with_words([finding], store, None) == [finding]
    assert with_words([finding], store, derive("another key " * 4).hashes) == [finding]
    assert with_words([about(hash_of("zorbl"), "topic:0:1:0")], store, HASHES)[0].summary == finding.summary


def test_what_is_stored_as_features_only_cannot_be_named(store: Store) -> None:
    finding = about(hash_of("zorbl"), stored(store, "features"))
    assert with_words([finding], store, HASHES) == [finding]


def test_other_findings_are_left_as_they_are(store: Store) -> None:
    assert with_words([FINDING], store, HASHES) == [FINDING]


def test_looking_for_a_key_makes_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("data")
    assert present_keys(Settings(data_dir=directory)) is None
    assert not list(directory.iterdir())
    assert present_keys(Settings(key=KEY)) == derive(KEY)
