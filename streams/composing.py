"""The pure parts as the settings make them: the same for a worker and for a replay."""

from __future__ import annotations

from detectors.alarms import Budget
from detectors.bank import Bank, discover
from detectors.base import DEPLOYMENT
from streams.alerting.owners import owners_of
from streams.keys import Keys
from streams.pipeline import Pipeline
from streams.privacy import ContentMode, Privacy
from streams.settings import Settings
from streams.triage import Cases

PATIENCE = 4
"""Observations with which a subject gets detectors; those before are not learned, so they are few."""


def make_pipeline(settings: Settings, keys: Keys, topic_id: str) -> Pipeline:
    """The pure half, the same for a worker and for a replay."""
    mode = ContentMode(settings.content_mode)
    return Pipeline(
        topic_id=topic_id,
        privacy=Privacy(keys.pseudonyms, mode, redact_ips=settings.redact_ips),
        mode=mode,
        hash_key=keys.hashes,
        input_format=settings.input_format,
        max_record_bytes=settings.max_record_bytes,
    )


def make_budget(settings: Settings) -> Budget:
    """The operator's alarm budget, and what it is shared over."""
    return Budget(
        per_day=settings.alarm_budget,
        deployments=settings.expected_deployments,
        principals=settings.expected_principals,
    )


def make_bank(settings: Settings, scope: str) -> Bank:
    """A bank of all detectors of `scope` under the operator's alarm budget."""
    live = settings.max_live_deployments if scope == DEPLOYMENT else settings.max_live_principals
    return Bank(scope, make_budget(settings), max_subjects=live, patience=PATIENCE)


def make_cases(settings: Settings) -> Cases:
    """What makes incidents of findings."""
    catalog = {name: kind.metadata for name, kind in discover().items()}
    owners = {} if settings.owners is None else owners_of(settings.owners)
    return Cases(settings.incident_quiet_s, catalog, owners, settings.incident_cool_down_s)
