"""A directory of a model: hashed whole, looked at without loading, and never left."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import os
import pickle
import socket
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.attesting.models import attest_code, attest_model, surveyed_code
from streams.attesting.report import Attestation, AttestError, Level
from streams.attesting.walking import MAX_DEPTH, survey


class Harm:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def attested(root: Path) -> Attestation:
    return attest_model(root, survey(root), lambda size_bytes: None)


def only(root: Path, name: str, data: bytes) -> Attestation:
    (root / name).write_bytes(data)
    return attested(root)


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def array(value: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, value, allow_pickle=True)
    return out.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def at(place: int, telling: bytes) -> bytes:
    """A pickle that does harm, of the oldest protocol, with the mark of another format in it."""
    start = b"cposix\nsystem\n(S'true'\ntR0S'"
    return start + b"x" * (place - len(start)) + telling + b"'\n."


TENSOR = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
GOOD = safetensors({**TENSOR, "__metadata__": {"format": "pt"}}, bytes(24))


def test_the_digest_is_that_of_the_lines_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "model.safetensors").write_bytes(GOOD)
    (tmp_path / "b" / "tokenizer.json").write_bytes(b"{}")
    made = attested(tmp_path)
    hashes = [hashlib.sha256(data).hexdigest() for data in (b"{}", GOOD)]
    lines = f"{hashes[0]}  b/tokenizer.json\n{hashes[1]}  model.safetensors\n"
    assert made.digest == f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
    assert set(made.components) == {"weights", "tokenizer"} and not made.concerns


def test_a_changed_byte_changes_only_the_component_it_is_in(tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes(GOOD)
    before = attested(tmp_path)
    after = only(tmp_path, "adapter_model.safetensors", GOOD[:-1] + b"\1")
    assert before.digest != after.digest
    assert {name for name, each in after.components.items() if each != before.components[name]} == {"adapter"}


def test_a_renamed_file_changes_the_digest(tmp_path: Path) -> None:
    before = only(tmp_path, "a.safetensors", GOOD)
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    assert attested(tmp_path).digest != before.digest


def test_safetensors_are_counted(tmp_path: Path) -> None:
    (file,) = only(tmp_path, "model.safetensors", GOOD).files
    assert (file.format, file.kind, file.tensors, file.parameters) == ("safetensors", "data", 1, 6)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        safetensors({}, length=1 << 62),
        safetensors(b"[1]"),
        safetensors(b"{nothing"),
        safetensors(b'{"a":' * 50_000),
        safetensors(b'{"w": 1, "w": 2}'),
        safetensors({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors({"w": {"dtype": "EVIL", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors({"w": {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]}}, bytes(8)),
        safetensors({"w": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors({"w": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors({**TENSOR, "v": TENSOR["w"]}, bytes(24)),
        safetensors(TENSOR, bytes(25)),
        safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}, bytes(16)),
        safetensors({"__metadata__": {"a": 1}}),
        safetensors({"w": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    ],
)
def test_safetensors_that_break_the_format_are_an_alarm_and_still_hashed(tmp_path: Path, data: bytes) -> None:
    made = only(tmp_path, "model.safetensors", data)
    assert made.alarming and made.files[0].sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.pkl", pickle.dumps(Harm())),
        ("innocent.txt", pickle.dumps(Harm(), 0)),
        ("weights.safetensors.json", pickle.dumps(Harm(), 4)),
        ("no-ending", pickle.dumps(Harm(), 1)),
        ("model.pt", zipped({"archive/data.pkl": pickle.dumps(Harm(), 2), "archive/data/0": bytes(100)})),
        ("model.bin", zipped({"archive/data.pkl": pickle.dumps(Harm(), 2)}, zipfile.ZIP_DEFLATED)),
        ("model.zip", zipped({"deep/er/innocent.json": pickle.dumps(Harm())})),
        ("model.nemo", tarred({"weights.ckpt": pickle.dumps(Harm())})),
        ("model.joblib", gzip.compress(pickle.dumps(Harm()), mtime=0)),
        ("other.joblib", zlib.compress(pickle.dumps(Harm()))),
        ("third.joblib", bz2.compress(pickle.dumps(Harm()))),
        ("array.npy", array(np.array([Harm()], dtype=object))),
        ("arrays.npz", zipped({"a.npy": array(np.arange(3)), "b.npy": array(np.array([Harm()], dtype=object))})),
        ("broken.pkl", b"nothing of the kind"),
        ("tar.pkl", at(257, b"ustar")),
        ("tflite.bin", b"\x80\x04\x8c\x04TFL30cposix\nsystem\nS'true'\n\x85R."),
        ("gguf.gguf", b"GGUF" + bytes(5) + b"0cposix\nsystem\nS'true'\n\x85R."),
        ("oldest.zip", zipped({"any.json": pickle.dumps(Harm(), 0)})),
        ("cut.pt", zipped({"archive/data.pkl": pickle.dumps(Harm(), 2)})[:-30]),
    ],
)
def test_a_pickle_that_does_harm_is_found_in_whatever_it_is(tmp_path: Path, name: str, data: bytes) -> None:
    made = only(tmp_path, name, data)
    assert made.alarming and made.digest


def test_a_harmless_pickle_is_flagged_and_no_alarm(tmp_path: Path) -> None:
    made = only(tmp_path, "model.pt", zipped({"archive/data.pkl": pickle.dumps({"w": np.arange(3)}, 2)}))
    assert [concern.level for concern in made.concerns] == [Level.WARN]
    assert (made.files[0].format, made.files[0].kind) == ("torch zip", "pickle")


def test_arrays_of_numbers_are_data(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(array(np.zeros(3, dtype=[("x", "<f8"), ("y", "<i4")])))
    made = only(tmp_path, "b.npz", zipped({"a.npy": array(np.arange(3))}))
    assert not made.concerns and {file.kind for file in made.files} == {"data"}


def test_two_members_of_one_name_are_an_alarm(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/data.pkl", pickle.dumps({1: 2}))
    assert only(tmp_path, "model.pt", out.getvalue()).alarming


def test_a_bomb_of_zeros_costs_no_memory(tmp_path: Path) -> None:
    bomb = b"\x80\x04B" + (200_000_000).to_bytes(4, "little") + bytes(200_000_000) + b"0N."
    made = only(tmp_path, "model.pt", zipped({"archive/data.pkl": bomb}, zipfile.ZIP_DEFLATED))
    assert made.files[0].kind == "pickle" and made.files[0].size_bytes < 1_000_000


def test_an_archive_of_many_long_pickles_costs_no_more_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.attesting.inspecting.MAX_OPERATIONS", 1_000)
    long = pickle.dumps(list(range(2_000)))
    made = only(tmp_path, "model.zip", zipped({f"{place}.pkl": long for place in range(3)}))
    assert [concern.level for concern in made.concerns] == [Level.WARN, Level.ALARM, Level.ALARM]
    assert "not scanned" in made.concerns[1].text


def test_a_lambda_layer_of_keras_is_an_alarm(tmp_path: Path) -> None:
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}}
    text = json.dumps({"class_name": "Sequential", "module": "keras", "config": {"layers": [layer]}}).encode()
    keras = only(tmp_path, "model.keras", zipped({"config.json": text, "metadata.json": b"{}"}))
    assert keras.alarming and keras.files[0].format == "keras"
    (tmp_path / "model.keras").unlink()
    hdf5 = only(tmp_path, "model.h5", b"\x89HDF\r\n\x1a\n" + bytes((1 << 20) - 20) + text)
    assert hdf5.alarming and hdf5.files[0].kind == "code"


def test_code_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Model"}}')
    (tmp_path / "modeling.py").write_text("import os\nos.system('true')")
    made = only(tmp_path, "libx.so", b"\x7fELF" + bytes(100))
    assert {concern.where for concern in made.concerns} == {"config.json", "modeling.py", "libx.so"}
    assert [each.call for each in made.abilities] == ["os.system"]


def test_no_link_is_followed_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "secret.pkl").write_bytes(pickle.dumps(Harm()))
    (tmp_path / "folder").mkdir()
    root = tmp_path / "model"
    root.mkdir()
    (root / "model.safetensors").write_bytes(GOOD)
    (root / "inside").symlink_to("model.safetensors")
    (root / "outside.pkl").symlink_to("../secret.pkl")
    (root / "folder").symlink_to("../folder")
    (root / "nowhere").symlink_to("/does/not/exist")
    (root / "itself").symlink_to("itself")
    made = attested(root)
    links = {file.path: file.sha256 for file in made.files if file.link is not None}
    assert set(links) == {"inside", "outside.pkl", "folder", "nowhere", "itself"} and not any(links.values())
    assert {concern.where for concern in made.concerns} == {"outside.pkl", "folder", "nowhere", "itself"}
    assert made.alarming


def test_a_link_that_points_elsewhere_changes_the_digest(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(GOOD)
    (tmp_path / "model").symlink_to("a.safetensors")
    before = attested(tmp_path)
    (tmp_path / "model").unlink()
    (tmp_path / "model").symlink_to("b.safetensors")
    assert before.digest != attested(tmp_path).digest


def test_pipes_and_sockets_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        made = attested(tmp_path)
    assert {concern.where for concern in made.concerns} == {"pipe.pkl", "s"} and made.digest is None


def test_a_folder_that_is_too_deep_is_not_entered(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * (MAX_DEPTH + 2))
    deep.mkdir(parents=True)
    (deep / "model.pkl").write_bytes(b"x")
    made = attested(tmp_path)
    assert made.digest is None and "deep" in made.concerns[0].text


def test_a_file_that_changes_while_it_is_read_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(GOOD)
    entries = survey(tmp_path)

    def write(size_bytes: int) -> None:
        (tmp_path / "model.safetensors").write_bytes(GOOD + b"more")

    made = attest_model(tmp_path, entries, write)
    assert made.digest is None and "changed" in made.concerns[0].text and made.alarming


def test_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "model"
    (root / "d").mkdir(parents=True)
    (root / "d" / "w.safetensors").write_bytes(GOOD)
    entries = survey(root)
    (root / "d").rename(tmp_path / "elsewhere")
    (root / "d").symlink_to("../elsewhere")
    made = attest_model(root, entries, lambda size_bytes: None)
    assert made.digest is None and made.files[0].sha256 is None


def test_a_file_that_is_exchanged_for_a_link_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "model"
    root.mkdir()
    for folder in (root, tmp_path):
        (folder / "w.safetensors").write_bytes(GOOD)
    entries = survey(root)
    (root / "w.safetensors").unlink()
    (root / "w.safetensors").symlink_to("../w.safetensors")
    made = attest_model(root, entries, lambda size_bytes: None)
    assert made.digest is None and made.files[0].sha256 is None


def test_a_name_that_is_no_text_is_hashed(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/w\xff\n.safetensors")).write_bytes(GOOD)
    made = attested(tmp_path)
    assert made.digest and made.files[0].path == "w\\xff\n.safetensors"


def test_what_is_no_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(AttestError, match="cannot be read as a directory"):
            survey(path)


def test_progress_tells_every_byte(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(3_000_000))
    told: list[int] = []
    attest_model(tmp_path, survey(tmp_path), told.append)
    assert sum(told) == 3_000_000 and len(told) > 2


def test_code_is_hashed_and_what_is_no_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("import subprocess\ndef run(x):\n    subprocess.run(x)")
    (tmp_path / "index.js").write_text("require('child_process')")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "hook.py").write_text("eval(x)")
    made = attest_code(tmp_path, surveyed_code(tmp_path), lambda size_bytes: None)
    assert [(each.path, each.line, each.call) for each in made.abilities] == [("server.py", 3, "subprocess.run")]
    assert made.digest and "index.js" in made.concerns[0].text
    (tmp_path / "index.js").write_text("other")
    assert attest_code(tmp_path, surveyed_code(tmp_path), lambda size_bytes: None).digest != made.digest
