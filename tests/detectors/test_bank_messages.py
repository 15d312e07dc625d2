"""How a stream is cut into messages makes no difference to what a bank finds and learns."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from detectors.bank import DETECTOR_FAULT, Bank, SubjectState
from detectors.base import DEPLOYMENT, Detector, Metadata, dump
from detectors.types import APPROVED, BASELINE, Detection, Finding, Notice, Observation, Severity
from tests.detectors.test_bank_notices import Clerk, Follower
from tests.detectors.test_conformance import METADATA
from tests.detectors.toys import BUDGET, NOON_S, Adder, detection


class Batcher(Detector):
    """Keeps its sum in a local name while it learns a message, breaks at negative tokens and speaks of even sums."""

    metadata: ClassVar[Metadata] = msgspec.structs.replace(METADATA, requires=("input_tokens",), warm_up=3)
    total: int = 0

    def learn(self, observations: Iterable[Observation]) -> Iterator[Detection]:
        total = self.total
        for observation in observations:
            tokens = observation.input_tokens or 0
            if tokens < 0:
                raise ValueError(tokens)
            total += tokens
            if total % 2 == 0:
                self.total = total
                yield detection(observation, Severity.LOW, float(total))
        self.total = total


KINDS: dict[str, type[Detector]] = {"adder": Adder, "batcher": Batcher, "clerk": Clerk, "follower": Follower}
_MODELS = ("old", "new", "critical", "low", None)


@st.composite
def streams(draw: st.DrawFn) -> tuple[Observation, ...]:
    picked = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 3), st.sampled_from(_MODELS)), max_size=40))
    return tuple(
        Observation(
            event_id=str(place),
            time_s=NOON_S + 3_700.0 * place,
            deployment="chat",
            model=model,
            input_tokens=None if kind == 0 or kind in NOTICES else tokens,
            notice=NOTICES.get(kind),
        )
        for place, (kind, tokens, model) in enumerate(picked)
    )


def saved(row: tuple[str, int, int, bytes]) -> SubjectState:
    state = msgspec.msgpack.decode(row[-1], type=SubjectState)
    assert row[:-1] == ("chat", 0, state.next_offset)
    return state


NOTICES = {1: Notice(kind=BASELINE), 2: Notice(kind=APPROVED, component="weights", version="2")}


def learned(messages: Iterable[tuple[Observation, ...]]) -> tuple[list[Finding], dict[str, bytes]]:
    bank, found = Bank(DEPLOYMENT, BUDGET, KINDS), []
    for offset, message in enumerate(messages):
        found += bank.apply(0, offset, message)
    subject = bank._subjects.get("chat")
    return found, {} if subject is None else {name: dump(each) for name, each in subject.detectors.items()}


@given(streams(), st.lists(st.integers(1, 12), min_size=40, max_size=40))
def test_any_cut_gives_the_findings_and_the_states_of_one_at_a_time(
    stream: tuple[Observation, ...], sizes: list[int]
) -> None:
    begun, messages = 0, []
    for size in sizes:
        messages.append(stream[begun : begun + size])
        begun += size
    assert learned(messages) == learned((each,) for each in stream)


@given(streams(), st.lists(st.integers(1, 6), min_size=40, max_size=40), st.integers(1, 4))
def test_messages_that_are_learned_together_give_what_they_give_one_after_the_other(
    stream: tuple[Observation, ...], sizes: list[int], together: int
) -> None:
    ends = [*itertools.accumulate(sizes)]
    cut = [stream[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    messages = [message for message in enumerate(cut) if message[1]]
    banks = [Bank(DEPLOYMENT, BUDGET, KINDS) for _ in range(2)]
    found: list[list[Finding]] = [[], []]
    for at in range(0, len(messages), together):
        part = messages[at : at + together]
        # As after a crash: the part comes again together with the one before it.
        found[0] += banks[0].apply_all(0, messages[max(at - together, 0) : at] + part)
        for offset, message in part:
            found[1] += banks[1].apply(0, offset, message)
    assert found[0] == found[1]
    together_state, alone_state = ([saved(row) for row in bank.take_changed()] for bank in banks)
    assert together_state == alone_state


def test_a_fault_in_the_middle_of_a_message_is_of_its_call_and_the_next_ones_are_learned() -> None:
    stream = tuple(
        Observation(event_id=str(place), time_s=NOON_S, deployment="chat", input_tokens=tokens)
        for place, tokens in enumerate((1, 3, -1, 5, 7, 2))
    )
    bank = Bank(DEPLOYMENT, BUDGET, {"batcher": Batcher})
    found = bank.apply(0, 0, stream)
    assert [(finding.detector, finding.event_id) for finding in found] == [("batcher", "1"), (DETECTOR_FAULT, "2")]
    (left,) = bank._subjects["chat"].detectors.values()
    assert isinstance(left, Batcher)
    assert (left.total, left.heard) == (14, 3)
