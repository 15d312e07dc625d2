"""A source that stops, on the real servers: said once, however often the worker starts."""

from __future__ import annotations

import time

import pytest

from streams import topics
from tests.integration.stack import Stack, StackWith, batch

_SILENCES = "SELECT deployment, finding_id FROM findings_latest WHERE detector = 'pipeline.source_silent'"
MINIMUM_S = 0.5


@pytest.fixture
def stack(stack_with: StackWith) -> Stack:
    return stack_with(session_timeout_s=6.0, snapshot_interval_s=0.5, silence_minimum_s=MINIMUM_S)


def speak(stack: Stack, deployment: str) -> None:
    """Be a source for more than two seconds: its age is what its silence is measured against."""
    for number in range(8):
        stack.produce(0, batch(range(number * 10, number * 10 + 10), deployment=deployment))
        time.sleep(0.35)


def test_a_deployment_that_stops_is_said_once_over_a_restart_while_another_lives(stack: Stack) -> None:
    def are_said(*deployments: str) -> bool:
        stack.produce(1, batch(range(3), deployment="lives"))
        return sorted(row["deployment"] for row in stack.store.query(_SILENCES)) == sorted(deployments)

    first = stack.start_worker()
    speak(stack, "stops")
    stack.wait_for("the silence is a finding", lambda: are_said("stops"))
    stack.bury(first)
    before = len(stack.stored())
    stack.start_worker()
    stack.wait_for("the second worker is at work", lambda: are_said("stops") and len(stack.stored()) > before)
    # When the second silence is said, by the second worker, it has looked at the first one too. Meanwhile the source
    # that lives pauses, for less than its age allows.
    speak(stack, "stops-later")
    stack.wait_for("the other silence is a finding", lambda: are_said("stops", "stops-later"))


def test_how_far_the_group_is_can_be_asked(stack: Stack) -> None:
    assert topics.progress(stack.settings, topics.INFERENCE_LOGS) == {0: (0, 0), 1: (0, 0)}
    stack.produce(0, batch([1]))
    assert topics.progress(stack.settings, topics.INFERENCE_LOGS)[0] == (1, 0)
    stack.start_worker()
    stack.wait_for(
        "it is read and committed", lambda: topics.progress(stack.settings, topics.INFERENCE_LOGS)[0] == (1, 1)
    )
