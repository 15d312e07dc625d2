from __future__ import annotations

import numpy as np
import pytest

from detectors.features import observe
from detectors.prompt_space import DIMENSIONS, places, raw, reference, usual, whitened
from detectors.prompt_words import kinds_of
from detectors.types import InferenceEvent, Message

KEY = b"0123456789abcdef"
QUESTION = "How can I tell whether my house has a water leak?"
PROBLEM = "Tom has {} apples and gives {} of them to his {} friends. How many apples does each of them get?"


def place(*prompts: str) -> np.ndarray:
    spots = places(prompts, kinds_of(prompts))
    return np.frombuffer(b"".join(spots), dtype=np.int8).reshape(len(prompts), -1).astype(float)


def test_a_place_is_thirteen_bytes_whatever_the_prompt() -> None:
    for prompt in ("x", QUESTION, "\x00" * 50, "\ud800 lone", "\u4f60\u597d" * 2_000, "word " * 100_000):
        (spot,) = places([prompt], kinds_of([prompt]))
        assert len(spot) == DIMENSIONS + 1


def test_a_place_does_not_depend_on_the_batch() -> None:
    prompts = [QUESTION, "", "write a poem", "def f(x):\n    return x"]
    together = place(*prompts)
    assert all((place(prompt)[0] == together[at]).all() for at, prompt in enumerate(prompts))


def test_questions_of_one_kind_are_near_and_others_far() -> None:
    first, second, other = place(PROBLEM.format(9, 6, 3), PROBLEM.format(40, 24, 8), "def f(x):\n    return [x]\n")
    near, far = (np.linalg.norm((first - each)[:DIMENSIONS]) for each in (second, other))
    assert near < 0.35 * far


def test_what_people_ask_is_more_usual_than_what_hardly_anybody_does() -> None:
    question, odd = place(QUESTION, "%%%% ;;;; ~~~~ 0101 ####")
    assert question[-1] > odd[-1] + 20


def test_the_density_is_that_of_the_mixture() -> None:
    people = reference()
    points = np.random.default_rng(1).normal(size=(50, DIMENSIONS))
    means, variances = np.array(people.means), np.array(people.variances)
    squares = ((points[:, None] - means) ** 2 / variances + np.log(2.0 * np.pi * variances)).sum(axis=2)
    expected = np.log((np.array(people.weights) * np.exp(-0.5 * squares)).sum(axis=1))
    assert usual(points, people) == pytest.approx(expected)


def test_raw_features_are_finite_and_coordinates_bounded() -> None:
    prompts = ["", "?", "\u20ac" * 5_000, "A" * 5_000]
    features = raw(prompts, kinds_of(prompts))
    assert np.isfinite(features).all()
    assert np.abs(whitened(features, reference())).max() <= 4.0


def observed(prompt: str) -> tuple[int | None, int | None, bytes | None]:
    event = InferenceEvent(deployment="d", event_id="e", input_messages=(Message(role="user", content=prompt),))
    (seen,) = observe([event], KEY)
    return seen.prompt_head, seen.prompt_tail, seen.prompt_place


def test_fills_of_a_template_share_their_head_or_their_tail() -> None:
    assert observed("Translate to German: tree")[0] == observed("Translate  to GERMAN: a house")[0]
    assert observed("A long story.\n\nTL;DR:")[1] == observed("Another one?\n\nTL;DR:")[1]
    assert observed("Where is Rome?")[0] != observed("Where is the sea?")[0]
    assert observed("def f():\n    pass\n'''")[1] != observed("def f():\n    return 1\n'''")[1]


def test_without_a_prompt_nothing_is_known() -> None:
    assert observed("") == (None, None, None)
