"""What is said of a deployment comes to those who are meant, in order, and an approved change starts others afresh."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest

from detectors.alarms import Budget
from detectors.bank import Bank, discover
from detectors.base import DEPLOYMENT, PRINCIPAL, Detector, Metadata
from detectors.subjects import COOL_DOWN_S
from detectors.types import APPROVED, BASELINE, Detection, Finding, Notice, Observation, Severity
from tests.detectors.notices import approval, calls
from tests.detectors.test_conformance import METADATA
from tests.detectors.toys import BUDGET, NOON_S, NUMBERS, Adder, Parrot, call, detection, states


class Clerk(Detector):
    """Learns how many calls it saw and which versions it was told of; asks for a new baseline at model `new`."""

    metadata: ClassVar[Metadata] = msgspec.structs.replace(
        METADATA, requires=(), any_of=("input_tokens", "notice"), warm_up=3
    )
    calls: int = 0
    told: list[str] = msgspec.field(default_factory=list)

    def update(self, observation: Observation) -> Detection | None:
        if observation.notice is not None:
            self.told.append(observation.notice.version)
            return None
        self.calls += 1
        if observation.model != "new":
            return None
        return msgspec.structs.replace(detection(observation, Severity.INFO, 1.0), rebaselines=True)


class Follower(Parrot):
    """Compares with its own past: it counts calls, and says severities as a parrot does."""

    metadata: ClassVar[Metadata] = msgspec.structs.replace(
        METADATA, requires=("input_tokens",), warm_up=2, rebaselined=True
    )
    total: int = 0

    def update(self, observation: Observation) -> Detection | None:
        assert observation.notice is None
        self.total += observation.input_tokens or 0
        return super().update(observation)


class Silent(Adder):
    """Adds up, and is told nothing and says nothing."""

    def update(self, observation: Observation) -> Detection | None:
        super().update(observation)
        return None


class Facts(Detector):
    """Says the model of each call as a fact of its own."""

    metadata: ClassVar[Metadata] = METADATA

    def update(self, observation: Observation) -> Detection | None:
        return msgspec.structs.replace(detection(observation, Severity.LOW, 1.0), fact=observation.model or "")


KINDS: dict[str, type[Detector]] = {"adder": Silent, "a_follower": Follower, "clerk": Clerk}


def made(kinds: dict[str, type[Detector]] | None = None, patience: int = 1) -> Bank:
    return Bank(DEPLOYMENT, BUDGET, kinds or KINDS, patience=patience)


def notice(version: str = "v", kind: str = APPROVED, subject: str = "chat") -> Observation:
    return Observation(
        event_id=f"changes:0:{next(NUMBERS)}:0",
        time_s=NOON_S,
        deployment=subject,
        notice=Notice(kind=kind, component="weights", version=version),
    )


def fields(bank: Bank, name: str, subject: str = "chat") -> dict[str, object]:
    decoded: dict[str, object] = msgspec.msgpack.decode(states(bank)[subject].detectors[name][1])
    return decoded


def test_a_notice_goes_to_those_who_are_meant_and_is_no_call_for_the_others() -> None:
    bank = made()
    bank.apply(0, 0, [call(), notice("a"), call(), notice("b")])
    kept = states(bank)["chat"].detectors
    clerk, adder = (msgspec.msgpack.decode(kept[name][1]) for name in ("clerk", "adder"))
    assert (clerk["told"], clerk["calls"], adder["count"]) == (["a", "b"], 2, 2)


def test_a_notice_counts_toward_no_warm_up() -> None:
    bank = made()
    bank.apply(0, 0, [notice(), call(), notice(), notice(), notice()])
    assert bank.warming("chat") == {"a_follower": 1, "clerk": 2}


def test_a_deployment_is_live_with_the_first_notice_and_remembers_it() -> None:
    bank = made(patience=4)
    bank.apply(0, 0, [call()])
    assert len(bank) == 0
    bank.apply(0, 1, [notice("before the first call", subject="young")])
    bank.apply(0, 2, [call("young")])
    assert len(bank) == 1
    kept = fields(bank, "clerk", "young")
    assert (kept["told"], kept["calls"]) == (["before the first call"], 1)


def test_a_newcomer_of_whom_notice_is_given_is_none_any_more() -> None:
    bank = made(patience=4)
    for offset, each in enumerate([call(), call(), notice(), call()]):
        bank.apply(0, offset, [each])
    assert fields(bank, "clerk")["calls"] == 1
    assert "chat" not in bank.newcomers(0)


def test_a_notice_below_the_next_offset_is_not_learned_twice() -> None:
    bank = made()
    bank.apply(0, 5, [notice("a")])
    bank.apply(0, 5, [notice("a")])
    bank.apply(0, 6, [notice("b")])
    assert fields(bank, "clerk")["told"] == ["a", "b"]


def test_what_was_told_outlives_a_restart() -> None:
    first, second = made(), made()
    first.apply(0, 0, [notice("a"), call(tokens=5)])
    ((subject, partition, _, state),) = first.take_changed()
    assert second.admit(subject, partition, state) == []
    second.apply(0, 1, [notice("b"), call(tokens=2)])
    assert fields(second, "clerk")["told"] == ["a", "b"]


# New baselines


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_new_baseline_begins_with_the_very_call_that_asked_for_it(size: int) -> None:
    stream = [call(tokens=100), call(tokens=100), call(model="new", tokens=1), call(tokens=2), call(tokens=4)]
    bank = made()
    for offset in range(0, len(stream), size):
        bank.apply(0, offset, stream[offset : offset + size])
    kept = states(bank)["chat"].detectors
    totals = {name: msgspec.msgpack.decode(kept[name][1])["total"] for name in ("adder", "a_follower")}
    assert totals == {"adder": 207, "a_follower": 7}, "only who compares with its past begins afresh"


@pytest.mark.parametrize("together", [True, False])
def test_a_notice_of_a_new_baseline_starts_them_afresh_and_they_warm_up_again(*, together: bool) -> None:
    bank = made()
    bank.apply(0, 0, [call(tokens=100)] * 5)
    assert bank.warming("chat") == {}
    later = [notice(kind=BASELINE), call(tokens=1)]
    for offset, message in enumerate([later] if together else [[each] for each in later], 1):
        bank.apply(0, offset, message)
    assert bank.warming("chat") == {"a_follower": 1}
    assert fields(bank, "a_follower")["total"] == 1


def test_several_new_baselines_in_one_message_leave_what_came_after_the_last() -> None:
    bank = made()
    stream = [
        call(tokens=1),
        call(model="new", tokens=2),
        notice(kind=BASELINE),
        call(tokens=4),
        call(model="new", tokens=8),
    ]
    bank.apply(0, 0, [*stream, call(tokens=16)])
    assert fields(bank, "a_follower")["total"] == 24


def test_a_new_baseline_of_one_deployment_is_none_of_another() -> None:
    bank = made()
    bank.apply(0, 0, [call("a", tokens=5), call("b", tokens=1), call("a", model="new", tokens=1)])
    kept = {
        name: msgspec.msgpack.decode(state.detectors["a_follower"][1])["total"] for name, state in states(bank).items()
    }
    assert kept == {"a": 1, "b": 1}


def test_who_begins_afresh_may_speak_at_once_and_the_others_keep_their_cool_down() -> None:
    bank = made({**KINDS, "parrot": Parrot})

    stream = [call(model="low"), call(model="low"), notice(kind=BASELINE), call(model="low")]
    found = [finding for offset, each in enumerate(stream) for finding in bank.apply(0, offset, [each])]
    assert [finding.detector for finding in found] == ["parrot", "a_follower", "a_follower"]


def test_findings_are_in_order_of_their_observations_whoever_begins_afresh() -> None:
    bank = made({**KINDS, "parrot": Parrot})
    found = bank.apply(0, 0, [call(model="low"), call(model="new"), call(model="high")])
    assert [finding.detector for finding in found] == ["parrot", "a_follower", "clerk", "parrot", "a_follower"]


def test_a_request_for_a_new_baseline_is_heard_though_its_finding_is_in_a_cool_down() -> None:
    bank = made()
    assert len(bank.apply(0, 0, [call(model="new", tokens=1)])) == 1
    assert bank.apply(0, 1, [call(tokens=1), call(model="new", tokens=1)]) == []
    assert fields(bank, "a_follower")["total"] == 1


def test_a_state_with_a_new_baseline_in_it_goes_on_as_if_never_stopped() -> None:
    stream = [call(model=["new", "low", None, "high"][number % 4], tokens=number) for number in range(40)]
    stream[13:13] = [notice(kind=BASELINE)]

    def played(stop: int) -> list[Finding]:
        bank, found = made(), []
        for offset, each in enumerate(stream):
            if offset == stop:
                ((subject, partition, _, state),) = bank.take_changed()
                bank = made()
                bank.admit(subject, partition, state)
            found += bank.apply(0, offset, [each])
        return found

    assert played(stop=20) == played(stop=-1) != []


# Facts


def test_each_fact_has_a_cool_down_of_its_own() -> None:
    bank = made({"facts": Facts})
    stream = [call(model=name, time_s=NOON_S + at) for name, at in (("a", 0), ("b", 1), ("a", 2), ("a", COOL_DOWN_S))]
    said = [finding.time_s - NOON_S for offset, each in enumerate(stream) for finding in bank.apply(0, offset, [each])]
    assert said == [0.0, 1.0, COOL_DOWN_S]
    assert len({finding.finding_id for finding in bank.apply(0, 9, [call(model="c"), call(model="d")])}) == 2


# The catalog


def test_a_bank_of_principals_is_told_nothing() -> None:
    bank = Bank(PRINCIPAL, Budget())
    assert bank.apply(0, 0, [notice()] * 9) == []
    assert len(bank) == 0


def test_an_approved_change_starts_afresh_all_that_compares_answers_and_nothing_else() -> None:
    bank = Bank(DEPLOYMENT, Budget())
    plain: dict[str, Any] = {
        "latency_s": 1.0,
        "output_tokens": 9,
        "failed": False,
        "finish_reason": "stop",
        "refused": False,
    }
    bank.apply(0, 0, calls(900, weights="sha256:1", **plain))
    before = bank.warming("d")
    found = bank.apply(0, 1, [approval(900, "weights", "sha256:2"), *calls(3, 901, weights="sha256:2", **plain)])
    assert [(each.detector, each.severity) for each in found] == [("approved_change", Severity.INFO)]
    afresh = {name for name, lacks in bank.warming("d").items() if lacks > before.get(name, 0)}
    assert afresh == {"refusal_shift", "finish_reason_shift", "latency_shift", "tail_latency", "repetition_loop"}
    assert afresh <= {name for name, kind in discover().items() if kind.metadata.rebaselined}


def test_of_callers_hosts_and_sources_nothing_begins_afresh() -> None:
    kept = {"egress", "leakage", "error_shift", "load_anomaly", "feature_drift", "backdoor_trigger", "source_blind"}
    for name, kind in discover().items():
        if name in kept or kind.metadata.scope == PRINCIPAL:
            assert not kind.metadata.rebaselined, name
