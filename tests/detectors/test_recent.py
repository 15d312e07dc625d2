from __future__ import annotations

import numpy as np

from detectors.recent import Recent


def test_what_was_seen_is_known_and_hardly_anything_else() -> None:
    values = np.random.default_rng(1).integers(0, 2**63, 20_000).tolist()
    recent = Recent()
    known = sum(recent.has(value) for value in values[:8_000])
    assert known <= 8_000 * 0.03
    assert all(recent.has(value) for value in values[:8_000])


def test_the_oldest_half_is_forgotten_and_the_memory_stays() -> None:
    values = np.random.default_rng(2).integers(0, 2**63, 60_000).tolist()
    recent = Recent()
    for value in values:
        recent.has(value)
    assert len(recent.young) + len(recent.old) == 32 * 1024
    assert sum(recent.has(value) for value in values[:1_000]) < 200
    assert recent.has(-1) in {True, False}
    assert recent.has(-1)
