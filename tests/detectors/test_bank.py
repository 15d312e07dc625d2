from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from detectors import catalog
from detectors.alarms import Budget
from detectors.bank import Bank, SubjectState, discover
from detectors.base import DEPLOYMENT, PRINCIPAL
from detectors.types import Finding, Observation
from tests.detectors.toys import (
    BUDGET,
    NOON_S,
    SEVERITIES,
    Adder,
    Newer,
    OfPrincipals,
    Parrot,
    bank,
    call,
    states,
)

# Offsets and continuation


def test_a_message_below_the_next_offset_is_not_learned_twice() -> None:
    made = bank()
    made.apply(0, 7, [call(tokens=5)])
    before = states(made)
    for offset in (7, 6, 0):
        assert made.apply(0, offset, [call(tokens=100, model="critical")]) == []
    assert states(made) == {}
    made.apply(0, 8, [call(tokens=1)])
    after = states(made)
    assert (before["chat"].next_offset, after["chat"].next_offset) == (8, 9)
    assert msgspec.msgpack.decode(after["chat"].detectors["adder"][1])["total"] == 6


def test_all_observations_of_one_message_are_learned_though_they_share_its_offset() -> None:
    made = bank()
    made.apply(0, 3, [call(tokens=1), call("other", tokens=10), call(tokens=100)])
    totals = {
        subject: msgspec.msgpack.decode(state.detectors["adder"][1])["total"] for subject, state in states(made).items()
    }
    assert totals == {"chat": 101, "other": 10}


def traffic(messages: int, subjects: int, seed: int) -> list[list[Observation]]:
    draw = random.Random(seed)
    names = [f"subject-{number}" for number in range(subjects)]
    models = [None, None, *SEVERITIES]
    return [
        [
            call(draw.choice(names), NOON_S + 600.0 * offset + at, draw.choice(models), draw.randrange(1_000))
            for at in range(draw.randrange(1, 6))
        ]
        for offset in range(messages)
    ]


