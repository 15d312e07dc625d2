"""State comes back only where its seal proves whose it is; everything else is refused with its reason."""

from __future__ import annotations

import hmac

import msgspec
import pytest

from streams.snapshots import Origin, SnapshotRefusedError, key_id, seal, unseal

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
LIBRARIES = {"river": "0.26.1", "numpy": "2.4.0"}
ORIGIN = Origin(
    topic_id="0" * 32,
    scope="deployment",
    subject="support-chat",
    topic="observations-by-deployment",
    partition=3,
    next_offset=7,
)
STATE = b"\x80\x05state"
ENVELOPE = seal(ORIGIN, STATE, LIBRARIES, KEY)
HEADER_BYTES = 4 + 8 + 32
"""Magic, key id, signature."""


def reason(
    envelope: bytes, origin: Origin = ORIGIN, libraries: dict[str, str] = LIBRARIES, keys: tuple[bytes, ...] = (KEY,)
) -> str:
    with pytest.raises(SnapshotRefusedError) as caught:
        unseal(envelope, origin, libraries, keys)
    return str(caught.value)


@pytest.mark.parametrize("state", [b"", STATE, bytes(range(256)) * 4_096], ids=["empty", "small", "1 MB"])
def test_what_was_sealed_comes_back(state: bytes) -> None:
    assert unseal(seal(ORIGIN, state, LIBRARIES, KEY), ORIGIN, LIBRARIES, (KEY,)) == state


def test_the_same_state_gives_the_same_envelope() -> None:
    assert seal(ORIGIN, STATE, LIBRARIES, KEY) == ENVELOPE


def test_an_old_key_is_accepted_while_keys_are_rotated() -> None:
    assert unseal(ENVELOPE, ORIGIN, LIBRARIES, (OTHER_KEY, KEY)) == STATE


@pytest.mark.parametrize("length", range(len(ENVELOPE)))
def test_an_envelope_cut_at_any_byte_is_refused(length: int) -> None:
    expected = "truncated or of another format" if length < HEADER_BYTES else "signature does not match"
    assert expected in reason(ENVELOPE[:length])


@pytest.mark.parametrize("position", range(len(ENVELOPE)))
def test_a_flipped_bit_anywhere_is_refused(position: int) -> None:
    damaged = bytearray(ENVELOPE)
    damaged[position] ^= 1 << (position % 8)
    said = reason(bytes(damaged))
    if position < 4:
        assert "another format" in said
    elif position < 12:
        assert "key that is not accepted" in said
    else:
        assert "signature does not match" in said


def test_something_behind_the_end_is_refused() -> None:
    assert "signature does not match" in reason(ENVELOPE + b"\x00")


def test_an_envelope_signed_with_another_key_is_refused() -> None:
    assert "key that is not accepted here" in reason(seal(ORIGIN, STATE, LIBRARIES, OTHER_KEY))
    assert "key that is not accepted here" in reason(ENVELOPE, keys=())


def test_a_forger_who_writes_our_key_id_over_his_own_is_refused() -> None:
    forged = seal(ORIGIN, STATE, LIBRARIES, OTHER_KEY)
    assert "signature does not match" in reason(forged[:4] + key_id(KEY) + forged[12:])


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "billing"},
        {"partition": 4},
        {"topic": "observations-by-principal"},
        {"scope": "principal"},
        {"topic_id": "1" * 32},
        {"next_offset": 6},
    ],
    ids=lambda changed: f"another {next(iter(changed))}",
)
def test_the_state_of_another_place_is_refused(changed: dict[str, str | int]) -> None:
    said = reason(ENVELOPE, origin=msgspec.structs.replace(ORIGIN, **changed))
    assert "belongs to another subject, partition or offset" in said


@pytest.mark.parametrize(
    ("libraries", "named"),
    [
        ({"river": "0.27.0", "numpy": "2.4.0"}, "river"),
        ({"river": "0.26.1"}, "numpy"),
        ({**LIBRARIES, "inferwatch": "0.2.0"}, "inferwatch"),
        ({}, "numpy, river"),
    ],
)
def test_state_that_other_library_versions_wrote_is_refused_by_name(libraries: dict[str, str], named: str) -> None:
    assert reason(ENVELOPE, libraries=libraries) == f"it was written by other versions of {named}"


@pytest.mark.parametrize("body", [b"\xc1", b"\x81\xa6origin\xc0", b"\xff" * 10_000, b"\x91" * 100_000])
def test_a_body_that_would_break_the_parser_is_not_parsed_before_its_signature_is_verified(body: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, RecursionError)):
        msgspec.msgpack.decode(body, type=Origin)
    assert "signature does not match" in reason(b"IWS1" + key_id(KEY) + bytes(32) + body)


def test_a_signed_body_of_another_layout_is_refused_too() -> None:
    body = msgspec.msgpack.encode({"layout": "of a later release"})
    envelope = b"IWS1" + key_id(KEY) + hmac.digest(KEY, body, "sha256") + body
    assert "another layout" in reason(envelope)
