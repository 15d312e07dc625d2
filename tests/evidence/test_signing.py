"""The key that signs evidence: its owner's alone, never replaced, with a fingerprint that others come to as well."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from streams.evidence import signing
from streams.settings import Settings, SettingsError


def test_a_new_key_is_its_owners_alone_and_its_public_half_is_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "evidence.key"
    umask = os.umask(0)
    try:
        public = signing.make(path)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert signing.public_path(path).stat().st_mode & 0o777 == 0o644
    assert signing.load(path).public_key() == public == signing.named(str(signing.public_path(path)))
    assert sorted(each.name for each in path.parent.iterdir()) == ["evidence.key", "evidence.key.pub"]
    assert b"PRIVATE" not in signing.public_path(path).read_bytes()


def test_a_key_that_exists_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "evidence.key"
    signing.make(path)
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="not replaced"):
        signing.make(path)
    path.rename(tmp_path / "aside")
    with pytest.raises(SettingsError, match=r"evidence\.key\.pub exists"):
        signing.make(path)
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="not replaced"):
        signing.make(path)
    assert (tmp_path / "aside").read_bytes() == before and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o660])
def test_a_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "evidence.key"
    signing.make(path)
    path.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        signing.load(path)


def test_what_is_no_key_is_refused_and_never_quoted(tmp_path: Path) -> None:
    path = tmp_path / "evidence.key"
    with pytest.raises(SettingsError, match="evidence keygen"):
        signing.load(path)
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for data in (b"", b"secret-hunter2", other, os.urandom(200)):
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(SettingsError, match="no Ed25519 private key") as refused:
            signing.load(path)
        assert "hunter2" not in str(refused.value)


def test_the_key_is_where_the_setting_says_else_beside_the_data(tmp_path: Path) -> None:
    assert signing.key_path(Settings(data_dir=tmp_path)) == tmp_path / "evidence.key"
    assert signing.key_path(Settings(evidence_key_path=tmp_path / "k")) == tmp_path / "k"


def test_a_verifier_names_a_key_by_its_file_or_its_fingerprint(tmp_path: Path) -> None:
    public = signing.make(tmp_path / "evidence.key")
    fingerprint = signing.fingerprint(public)
    assert signing.named(fingerprint) == signing.named(f" {fingerprint.upper()} ") == fingerprint
    for text in ("sha256:12", str(tmp_path / "nothing"), str(tmp_path)):
        with pytest.raises(SettingsError, match="--signer"):
            signing.named(text)
    with pytest.raises(SettingsError, match="no Ed25519 public key"):
        signing.named(str(tmp_path / "evidence.key"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="without openssl")
def test_openssl_comes_to_the_same_fingerprint_and_accepts_the_signature(pristine: Path) -> None:
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", "public_key.pem", "-outform", "DER"],
        cwd=pristine,
        capture_output=True,
        check=True,
    ).stdout
    page = (pristine / "README.md").read_text()
    assert f"sha256:{hashlib.sha256(der).hexdigest()}" in page
    command = next(line for line in page.splitlines() if "openssl pkeyutl" in line).split()
    done = subprocess.run(command, cwd=pristine, capture_output=True, text=True, check=False)
    if "rawin" in done.stderr:
        pytest.skip("an openssl that is too old for Ed25519")
    assert done.returncode == 0 and "Success" in done.stdout
