from __future__ import annotations

import msgspec

from detectors.catalog.unsafe_artifact import UnsafeArtifact
from detectors.types import Severity
from tests.detectors.notices import SHARE, approval, calls, report, rows, said
from tests.detectors.soundness import assert_well_formed

PICKLE, PACKAGE = "unsafe_pickle:model.bin", "tampered_package:numpy"
MONTH = 30 * 86_400


def fresh() -> UnsafeArtifact:
    return UnsafeArtifact(share=SHARE)


def test_a_report_with_risks_is_said_with_their_names() -> None:
    (found,) = said(fresh(), [report(0, "model /srv/m", risks=(PICKLE, PACKAGE))])
    assert found.severity is Severity.HIGH and found.score == 2.0
    assert rows(found) == {
        "unsafe pickle": (PICKLE, None),
        "tampered package": (PACKAGE, None),
        "report": ("model /srv/m", None),
    }
    assert PICKLE in found.summary and "/srv/m" in found.summary


def test_a_report_without_risks_an_approval_and_calls_are_quiet() -> None:
    assert said(fresh(), [report(0, weights="1"), approval(1, "weights", "1"), *calls(99)]) == []


def test_a_daily_report_says_a_risk_once_and_a_new_one_when_it_comes() -> None:
    detector = fresh()
    daily = [report(86_400 * day, risks=(PICKLE,)) for day in range(90)]
    assert len(said(detector, daily)) == 1
    (found,) = said(detector, [report(86_400 * 90, risks=(PICKLE, PACKAGE))])
    assert found.score == 1.0 and "tampered package" in rows(found)


def test_a_risk_that_was_gone_for_a_month_is_said_again() -> None:
    assert len(said(fresh(), [report(0, risks=(PICKLE,)), report(MONTH, risks=(PICKLE,))])) == 2


def test_hostile_risks_are_bounded_and_printed_harmlessly() -> None:
    detector = fresh()
    for number in range(300):
        risks = tuple(f"\x1b[2J\n{number}:{each}" + "x" * 1_000 for each in range(40))
        for found in said(detector, [report(number, f"\x00place{number}" * 99, risks=risks)]):
            assert_well_formed(found)
    assert len(msgspec.msgpack.encode(detector)) < 64 * 1024
