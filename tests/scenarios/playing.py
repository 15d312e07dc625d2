"""A scenario through the whole pure pipeline: lines, records, observations, findings, incidents."""

from __future__ import annotations

import importlib
import pkgutil

from detectors.base import DEPLOYMENT, PRINCIPAL
from streams.cases.incidents import Incident
from streams.composing import make_bank, make_cases
from streams.pipeline import Pipeline
from streams.plays import scenario
from streams.plays.scenario import Scenario
from streams.privacy import ContentMode, Privacy
from streams.replay import TOPIC, Casebook, replay
from streams.sending import packed
from streams.settings import Settings
from tests.scenarios import held_out

END_S = 1_799_971_200.0
_KEY = b"k" * 32


def held_back() -> dict[str, Scenario]:
    """The scenarios that are not shipped, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(held_out.__path__))
    return {name: scenario.read(importlib.import_module(f"{held_out.__name__}.{name}")) for name in names}


def incidents(played: Scenario, seed: int) -> list[Incident]:
    """What a scenario comes to, as `inferwatch replay` would say with the settings that are shipped."""
    settings = Settings()
    mode = ContentMode.REDACTED
    pipeline = Pipeline(topic_id=TOPIC, privacy=Privacy(_KEY, mode), mode=mode, hash_key=_KEY)
    banks = [make_bank(settings, scope) for scope in (DEPLOYMENT, PRINCIPAL)]
    casebook = Casebook(make_cases(settings))
    for step in replay(packed(played.lines(seed, END_S)), END_S, pipeline, banks):
        assert not step.dead_letters
        for finding in step.findings:
            casebook.take(finding)
    return casebook.incidents


def missing(name: str) -> list[str]:
    """What is not as it must be in a scenario that is not shipped."""
    played = held_back()[name]
    return scenario.shortfalls(played.expected, incidents(played, 1), END_S)
