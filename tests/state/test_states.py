"""States come back where they are proven to be the last ones, and what is refused is said in proportion."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from detectors.bank import Bank
from detectors.base import DEPLOYMENT
from detectors.types import Finding
from streams import marks
from streams.snapshots import key_id
from streams.triage import COLD_START
from tests.detectors.toys import BUDGET, TOYS, Adder, Newer, bank, call
from tests.state.saved import KEY, SOURCE, Keeper, Shelf

OTHER_KEY = b"o" * 32


def subjects(count: int) -> list[str]:
    return [f"subject-{number:05d}" for number in range(count)]


def filled(count: int, lives: int = 1) -> Shelf:
    shelf = Shelf()
    for life in range(lives):
        keeper = Keeper(shelf)
        assert keeper.learn(0, life, [call(name, tokens=10) for name in subjects(count)]) == []
        keeper.save()
    return shelf


def said(findings: list[Finding]) -> list[tuple[str, str]]:
    assert all(finding.detector == COLD_START and not finding.atlas for finding in findings)
    return [(finding.subject, str(finding.evidence[0].observed)) for finding in findings]


def total(keeper: Keeper, name: str) -> int:
    for subject, _, _, state in keeper.bank.take_changed():
        if subject == name:
            raw = msgspec.msgpack.decode(state)["detectors"]["adder"][1]
            return int(msgspec.msgpack.decode(raw)["total"])
    raise AssertionError(f"{name} has learned nothing")


def test_what_was_saved_goes_on_and_nothing_is_said() -> None:
    keeper = Keeper(filled(3, lives=3))
    assert keeper.learn(0, 3, [call(name) for name in subjects(3)]) == []
    assert total(keeper, "subject-00001") == 31


def test_a_state_of_another_partition_is_refused() -> None:
    keeper = Keeper(filled(1))
    refused = keeper.learn(1, 0, [call(name) for name in subjects(1)])
    assert said(refused) == [("subject-00000", "it belongs to another subject, partition or offset")]


def test_a_previous_key_is_accepted_and_what_is_learned_next_is_signed_with_todays() -> None:
    shelf = filled(2)
    keeper = Keeper(shelf, keys=(OTHER_KEY, KEY))
    assert keeper.learn(0, 1, [call("subject-00000")]) == []
    keeper.save()
    signers = {subject: row.envelope[4:12] for (_, subject), row in shelf.rows.items()}
    assert signers == {"subject-00000": key_id(OTHER_KEY), "0": key_id(OTHER_KEY), "subject-00001": key_id(KEY)}


def test_another_release_of_a_library_is_said_in_proportion_and_keeps_the_marks() -> None:
    keeper = Keeper(filled(2_000), libraries={"river": "2"})
    refused = keeper.learn(0, 1, [call(name) for name in subjects(2_000)])
    assert {reason for _, reason in said(refused)} == {"it was written by other versions of river"}
    assert [finding.evidence[1].observed for finding in refused] == [1.0, 10.0, 100.0, 1_000.0]
    assert keeper.marks.next_offset(0) == 2


def test_a_few_tampered_states_are_each_named_and_thousands_are_counted() -> None:
    shelf = filled(2_000)
    for place, row in shelf.rows.items():
        if place[1] != "0":
            shelf.rows[place] = msgspec.structs.replace(row, envelope=row.envelope[:-1])
    refused = Keeper(shelf).learn(0, 1, [call(name) for name in subjects(2_000)])
    assert [subject for subject, _ in said(refused)][:20] == subjects(20)
    assert [finding.evidence[1].observed for finding in refused][20:] == [100.0, 1_000.0]


def test_a_changed_detector_starts_cold_and_is_said_and_the_others_go_on() -> None:
    shelf = Shelf()
    first = Keeper(shelf, bank({"adder": Adder, "other": Adder}))
    first.learn(0, 0, [call("a", tokens=10)])
    first.save()
    second = Keeper(shelf, bank({"adder": Adder, "other": Newer}))
    refused = second.learn(0, 1, [call("a", tokens=1)])
    assert said(refused) == [("a", "it is of another version of detector other")]
    assert total(second, "a") == 11


def test_an_older_state_with_a_valid_seal_does_not_pass_for_the_last() -> None:
    shelf = filled(3, lives=1)
    then = dict(shelf.rows)
    keeper = Keeper(shelf)
    keeper.learn(0, 1, [call(name, tokens=10) for name in subjects(3)])
    keeper.save()
    place = ("deployment", "subject-00001")
    shelf.rows[place] = then[place]
    again = Keeper(shelf)
    refused = again.learn(0, 2, [call(name, tokens=1) for name in subjects(3)])
    assert said(refused) == [("subject-00001", "it is older than the one that was saved last")]
    assert total(again, "subject-00001") == 1


def test_a_state_that_is_gone_is_missed_and_its_subject_is_no_newcomer() -> None:
    shelf = filled(2)
    del shelf.rows["deployment", "subject-00001"]
    keeper = Keeper(shelf)
    refused = keeper.learn(0, 1, [call(name) for name in subjects(2)])
    assert said(refused) == [("subject-00001", "it is gone: deleted, or not seen for longer than the retention")]
    assert len(keeper.bank) == 2


def test_of_the_states_saved_before_very_many_others_an_older_one_is_not_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The limit that the marks' docstring admits."""
    monkeypatch.setattr(marks, "MAX_HEADS", 5)
    shelf = filled(1)
    then = dict(shelf.rows)
    keeper = Keeper(shelf)
    keeper.learn(0, 1, [call("subject-00000")])
    keeper.save()
    keeper.learn(0, 2, [call(name) for name in subjects(6)[1:]])
    keeper.save()
    shelf.rows["deployment", "subject-00000"] = then["deployment", "subject-00000"]
    assert Keeper(shelf).learn(0, 3, [call("subject-00000")]) == []


