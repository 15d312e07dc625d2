"""One small installation and one export of it for all tests: who adds a row that counts takes it out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.cases.case_files import Asked as AskedCases
from streams.cases.case_files import kept as kept_cases
from streams.clickhouse import Store
from streams.evidence.exporting import Asked, export
from streams.evidence.manifest import Manifest
from streams.settings import Settings
from tests.chdb_directory import fresh_database
from tests.evidence import planted

Exporter = Callable[..., Manifest]


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    with fresh_database() as settings:
        yield settings


@pytest.fixture(scope="session")
def store(settings: Settings) -> Iterator[Store]:
    """The installation, with the incident in it."""
    connected = Store.connect(settings)
    planted.plant(connected)
    yield connected
    connected.close()


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="session")
def exporter(store: Store, settings: Settings, key: Ed25519PrivateKey) -> Exporter:
    """Exports the incident to a place; told what is `with_texts` and what is done when."""
    return exporter_of(store, settings, key)


def exporter_of(store: Store, settings: Settings, key: Ed25519PrivateKey) -> Exporter:
    def run(
        place: Path,
        *,
        with_texts: bool = True,
        kept: Callable[[Manifest, list[str]], None] = lambda *_: None,
        told: Callable[[int, int], None] = lambda *_: None,
    ) -> Manifest:
        incident_id = planted.incident(store).incident_id
        (case,) = kept_cases(store, AskedCases(incident_id=incident_id))
        asked = Asked(case=case, with_texts=with_texts, product="0.1.0")
        return export(store, settings, asked, place, key, kept=kept, told=told)

    return run


@pytest.fixture(scope="session")
def pristine(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that nobody may touch; copy it."""
    place = tmp_path_factory.mktemp("pristine") / "evidence"
    exporter(place)
    return place
