"""Evidence as a stranger finds it: every way to change it is said, of the file that was changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.evidence import checking, signing
from streams.evidence.checking import ADDED, CHANGED, OK, REMOVED, TRUNCATED, UNKNOWN, check
from streams.evidence.manifest import SEAL, Manifest, canonical, decoded

FILES = (
    "README.md",
    "SHA256SUMS",
    "detectors.json",
    "events-000001.parquet",
    "findings.json",
    "findings.parquet",
    "incident.json",
    "queries.json",
    "settings.json",
    "verdicts.json",
)
"""One of each kind."""

OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))


@pytest.fixture
def place(pristine: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "evidence"))


def wrong(place: Path) -> dict[str, str]:
    checked = check(place)
    assert not checked.intact
    return {line.path: line.status for line in checked.lines if line.status != OK}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def drop_from_the_middle(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:20] + data[25:])


def into_a_link(path: Path) -> None:
    kept = path.with_name("kept")
    path.rename(path.parent.parent / "kept")
    path.symlink_to(path.parent.parent / "kept")
    assert not kept.exists()


def into_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def into_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def into_a_sparse_terabyte(path: Path) -> None:
    os.truncate(path, 2**40)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (flip, CHANGED),
        (shorten, TRUNCATED),
        (empty, TRUNCATED),
        (lengthen, CHANGED),
        (drop_from_the_middle, CHANGED),
        (Path.unlink, REMOVED),
        (into_a_link, CHANGED),
        (into_a_pipe, CHANGED),
        (into_a_directory, CHANGED),
        (into_a_sparse_terabyte, CHANGED),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_the_file_that_was_spoiled_is_named_and_no_other(
    place: Path, name: str, spoil: Callable[[Path], None], status: str
) -> None:
    spoil(place / name)
    assert wrong(place) == {name: status}


def test_all_is_well_with_what_nobody_touched_and_the_key_is_merely_the_one_inside(place: Path) -> None:
    checked = check(place)
    assert checked.intact and checked.signed and checked.key == checking.INSIDE
    assert {line.path for line in checked.lines} == {path.name for path in place.iterdir()}


def test_what_was_added_is_said_with_odd_names_and_without_looking_inside(place: Path) -> None:
    (place / "notes.txt").write_text("x")
    (place / "a\n\x1b[31m\u202e").write_text("x")
    (place / os.fsdecode(b"\xff\xfe")).write_text("x")
    (place / "deep").mkdir()
    (place / "deep" / "events-000001.parquet").write_text("x")
    (place / "loop").symlink_to(place)
    assert wrong(place) == dict.fromkeys(
        ("notes.txt", "a\n\x1b[31m\u202e", os.fsdecode(b"\xff\xfe"), "deep", "loop"), ADDED
    )


def test_thousands_of_strays_are_counted_and_not_listed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "MOST_STRAYS", 10)
    for number in range(30):
        (place / f"x{number}").touch()
    lines = [line for line in check(place).lines if line.status == ADDED]
    assert len(lines) == 11 and lines[-1].said == "and 20 more"


@pytest.mark.parametrize("name", SEAL)
def test_a_missing_file_of_the_seal_is_removed_and_nothing_is_intact(place: Path, name: str) -> None:
    (place / name).unlink()
    found = wrong(place)
    assert found[name] == REMOVED
    if name == "manifest.json":
        assert set(found.values()) == {REMOVED, UNKNOWN}


@pytest.mark.parametrize("spoil", [flip, shorten, empty, into_a_link, into_a_pipe, into_a_directory])
@pytest.mark.parametrize("name", SEAL)
def test_an_edited_seal_is_blamed_on_its_file(place: Path, name: str, spoil: Callable[[Path], None]) -> None:
    spoil(place / name)
    checked = check(place)
    assert not checked.intact
    blamed = {line.path for line in checked.lines if line.path in SEAL and line.status != OK}
    assert blamed == {name}


def edited(place: Path, old: bytes, new: bytes, *, sign: Ed25519PrivateKey | None = None) -> None:
    """Replace in the manifest and make it agree with itself again, as somebody would who knows the format."""
    data = (place / "manifest.json").read_bytes()
    assert old in data
    rows = json.loads(data.replace(old, new, 1))
    rows.pop("manifest_sha256")
    data = canonical({**rows, "manifest_sha256": hashlib.sha256(canonical(rows)).hexdigest()}) + b"\n"
    (place / "manifest.json").write_bytes(data)
    if sign is not None:
        (place / "manifest.sig").write_bytes(sign.sign(data))
        (place / "public_key.pem").write_bytes(signing.pem(sign.public_key()))


def test_a_manifest_that_was_edited_with_care_is_not_signed(place: Path) -> None:
    edited(place, b'"revision":6', b'"revision":7')
    checked = check(place)
    assert not checked.signed
    assert [line.path for line in checked.lines if line.status != OK] == ["manifest.sig"]
    assert "no signature of this manifest" in checked.lines[1].said


def test_an_edit_with_a_new_signature_and_a_new_key_is_only_seen_by_who_names_the_key(
    place: Path, key: Ed25519PrivateKey
) -> None:
    ours = signing.fingerprint(key.public_key())
    theirs = signing.fingerprint(OTHER.public_key())
    edited(place, ours.encode(), theirs.encode(), sign=OTHER)
    assert check(place).intact and check(place).key == checking.INSIDE
    for named in (ours, key.public_key()):
        checked = check(place, named)
        assert not checked.intact
    assert check(place, ours).key == checking.ANOTHER
    assert check(place, theirs).key == checking.NAMED


def test_the_key_that_a_verifier_names_counts_and_not_the_one_inside(place: Path, key: Ed25519PrivateKey) -> None:
    for named in (key.public_key(), signing.fingerprint(key.public_key())):
        checked = check(place, named)
        assert checked.intact and checked.key == checking.NAMED
    (place / "public_key.pem").write_bytes(signing.pem(OTHER.public_key()))
    checked = check(place, key.public_key())
    assert checked.signed and checked.key == checking.NAMED and not checked.intact
    assert [(line.path, line.said) for line in checked.lines if line.status != OK] == [
        ("public_key.pem", "it is not the key that the manifest names")
    ]


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "manifest.sig", "a\\u0000", "con\\n", "A", "x" * 300, ""],
)
def test_a_name_out_of_a_manifest_that_no_export_gives_is_never_opened(
    place: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(place, b'"path":"verdicts.json"', b'"path":"' + name.encode() + b'"', sign=OTHER)
    opened: list[str] = []
    original = os.open

    def watched(path: str, *rest: int, **kept: int) -> int:
        opened.append(os.fspath(path))
        return original(path, *rest, **kept)

    monkeypatch.setattr(os, "open", watched)
    checked = check(place)
    assert not checked.intact and checked.manifest is None
    assert set(opened) <= {str(place), *SEAL}


def bytes_of(place: Path) -> bytes:
    return (place / "manifest.json").read_bytes()


HOSTILE_MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "a key twice": lambda data: data.replace(b"{", b'{"files":[],', 1),
    "a key twice inside": lambda data: data.replace(b'"revision":6', b'"revision":5,"revision":6'),
    "blanks": lambda data: data.replace(b":", b": ", 1),
    "no line end": lambda data: data.strip(),
    "escapes": lambda data: data.replace(b'"chat"', b'"\\u0063hat"', 1),
    "a float": lambda data: data.replace(b'"revision":6', b'"revision":6.0'),
    "not a number": lambda data: data.replace(b'"revision":6', b'"revision":NaN'),
    "a number that no float has": lambda data: data.replace(b'"revision":6', b'"revision":6e999'),
    "a huge number": lambda data: data.replace(b'"revision":6', b'"revision":' + b"9" * 10_000),
    "depth": lambda _: b"[" * 200_000,
    "no object": lambda _: b"[]\n",
    "nothing": lambda _: b"{}\n",
    "binary": lambda _: os.urandom(1_000),
    "not ASCII": lambda data: data.replace(b"chat", "ch\u00e4t".encode(), 1),
    "too long": lambda _: b'"' + b"a" * 17_000_000 + b'"',
}


@pytest.mark.parametrize("spoil", HOSTILE_MANIFESTS.values(), ids=HOSTILE_MANIFESTS)
def test_a_hostile_manifest_is_an_edited_one(place: Path, spoil: Callable[[bytes], bytes]) -> None:
    before = bytes_of(place)
    after = spoil(before)
    assert after != before
    (place / "manifest.json").write_bytes(after)
    checked = check(place)
    assert not checked.intact and checked.manifest is None
    assert checked.lines[0].path == "manifest.json" and checked.lines[0].status == CHANGED
    (place / "manifest.sig").write_bytes(OTHER.sign(after))
    (place / "public_key.pem").write_bytes(signing.pem(OTHER.public_key()))
    assert not check(place).intact, "a signature of anybody over it makes it no better"


def test_a_manifest_reads_back_as_it_was_written(place: Path) -> None:
    manifest: Manifest = decoded(bytes_of(place))
    assert manifest.encoded() == bytes_of(place)


@pytest.mark.parametrize("data", [b"", b"junk", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_public_key_that_is_none_is_said(place: Path, data: bytes) -> None:
    (place / "public_key.pem").write_bytes(data)
    checked = check(place)
    assert checked.key == checking.NO_KEY and not checked.signed and checked.lines[2].status == CHANGED


def test_verifying_needs_neither_settings_nor_a_store_nor_the_network(place: Path, tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise SystemExit('network')\n"
        "socket.socket.connect = refuse\n"
        "from streams.cli import app\n"
        "app(args=['evidence', 'verify', sys.argv[1]], prog_name='inferwatch')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "merely the one in the directory" in done.stdout
