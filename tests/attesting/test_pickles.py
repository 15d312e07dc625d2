"""What a pickle would import, read from its opcodes; nothing in here is ever loaded."""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import random
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streams.attesting.pickles import HIDDEN, Scan, judge, scan
from streams.attesting.report import Level


class Calls:
    """Pickles as a call of a function: what an attacker writes."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.made


def scanned(data: bytes) -> Scan:
    return scan(io.BytesIO(data))


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_seen_in_every_protocol(protocol: int) -> None:
    seen = scanned(pickle.dumps(Calls(os.system, "true"), protocol))
    assert seen.imports == ("posix.system",) and seen.calls == 1 and seen.whole and seen.is_pickle
    assert judge(seen.imports)[0] is Level.ALARM


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_is_a_pickle_and_no_alarm(protocol: int) -> None:
    data = pickle.dumps(collections.OrderedDict(weights=np.arange(10.0)), protocol)
    seen = scanned(data)
    assert seen.whole and "numpy.dtype" in seen.imports
    assert judge(seen.imports)[0] is Level.WARN


def test_a_name_that_is_taken_from_the_memo_is_followed() -> None:
    data = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x04true\x85R."
    assert scanned(data).imports == ("posix.system",)


def test_a_name_that_is_computed_is_an_alarm() -> None:
    data = b"\x80\x04\x8c\x05posix\x94K\x01\x93."
    seen = scanned(data)
    assert seen.imports == (f"posix.{HIDDEN}",)
    assert judge(seen.imports)[0] is Level.ALARM


def test_an_instance_and_an_extension_are_imports() -> None:
    assert scanned(b"(S'true'\nios\nsystem\n.").imports == ("os.system",)
    assert scanned(b"\x80\x02\x82\x01.").imports == ("copyreg.extension_1",)


def test_what_runs_before_a_pickle_breaks_is_seen() -> None:
    seen = scanned(pickle.dumps(Calls(subprocess.Popen, ["true"]))[:-1] + b"\xff")
    assert not seen.whole and "subprocess.Popen" in seen.imports


def test_the_second_pickle_of_a_file_is_read_too() -> None:
    seen = scanned(pickle.dumps({}) + pickle.dumps(Calls(eval, "1")))
    assert seen.pickles == 2 and "builtins.eval" in seen.imports


def test_numbers_behind_a_pickle_are_no_imports() -> None:
    numbers = random.Random(1).randbytes(50_000)
    seen = scanned(pickle.dumps({"a": 1}) + b"ctorn\nnumbers\xff\n" + numbers)
    assert seen.whole and seen.imports == ()


def test_a_long_argument_is_stepped_over() -> None:
    data = pickle.dumps([b"x" * 5_000_000, Calls(os.system, "true")])
    assert scanned(data).imports == ("posix.system",)


def test_a_length_that_lies_reads_nothing() -> None:
    seen = scanned(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x" * 100)
    assert not seen.whole and seen.trouble


def test_an_endless_line_is_cut() -> None:
    seen = scanned(b"c" + b"a" * 3_000_000)
    assert not seen.whole and not seen.imports


def test_any_bytes_give_an_answer() -> None:
    dice = random.Random(3)
    base = pickle.dumps([Calls(os.system, "true"), np.arange(5), {"a": (1, 2.0, None)}])
    for _ in range(1_500):
        data = bytearray(base)
        for _ in range(dice.randrange(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        scanned(bytes(data))
        scanned(dice.randbytes(200))


def test_names_that_look_like_a_library_and_call_are_alarms() -> None:
    assert judge(["numpy.testing._private.utils.runstring"])[0] is Level.ALARM
    assert judge(["torch.hub.load"])[0] is Level.ALARM
    assert judge(["sklearn.linear_model._base.LinearRegression"])[0] is Level.WARN
    assert judge(["torchx.evil"])[0] is Level.ALARM


def test_text_is_no_pickle() -> None:
    for text in (b"configuration\nof the model\n", b"import os\nimport sys\n", b"(c) 2026 somebody\n", b"cat\ndog\n."):
        assert not scanned(text).is_pickle or text.startswith(b"cat")


def test_the_scan_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("something was loaded")

    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(pickletools, "dis", refuse)
    assert scanned(pickle.dumps(Calls(os.system, "true"))).imports == ("posix.system",)
