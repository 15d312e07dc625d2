from __future__ import annotations

import numpy as np
import pytest

from detectors.prompt_mode import Mode, background, crowded, products, spots
from detectors.prompt_space import DIMENSIONS, STEPS, reference, usual

SPOT = np.linspace(-1.0, 1.0, DIMENSIONS)


def people(rng: np.random.Generator, count: int) -> np.ndarray:
    mixture = reference()
    kinds = rng.choice(len(mixture.weights), count, p=np.array(mixture.weights) / sum(mixture.weights))
    means, variances = np.array(mixture.means), np.array(mixture.variances)
    drawn: np.ndarray = means[kinds] + rng.normal(size=(count, DIMENSIONS)) * np.sqrt(variances[kinds])
    return drawn


def columns(points: np.ndarray) -> np.ndarray:
    return np.vstack([np.ones(len(points)), points.T])


def test_entries_are_columns_of_a_one_and_coordinates() -> None:
    entries = np.arange(-30, 30, dtype=np.int8).reshape(4, 15)
    assert spots(entries) == pytest.approx(columns(entries[:, :DIMENSIONS] / STEPS))


def test_the_gains_are_those_of_a_mixture_of_people_and_one_gaussian() -> None:
    rng = np.random.default_rng(8)
    points = 1.0 + rng.normal(0.0, 0.5, (40, DIMENSIONS))
    mode = crowded(columns(points), np.full(40, -20.0))
    covariance = (mode.scatter + 4.0 * np.eye(DIMENSIONS)) / (mode.count + 8.0)
    off = points - mode.center
    squares = (off * np.linalg.solve(covariance, off.T).T).sum(axis=1)
    density = -0.5 * (squares + DIMENSIONS * np.log(2.0 * np.pi) + np.linalg.slogdet(covariance)[1])
    lifted = mode.share * np.exp(np.minimum(density + 12.0, 6.0))
    gains, members = mode.gains(products(columns(points)), np.full(40, -12.0))
    assert members == pytest.approx(lifted / (1.0 - mode.share + lifted), rel=1e-6)
    assert gains == pytest.approx(np.log(1.0 - mode.share + lifted), abs=1e-6)


def test_the_crowd_among_people_is_found_with_its_share() -> None:
    rng = np.random.default_rng(1)
    points = np.vstack([people(rng, 60), SPOT + rng.normal(0.0, 0.3, (20, DIMENSIONS))])
    mode = crowded(columns(points), usual(points, reference()))
    assert mode.share == pytest.approx(0.25, abs=0.08)
    assert np.abs(mode.center - SPOT).max() < 0.3
    _, members = mode.gains(products(columns(points)), usual(points, reference()))
    assert members[60:].min() > 0.5 > np.median(members[:60])


def test_new_prompts_of_people_gain_little_and_those_of_the_crowd_much() -> None:
    rng = np.random.default_rng(2)
    points = np.vstack([people(rng, 60), SPOT + rng.normal(0.0, 0.3, (20, DIMENSIONS))])
    mode = crowded(columns(points), usual(points, reference()))
    for fresh, low, high in (
        (people(rng, 500), -0.5, 0.2),
        (SPOT + rng.normal(0.0, 0.3, (500, DIMENSIONS)), 2.0, 6.0),
    ):
        gains, _ = mode.gains(products(columns(fresh)), usual(fresh, reference()))
        assert low < gains.mean() < high


def test_learning_in_parts_gives_mean_and_scatter_of_the_whole() -> None:
    points = SPOT + np.random.default_rng(3).normal(0.0, 0.5, (150, DIMENSIONS))
    mode = Mode(share=0.5, moments=products(columns(points[:1]))[:, 0].astype(np.float32))
    for at in range(1, 150, 10):
        mode.learn(products(columns(points[at : at + 10])), np.ones(len(points[at : at + 10])))
    off = points - points.mean(axis=0)
    assert mode.count == pytest.approx(150.0)
    assert mode.center == pytest.approx(points.mean(axis=0), abs=1e-4)
    assert mode.scatter == pytest.approx(off.T @ off, abs=1e-2)


def test_old_prompts_of_a_mode_fade() -> None:
    rng = np.random.default_rng(4)
    points = rng.normal(0.0, 0.3, (60, DIMENSIONS))
    mode = crowded(columns(points), usual(points, reference()))
    for _ in range(60):
        mode.learn(products(columns(SPOT + rng.normal(0.0, 0.3, (20, DIMENSIONS)))), np.ones(20))
    assert mode.count == pytest.approx(200.0)
    assert np.abs(mode.center - SPOT).max() < 0.1


def test_a_batch_without_members_changes_nothing_but_the_share() -> None:
    points = np.random.default_rng(5).normal(0.0, 0.3, (60, DIMENSIONS))
    mode = crowded(columns(points), usual(points, reference()))
    center, scatter, share = mode.center, mode.scatter, mode.share
    mode.learn(products(columns(points + 3.0)), np.zeros(len(points)))
    assert mode.center == pytest.approx(center)
    assert mode.scatter == pytest.approx(scatter)
    assert mode.share < share


def test_a_narrow_mode_has_a_smaller_volume_than_a_wide_one() -> None:
    rng = np.random.default_rng(6)
    wide, narrow = (
        crowded(columns(points), usual(points, reference()) - 20.0).volume()
        for points in (rng.normal(0.0, 1.0, (300, DIMENSIONS)), rng.normal(0.0, 0.2, (300, DIMENSIONS)))
    )
    assert narrow < -6.0 < -2.0 < wide


def test_one_who_writes_far_from_all_others_is_explained_by_the_own_mean() -> None:
    rng = np.random.default_rng(7)
    points = 3.0 + rng.normal(0.0, 1.0, (100, DIMENSIONS))
    alone = usual(points, reference())
    assert (background(columns(points), alone, points.mean(axis=0)) - alone).mean() > 10.0
