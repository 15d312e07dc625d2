"""Installed packages against a lock and against what they were when they were installed."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from streams.attesting.locks import parse_lock
from streams.attesting.packages import attest_packages, surveyed_packages
from streams.attesting.report import Attestation, AttestError, Level

LOCK = (
    f"# by a tool\n--index-url https://packages.example/simple\nGreeting==1.0 \\\n    --hash=sha256:{'a' * 64}  # why\n"
)


def install(site: Path, name: str = "greeting", version: str = "1.0", **files: str) -> None:
    """As an installer does: files, and a RECORD of their hashes."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    written = {f"{name}.py": "def greet(): ...\n", **{key.replace("__", "."): text for key, text in files.items()}}
    written[f"{info.name}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    lines = []
    for path, text in written.items():
        (site / path).write_text(text)
        value = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={value},{len(text)}")
    (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/RECORD,,", f"__pycache__/{name}.pyc,,"]))


def attested(site: Path, lock: str = LOCK) -> Attestation:
    return attest_packages(site, parse_lock("lock", lock.encode()), surveyed_packages(site), lambda size_bytes: None)


def test_what_is_installed_as_locked_is_no_concern(tmp_path: Path) -> None:
    install(tmp_path)
    made = attested(tmp_path)
    assert not made.concerns and made.components["package_set"] == made.digest
    assert [(each.name, each.version) for each in made.packages] == [("greeting", "1.0")]


def test_the_digest_is_the_same_wherever_it_is_installed(tmp_path: Path) -> None:
    install(tmp_path / "a")
    install(tmp_path / "b")
    (tmp_path / "b" / "greeting-1.0.dist-info" / "INSTALLER").write_text("another")
    assert attested(tmp_path / "a").digest == attested(tmp_path / "b").digest


def test_a_changed_file_is_an_alarm(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "greeting.py").write_text("import os\n")
    (concern,) = attested(tmp_path).concerns
    assert concern.level is Level.ALARM and concern.where == "greeting: greeting.py"


def test_a_changed_file_changes_the_digest_although_its_record_does_not(tmp_path: Path) -> None:
    install(tmp_path)
    before = attested(tmp_path)
    (tmp_path / "greeting.py").write_text("import os\n")
    assert attested(tmp_path).digest != before.digest


def test_a_file_that_another_package_brought_is_told_from_one_that_somebody_changed(tmp_path: Path) -> None:
    install(tmp_path, "other")
    (tmp_path / "other-1.0.dist-info" / "RECORD").open("a").write(f"\ngreeting.py,sha256={'A' * 43},3")
    install(tmp_path)
    found = {concern.where: concern.text for concern in attested(tmp_path).concerns}
    assert found["other: greeting.py"] == "was overwritten by greeting"


def test_a_file_that_is_changed_with_its_record_changes_the_digest(tmp_path: Path) -> None:
    install(tmp_path / "a")
    install(tmp_path / "b", greeting__py="import os\n")
    assert not attested(tmp_path / "b").concerns
    assert attested(tmp_path / "a").digest != attested(tmp_path / "b").digest


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        (LOCK.replace("1.0", "1.1"), "1.0 is installed, 1.1 is locked"),
        (LOCK.replace("Greeting", "other"), "1.0 is installed and not in the lock"),
        ("greeting==1.0", "the lock has no hash of it"),
        (f"{LOCK}\nmissing==2 --hash=sha256:{'b' * 64}", "2 is locked and not installed"),
    ],
)
def test_what_differs_from_the_lock_is_said(tmp_path: Path, lock: str, said: str) -> None:
    install(tmp_path)
    assert said in {concern.text for concern in attested(tmp_path, lock).concerns}


def test_a_package_for_other_machines_is_not_missed(tmp_path: Path) -> None:
    install(tmp_path)
    lock = f"{LOCK}\nwindows-only==2 ; sys_platform == 'win32' --hash=sha256:{'b' * 64}"
    assert not attested(tmp_path, lock).concerns


def test_a_file_that_no_package_brought_is_an_alarm(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "sitecustomize.py").write_text("import os\n")
    texts = [concern.text for concern in attested(tmp_path).concerns]
    assert "can be imported and belongs to no package" in texts
    assert "runs at every start of Python; brought by no package" in texts


def test_a_line_that_every_start_of_python_runs_is_told_with_what_it_can_do(tmp_path: Path) -> None:
    install(tmp_path, hook__pth="import base64; exec(base64.b64decode('cHJpbnQoMSk='))\n/some/path\n")
    concerns = attested(tmp_path).concerns
    assert any("(decoding, dynamic code); brought by greeting" in concern.text for concern in concerns)
    assert any(concern.level is Level.ALARM and "runs what it decodes" in concern.text for concern in concerns)


def test_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site)
    (site / "greeting.py").rename(tmp_path / "elsewhere.py")
    (site / "greeting.py").symlink_to("../elsewhere.py")
    (concern,) = attested(site).concerns
    assert concern.level is Level.ALARM and "link" in concern.text


def test_a_record_that_names_files_outside_reads_none_of_them(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3" / "site-packages"
    install(site)
    record = site / "greeting-1.0.dist-info" / "RECORD"
    record.write_text(record.read_text() + "\n/etc/hostname,sha256=AA,1\n../../../../../etc/hostname,sha256=AA,1\n")
    assert [concern.text for concern in attested(site).concerns] == [
        "lies outside the environment and was not checked"
    ] * 2


def test_a_command_of_the_environment_is_checked(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3" / "site-packages"
    install(site)
    (tmp_path / "pyvenv.cfg").write_text("")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "greet").write_text("changed")
    record = site / "greeting-1.0.dist-info" / "RECORD"
    record.write_text(record.read_text() + f"\n../../../bin/greet,sha256={'A' * 43},1\n")
    (concern,) = attested(site).concerns
    assert concern.text == "is not what was installed"


def test_what_came_from_an_address_of_its_own_is_an_alarm(tmp_path: Path) -> None:
    install(tmp_path)
    address = tmp_path / "greeting-1.0.dist-info" / "direct_url.json"
    address.write_text('{"url": "https://elsewhere.example/greeting.whl", "archive_info": {}}')
    assert attested(tmp_path).alarming
    address.write_text('{"archive_info": {"hashes": {"sha256": "' + "a" * 64 + '"}}}')
    assert not attested(tmp_path).concerns


@pytest.mark.parametrize("record", ["a,sha256=!!!,1\n", "x" * 200_000, '"', "a,sha256=A,1"])
def test_a_damaged_record_is_said(tmp_path: Path, record: str) -> None:
    install(tmp_path)
    (tmp_path / "greeting-1.0.dist-info" / "RECORD").write_text(record)
    assert attested(tmp_path).concerns


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"greeting>=1.0\n", b"\xff\n", b"-r other.txt\n", b"-e .\n"])
def test_what_is_no_lock_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(AttestError) as caught:
        parse_lock("lock", data)
    assert str(caught.value).startswith("lock: ") and "\n" not in str(caught.value)


def test_a_directory_without_packages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AttestError, match="no packages"):
        attested(tmp_path)
