"""One key for the installation, another for each purpose, and a file where nobody set one."""

from __future__ import annotations

import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streams.keys import Keys, derive, load_keys, snapshot_keys
from streams.settings import Settings, SettingsError

KEY = "k" * 32


def test_each_purpose_has_a_key_of_its_own_of_32_bytes() -> None:
    keys = derive(KEY)
    values = [getattr(keys, purpose) for purpose in Keys.__struct_fields__]
    assert [len(value) for value in values] == [32] * len(values)
    assert len(set(values)) == len(values)


def test_the_derived_keys_never_change_between_releases() -> None:
    assert derive(KEY).pseudonyms.hex() == "cb5816e4fca19273e5623a4d8a1c0900edeebbfebd9c8d93efe4a5e9c2f035b2"
    assert derive(KEY).hashes.hex() == "5afc94f8acd8763c5dfb05785587ff535f8d0c864e57d1609387d74db83303b6"
    assert derive(KEY).snapshots.hex() == "8083d887ea87a1fc02a1f05dbfa1cbe9a586276a6b4836517c5f39a010aab8dd"


def test_another_key_gives_other_keys() -> None:
    one, other = derive(KEY), derive("l" * 32)
    assert all(getattr(one, purpose) != getattr(other, purpose) for purpose in Keys.__struct_fields__)


def test_a_key_that_is_set_is_used_and_no_file_is_made(tmp_path: Path) -> None:
    assert load_keys(Settings(key=KEY, data_dir=tmp_path)) == derive(KEY)
    assert not list(tmp_path.iterdir())


def test_without_a_key_one_is_made_that_only_the_owner_may_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with caplog.at_level(logging.WARNING):
        made = load_keys(settings)
    (file,) = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in caplog.text and "back it up" in caplog.text
    assert file.read_text() not in caplog.text
    assert made != load_keys(Settings(data_dir=tmp_path / "other"))


def test_the_made_key_is_the_same_the_next_time_and_not_warned_of_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = load_keys(Settings(data_dir=tmp_path))
    caplog.clear()
    assert load_keys(Settings(data_dir=tmp_path)) == made
    assert not caplog.records


def test_workers_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(load_keys, [Settings(data_dir=tmp_path)] * 8))
    assert all(keys == made[0] for keys in made)
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("content", [b"", b"\n", b"abc", b"\xff\xfe"], ids=["empty", "a line end", "cut", "binary"])
def test_a_damaged_key_file_is_refused_because_anybody_could_guess_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(SettingsError, match="holds no key of 32 characters"):
        load_keys(Settings(data_dir=tmp_path))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666], ids=oct)
def test_a_key_file_that_others_may_read_or_replace_is_refused(tmp_path: Path, mode: int) -> None:
    load_keys(Settings(data_dir=tmp_path))
    (tmp_path / "key").chmod(mode)
    with pytest.raises(SettingsError, match="by others; chmod 600"):
        load_keys(Settings(data_dir=tmp_path))


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777], ids=oct)
def test_the_made_key_file_is_for_its_owner_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        load_keys(Settings(data_dir=tmp_path))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_snapshot_key_changes_who_signs_and_no_pseudonym() -> None:
    keys = load_keys(Settings(key=KEY, snapshot_key="s" * 32))
    assert keys.snapshots == derive("s" * 32).snapshots
    assert (keys.pseudonyms, keys.hashes) == (derive(KEY).pseudonyms, derive(KEY).hashes)


def test_the_current_key_signs_and_previous_ones_are_accepted() -> None:
    settings = Settings(key=KEY, previous_keys=f"{'p' * 32},{'q' * 32}")
    expected = tuple(derive(key).snapshots for key in (KEY, "p" * 32, "q" * 32))
    assert snapshot_keys(settings, load_keys(settings)) == expected
    assert snapshot_keys(Settings(key=KEY), derive(KEY)) == expected[:1]