def lost(shelf: Shelf) -> None:
    del shelf.rows["deployment.marks", "0"]


def edited(shelf: Shelf) -> None:
    row = shelf.rows["deployment.marks", "0"]
    changed = row.envelope[:-1] + bytes([row.envelope[-1] ^ 1])
    shelf.rows["deployment.marks", "0"] = msgspec.structs.replace(row, envelope=changed)


def behind(shelf: Shelf) -> None:
    """What an old backup looks like: everything fits together, and Kafka has been told more."""
    then = dict(shelf.rows)
    keeper = Keeper(shelf)
    keeper.learn(0, 1, [call("subject-00000")])
    keeper.save()
    shelf.rows = then


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lost, "it is gone"),
        (edited, "its signature does not match"),
        (behind, "it is older than what was acknowledged"),
    ],
)
def test_marks_that_cannot_be_trusted_put_a_floor_under_their_partition_now_and_later(
    harm: Callable[[Shelf], None], reason: str
) -> None:
    shelf = filled(5)
    harm(shelf)
    keeper = Keeper(shelf)
    refused = said(keeper.learn(0, 2, [call(name) for name in subjects(3)]))
    assert refused[0][0] == f"{SOURCE.name}/0"
    assert reason in refused[0][1]
    assert [subject for subject, _ in refused[1:]] == ["subject-00000"]
    assert "marks of its partition were lost" in refused[1][1]
    keeper.save()
    later = said(Keeper(shelf).learn(0, 3, [call(name) for name in subjects(5)]))
    assert [subject for subject, _ in later] == ["subject-00003"], "those of before the floor are still not trusted"


def test_lost_marks_are_said_with_the_first_observation_after_them() -> None:
    shelf = filled(1)
    lost(shelf)
    keeper = Keeper(shelf)
    assert keeper.learn(0, 1, []) == []
    assert len(keeper.learn(0, 2, [call("new")])) == 1
    assert keeper.learn(0, 3, [call("newer")]) == []


def test_a_partition_read_for_the_first_time_has_lost_nothing() -> None:
    assert Keeper(Shelf()).learn(0, 0, [call("a")]) == []


def test_what_was_read_while_partitions_moved_is_not_kept() -> None:
    shelf = filled(1)
    keeper = Keeper(shelf)
    shelf.while_reading = keeper.states.clear

    asyncio.run(keeper.states.recall_marks([(0, 1)]))
    assert keeper.marks.unknown([0]) == {0}


def patient_bank() -> Bank:
    return Bank(DEPLOYMENT, BUDGET, TOYS, patience=4)


def test_newcomers_are_saved_with_the_marks() -> None:
    shelf = Shelf()
    first = Keeper(shelf, patient_bank())
    first.learn(0, 0, [call("a"), call("a"), call("a")])
    first.save()
    assert [subject for _, subject in shelf.rows] == ["0"]
    second = patient_bank()
    keeper = Keeper(shelf, second)
    shelf.asked.clear()
    keeper.learn(0, 1, [call("a")])
    assert len(second) == 1
    assert shelf.asked == [["0"]]
