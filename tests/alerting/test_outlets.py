"""Where OCSF events go: files that others may rotate, cut or lay traps at, and addresses."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from streams.alerting.outlets import FileOutlet, HttpOutlet, Line
from streams.alerting.posting import NotTakenError
from streams.alerting.targets import Target
from tests.alerting.test_webhook import listening

TOKEN = "a bearer token for a collector"
ONE, TWO = Line("chat", b'{"a":1}'), Line("chat", b'{"a":2}')


def append(path: Path, *lines: Line) -> str:
    return asyncio.run(FileOutlet(path).take(lines))


def test_a_file_is_made_for_its_owner_alone_and_grows_by_lines(tmp_path: Path) -> None:
    path = tmp_path / "ocsf.json"
    assert append(path, ONE, TWO) == "2 to the file"
    append(path, ONE)
    assert path.read_bytes() == b'{"a":1}\n{"a":2}\n{"a":1}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_was_renamed_or_cut_begins_anew(tmp_path: Path) -> None:
    path, outlet = tmp_path / "ocsf.json", FileOutlet(tmp_path / "ocsf.json")
    asyncio.run(outlet.take([ONE]))
    path.rename(tmp_path / "ocsf.json.1")
    asyncio.run(outlet.take([TWO]))
    assert path.read_bytes() == b'{"a":2}\n'
    os.truncate(path, 0)
    asyncio.run(outlet.take([ONE]))
    assert path.read_bytes() == b'{"a":1}\n'


def test_a_line_that_a_crash_left_torn_is_ended_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "ocsf.json"
    append(path, ONE)
    path.write_bytes(path.read_bytes() + b'{"a":')
    append(path, TWO)
    assert path.read_bytes() == b'{"a":1}\n{"a":\n{"a":2}\n'


def test_a_batch_that_does_not_fit_on_the_disk_is_cut_off_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "ocsf.json", os.write
    append(path, ONE)

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:5])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NotTakenError, match="No space left on device"):
        append(path, TWO)
    assert path.read_bytes() == b'{"a":1}\n'


def _link(path: Path) -> None:
    target = path.with_name("passwd")
    target.touch(0o600)
    path.symlink_to(target)


def _other_name(path: Path) -> None:
    path.touch(0o600)
    path.with_name("other").hardlink_to(path)


def _writable(path: Path) -> None:
    path.touch()
    path.chmod(0o622)


@pytest.mark.parametrize("trap", [_link, _other_name, _writable, os.mkfifo, Path.mkdir])
def test_nothing_is_written_to_what_is_no_plain_file_of_ours(tmp_path: Path, trap: Callable[[Path], object]) -> None:
    path = tmp_path / "ocsf.json"
    trap(path)
    with pytest.raises(NotTakenError, match="the file"):
        append(path, ONE)
    assert all(each.stat().st_size == 0 for each in tmp_path.iterdir() if each.is_file())


def test_a_directory_that_is_not_there_is_said_without_its_name(tmp_path: Path) -> None:
    with pytest.raises(NotTakenError, match="No such file or directory") as caught:
        append(tmp_path / "t0ken" / "x", ONE)
    assert "t0ken" not in str(caught.value)


def test_an_address_gets_a_list_of_events_and_the_token() -> None:
    with listening() as there:
        target = Target(name="a", ocsf=there.url, token=TOKEN)
        outlet = HttpOutlet(target, private=True, resolve=lambda *_: ["127.0.0.1"])
        assert asyncio.run(outlet.take([ONE, TWO])) == "status 204"
        there.status = 503
        with pytest.raises(NotTakenError, match="status 503"):
            asyncio.run(outlet.take([ONE]))
        guarded = HttpOutlet(target, private=False, resolve=lambda *_: ["127.0.0.1"])
        with pytest.raises(NotTakenError, match="INFERWATCH_ALERT_PRIVATE_ADDRESSES"):
            asyncio.run(guarded.take([ONE]))
    _, headers, body = there.requests[0]
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert msgspec.json.decode(body) == [{"a": 1}, {"a": 2}]
    assert len(there.requests) == 2