class Store:
    """What is durable: the last state of each subject."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, bytes]] = {}

    def keep(self, made: Bank) -> None:
        for subject, partition, next_offset, state in made.take_changed():
            assert msgspec.msgpack.decode(state, type=SubjectState).next_offset == next_offset
            assert partition == 0
            self.rows[subject] = (next_offset, state)

    def recall(self, made: Bank, message: list[Observation]) -> None:
        for subject in sorted(made.unknown({observation.deployment: 0 for observation in message})):
            if subject in self.rows:
                assert made.admit(subject, 0, self.rows[subject][1]) == []


def unstopped(messages: list[list[Observation]]) -> list[Finding]:
    made = bank()
    return [finding for offset, message in enumerate(messages) for finding in made.apply(0, offset, message)]


@pytest.mark.parametrize("stop", [1, 17, 100, 199])
def test_a_new_bank_goes_on_where_a_stopped_one_was(stop: int) -> None:
    messages = traffic(200, subjects=5, seed=1)
    store, found = Store(), []
    first, second = bank(), bank()
    for offset, message in enumerate(messages[:stop]):
        found += first.apply(0, offset, message)
    store.keep(first)
    for offset, message in enumerate(messages[stop:], stop):
        store.recall(second, message)
        found += second.apply(0, offset, message)
    assert len(found) > 50
    assert found == unstopped(messages)


def test_what_was_not_durable_is_learned_again_and_says_the_same() -> None:
    messages = traffic(200, subjects=5, seed=2)
    store, found = Store(), {}
    first, second = bank(), bank()
    for offset, message in enumerate(messages[:150]):
        found.update({finding.finding_id: finding for finding in first.apply(0, offset, message)})
        if offset == 100:
            store.keep(first)
    for offset, message in enumerate(messages[60:], 60):
        store.recall(second, message)
        found.update({finding.finding_id: finding for finding in second.apply(0, offset, message)})
    assert found == {finding.finding_id: finding for finding in unstopped(messages)}


# Subjects that come and go


@pytest.mark.parametrize("kept_every", [1, 7, 1_000])
@pytest.mark.parametrize("max_subjects", [1, 2, 5])
def test_a_bank_too_small_for_its_subjects_says_what_a_large_one_says(max_subjects: int, kept_every: int) -> None:
    messages = traffic(300, subjects=9, seed=3)
    store, found = Store(), []
    made = bank(max_subjects=max_subjects)
    for offset, message in enumerate(messages):
        store.recall(made, message)
        found += made.apply(0, offset, message)
        assert len(made) <= max_subjects
        if offset % kept_every == 0:
            store.keep(made)
    assert found == unstopped(messages)


def test_a_subject_that_leaves_in_the_middle_of_a_message_takes_its_next_offset_with_it() -> None:
    made = bank(max_subjects=1)
    made.apply(0, 5, [call("a", tokens=3), call("b"), call("c")])
    assert {subject: state.next_offset for subject, state in states(made).items()} == {"a": 6, "b": 6, "c": 6}


def test_the_least_recently_seen_subject_leaves_first() -> None:
    made = bank(max_subjects=2)
    for offset, subject in enumerate(["a", "b", "a", "c"]):
        made.apply(0, offset, [call(subject)])
    made.take_changed()
    assert made.unknown(dict.fromkeys("abc", 0)) == {"b"}


def test_a_subject_that_left_is_not_asked_of_the_store_until_it_was_taken() -> None:
    made = bank(max_subjects=1)
    made.apply(0, 0, [call("a", tokens=7)])
    made.apply(0, 1, [call("b")])
    assert made.unknown(dict.fromkeys("abc", 0)) == {"c"}
    made.apply(0, 2, [call("a", tokens=1)])
    assert msgspec.msgpack.decode(states(made)["a"].detectors["adder"][1])["total"] == 8
    assert made.unknown(dict.fromkeys("ab", 0)) == {"b"}


def test_a_subject_that_left_and_came_back_is_still_to_be_kept() -> None:
    made = bank(max_subjects=1)
    made.apply(0, 0, [call("a", tokens=7)])
    made.apply(0, 1, [call("b")])
    made.apply(0, 0, [call("a", tokens=100)])
    assert msgspec.msgpack.decode(states(made)["a"].detectors["adder"][1])["total"] == 7


def test_what_was_taken_is_not_offered_again_until_it_changes() -> None:
    made = bank()
    made.apply(0, 0, [call("a"), call("b")])
    assert states(made).keys() == {"a", "b"}
    assert made.take_changed() == []
    made.apply(0, 1, [call("b")])
    assert states(made).keys() == {"b"}


def test_a_subject_that_learned_nothing_new_leaves_without_a_trace() -> None:
    made = bank(max_subjects=1)
    made.apply(0, 0, [call("a")])
    made.take_changed()
    made.apply(0, 1, [call("b")])
    assert states(made).keys() == {"b"}
    assert made.unknown({"a": 0}) == {"a"}


def test_a_live_subject_that_is_asked_for_does_not_leave_before_it_was_fed() -> None:
    first, made = bank(), bank(max_subjects=3)
    first.apply(0, 0, [call("c", tokens=5), call("d", tokens=5)])
    saved = {subject: state for subject, _, _, state in first.take_changed()}
    made.apply(0, 0, [call("a", tokens=7), call("b")])
    made.take_changed()
    assert made.unknown({"a": 0, "c": 0, "d": 0}) == {"c", "d"}
    for subject, state in saved.items():
        made.admit(subject, 0, state)
    made.apply(0, 1, [call("c"), call("d")])
    made.apply(0, 2, [call("a", tokens=1)])
    assert msgspec.msgpack.decode(states(made)["a"].detectors["adder"][1])["total"] == 8
    assert made.unknown({"b": 0}) == {"b"}


def test_how_many_states_wait_to_be_taken_is_told() -> None:
    made = bank(max_subjects=1)
    assert made.waiting == 0
    made.apply(0, 0, [call("a"), call("b"), call("c")])
    assert made.waiting == 3
    made.take_changed()
    assert made.waiting == 0


def test_a_cleared_bank_knows_nobody_and_has_nothing_to_keep() -> None:
    made = bank(max_subjects=1)
    made.apply(0, 0, [call("a"), call("b")])
    made.clear()
    assert made.take_changed() == []
    assert made.unknown(dict.fromkeys("ab", 0)) == {"a", "b"}
    assert len(made) == 0


def test_an_observation_without_a_subject_is_nobodys() -> None:
    made = Bank(PRINCIPAL, BUDGET, {"of_principals": OfPrincipals})
    assert made.apply(0, 0, [call()] * 9) == []
    assert len(made) == 0


def test_a_finding_about_a_principal_names_it() -> None:
    made = Bank(PRINCIPAL, BUDGET, {"of_principals": OfPrincipals, "adder": Adder})
    caller = msgspec.structs.replace(call(), principal="someone")
    (finding,) = made.apply(0, 0, [caller] * 3)
    assert (finding.scope, finding.subject, finding.principal) == (PRINCIPAL, "someone", "someone")
    assert finding.deployment == "chat"
    assert finding.budget_share == BUDGET.share(PRINCIPAL, 2)


# State


def test_a_detector_of_another_version_starts_cold_and_the_others_do_not() -> None:
    old = bank({"changed": Adder, "kept": Adder, "removed": Adder})
    old.apply(0, 0, [call(tokens=5)])
    ((subject, partition, _, state),) = old.take_changed()
    new = bank({"added": Adder, "changed": Newer, "kept": Adder})
    assert new.admit(subject, partition, state) == ["changed"]
    new.apply(0, 1, [call(tokens=1)])
    totals = {name: msgspec.msgpack.decode(data)["total"] for name, (_, data) in states(new)["chat"].detectors.items()}
    assert totals == {"added": 1, "changed": 1, "kept": 6}


def test_a_restored_detector_is_cut_at_the_share_of_today() -> None:
    old = Bank(DEPLOYMENT, Budget(per_day=100.0), {"adder": Adder})
    old.apply(0, 0, [call()])
    ((subject, partition, _, state),) = old.take_changed()
    new = bank({"adder": Adder})
    new.admit(subject, partition, state)
    new.apply(0, 1, [call()])
    share = msgspec.msgpack.decode(states(new)["chat"].detectors["adder"][1])["share"]
    assert share == BUDGET.share(DEPLOYMENT, 1)


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"next_offset": 1}),
        msgspec.msgpack.encode(SubjectState(1, {}, {"adder": (1, b"junk")})),
        msgspec.msgpack.encode(SubjectState(1, {}, {"adder": (1, msgspec.msgpack.encode({"total": "x"}))})),
    ],
)
def test_a_state_that_is_not_ours_is_refused_and_leaves_the_bank_as_it_was(state: bytes) -> None:
    made = bank()
    with pytest.raises(msgspec.MsgspecError):
        made.admit("chat", 0, state)
    assert made.unknown({"chat": 0}) == {"chat"}
    made.begin("chat", 0)
    assert len(made) == 1


def test_the_cool_down_outlives_a_restart() -> None:
    first, second = bank({"parrot": Parrot}), bank({"parrot": Parrot})
    first.apply(0, 0, [call(model="medium")])
    ((subject, partition, _, state),) = first.take_changed()
    second.admit(subject, partition, state)
    assert second.apply(0, 1, [call(time_s=NOON_S + 60.0, model="medium")]) == []
    assert len(second.apply(0, 2, [call(time_s=NOON_S + 61.0, model="high")])) == 1


# Discovery


def test_discover_finds_exactly_the_files_of_the_catalog() -> None:
    files = {path.stem for path in Path(catalog.__file__).parent.glob("*.py") if not path.stem.startswith("_")}
    assert set(discover()) == files
    assert list(discover()) == sorted(files)
    for name, kind in discover().items():
        assert kind.__module__ == f"detectors.catalog.{name}"


def test_a_bank_holds_the_detectors_of_its_scope_and_together_they_hold_all() -> None:
    scopes = {scope: Bank(scope, BUDGET).kinds for scope in (DEPLOYMENT, PRINCIPAL)}
    assert {**scopes[DEPLOYMENT], **scopes[PRINCIPAL]} == discover()
    for scope, kinds in scopes.items():
        assert all(kind.metadata.scope == scope for kind in kinds.values())
