"""What is in one file of a model, looked at without loading: pickles, archives of them, arrays, tensors, layers."""

from __future__ import annotations

import ast
import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any

import msgspec

from streams.attesting.abilities import MAX_SOURCE_BYTES, abilities
from streams.attesting.formats import HEAD_BYTES, SURE_PICKLE_ENDINGS, Kind, sniff
from streams.attesting.pickles import MAX_OPERATIONS, judge, scan
from streams.attesting.report import Ability, Concern, Level, shown
from streams.attesting.safetensors import Header, HeaderError, read_header

MAX_MEMBERS = 20_000
MAX_READ_BYTES = 16_000_000
"""What one read may ask for: the directory of a zip file is read at once, and its size is said by the file itself."""

_NPY_HEADER_BYTES = 10_000
_SEARCHED_BYTES = 256_000_000
_LAMBDA = (b'"class_name": "Lambda"', b'"class_name":"Lambda"')
_STREAMS: dict[str, Callable[[IO[bytes]], Any]] = {
    "gzip": lambda source: gzip.GzipFile(fileobj=source),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}


class Look(msgspec.Struct, kw_only=True):
    """What was seen in a file."""

    format: str
    kind: Kind
    concerns: list[Concern] = []
    imports: tuple[str, ...] = ()
    header: Header | None = None
    abilities: list[Ability] = []
    operations: int = 0


class _Bounded(io.RawIOBase):
    """A file that refuses to be read in larger pieces than we have memory for."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            data = self._source.read(MAX_READ_BYTES + 1)
            if len(data) > MAX_READ_BYTES:
                raise ValueError("asks for more at once than is read")
            return data
        return self._source.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def inspect(path: str, source: IO[bytes], size_bytes: int) -> Look:
    """Look at a file that can be sought in. Never raises for what is in it."""
    head = source.read(HEAD_BYTES)
    format_, kind = sniff(path, head)
    look = Look(format=format_ or "unknown", kind=kind)
    source.seek(0)
    try:
        _look(look, path, source, size_bytes)
    except Exception as error:  # noqa: BLE001 - hostile files make zipfile, tarfile and decompressors raise anything
        said = shown(f"{type(error).__name__}: {error}".splitlines()[0])
        look.concerns.append(Concern(level=Level.ALARM, where=path, text=f"cannot be looked into: {said}"))
    return look


def _look(look: Look, path: str, source: IO[bytes], size_bytes: int) -> None:
    reader = _READERS.get(look.format)
    if look.format == "safetensors":
        _safetensors(look, path, source, size_bytes)
    elif reader is not None:
        reader(look, path, source)
    elif look.kind is Kind.CODE:
        look.concerns.append(Concern(level=Level.WARN, where=path, text=f"{look.format}: runs if anything starts it"))
    elif look.kind is Kind.ARCHIVE:
        look.concerns.append(Concern(level=Level.WARN, where=path, text=f"{look.format}: was not looked into"))
    if look.kind is not Kind.PICKLE or look.format == "pickle":  # whatever else it is, it may be a pickle too
        sure = look.kind is Kind.PICKLE or (reader is None and path.lower().endswith(SURE_PICKLE_ENDINGS))
        source.seek(0)
        _pickle(look, path, source, sure=sure)
    if look.kind is Kind.UNKNOWN:
        text = "no format that is known; nothing is said about what loading it does"
        look.concerns.append(Concern(level=Level.NOTE, where=path, text=text))


def _safetensors(look: Look, path: str, source: IO[bytes], size_bytes: int) -> None:
    try:
        look.header = read_header(source, size_bytes)
    except HeaderError as error:
        look.concerns.append(Concern(level=Level.ALARM, where=path, text=f"no valid safetensors: {error}"))


def _python(look: Look, path: str, source: IO[bytes]) -> None:
    look.abilities, concerns = abilities(path, source.read(MAX_SOURCE_BYTES + 1))
    what = ", ".join(sorted({each.ability for each in look.abilities})) or "nothing of what is looked for"
    text = f"Python that a loader may run; it can: {what}"
    look.concerns += [*concerns, Concern(level=Level.WARN, where=path, text=text)]


def _zip(look: Look, path: str, source: IO[bytes]) -> None:
    _archive(look, path, _zip_members(look, path, source))
    if path.lower().endswith((".keras", ".zip")):
        _keras(look, path, source)


def _tar(look: Look, path: str, source: IO[bytes]) -> None:
    _archive(look, path, _tar_members(source))


def _pickle(look: Look, where: str, source: IO[bytes], *, sure: bool) -> None:
    """Scan what is a pickle, or may be one; `sure` makes what cannot be read a pickle too."""
    if look.operations > MAX_OPERATIONS:
        if sure:
            text = "pickle, loading it runs it: not scanned, those before it in the archive were as much as is read"
            look.concerns.append(Concern(level=Level.ALARM, where=where, text=text))
        return
    seen = scan(source)
    look.operations += seen.operations
    if not (sure or seen.is_pickle):
        return
    look.kind = Kind.PICKLE
    if look.format == "unknown":
        look.format = "pickle"
    look.imports = tuple(dict.fromkeys([*look.imports, *seen.imports]))
    level, text = judge(seen.imports)
    if not seen.whole:
        level, text = (
            Level.ALARM,
            f"cannot be read to its end ({seen.trouble or 'no pickle inside'}); before that, {text}",
        )
    look.concerns.append(Concern(level=level, where=where, text=f"pickle, loading it runs it: {text}"))


def _archive(look: Look, path: str, members: Iterator[tuple[str, Callable[[], IO[bytes]]]]) -> None:
    names = []
    nested = 0
    for name, opened in members:
        names.append(name)
        where = f"{path}!{shown(name)}"
        with opened() as member:
            head = member.read(HEAD_BYTES)
        format_, kind = sniff(name, head)
        reader = _INNER.get(format_)
        if reader is not None:
            with opened() as member:
                reader(look, where, member)
        elif kind is Kind.CODE:
            look.concerns.append(Concern(level=Level.WARN, where=where, text=f"{format_} inside an archive"))
        nested += kind is Kind.ARCHIVE
        raw = "/data/" in name or name.startswith("data/")  # numbers of torch, which may begin like a pickle
        sure = not raw and (kind is Kind.PICKLE or name.lower().endswith(SURE_PICKLE_ENDINGS))
        with opened() as member:
            _pickle(look, where, member, sure=sure)
    if nested:
        text = f"{nested} archives inside an archive were not looked into"
        look.concerns.append(Concern(level=Level.WARN, where=path, text=text))
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        script = any("/code/" in name for name in names)
        look.format, look.kind = "torchscript" if script else "torch zip", Kind.PICKLE
    elif names and all(name.endswith(".npy") for name in names):
        look.format = "npz"
        look.kind = Kind.PICKLE if look.kind is Kind.PICKLE else Kind.DATA


def _zip_members(look: Look, path: str, source: IO[bytes]) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with zipfile.ZipFile(_Bounded(source)) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise ValueError(f"{len(members)} members; at most {MAX_MEMBERS} are looked at")
        if len({each.filename for each in members}) < len(members):
            text = "two members have one name; loaders disagree on which counts"
            look.concerns.append(Concern(level=Level.ALARM, where=path, text=text))
        for each in members:
            if not each.is_dir():
                yield each.filename, partial(archive.open, each)


def _tar_members(source: IO[bytes]) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with tarfile.open(fileobj=_Bounded(source), mode="r:") as archive:
        for count, each in enumerate(archive):
            if count >= MAX_MEMBERS:
                raise ValueError(f"more than {MAX_MEMBERS} members")
            if each.isfile():
                yield each.name, partial(_extracted, archive, each)


def _extracted(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    return archive.extractfile(member) or io.BytesIO()


def _compressed(look: Look, path: str, source: IO[bytes]) -> None:
    """A pickle under compression, as joblib writes it; anything else is said to be unseen."""
    opened = _STREAMS[look.format]
    head = opened(source).read(HEAD_BYTES)
    source.seek(0)
    inner, kind = sniff("", head)
    if kind is Kind.PICKLE or path.lower().endswith(SURE_PICKLE_ENDINGS):
        _pickle(look, path, opened(source), sure=True)
    else:
        text = f"{inner or 'something'} under {look.format}: was not looked into"
        look.concerns.append(Concern(level=Level.WARN, where=path, text=text))


def _npy(look: Look, where: str, source: IO[bytes]) -> None:
    """An array of objects is a pickle behind a header."""
    start = source.read(8)
    length = int.from_bytes(source.read(2 if start[6] == 1 else 4), "little")
    if length > _NPY_HEADER_BYTES:
        raise ValueError(f"an npy header of {length} bytes; numpy reads {_NPY_HEADER_BYTES}")
    said = ast.literal_eval(source.read(length).decode("latin-1").strip())
    if "O" in "".join(_dtypes(said["descr"])):
        look.format = "npy of objects"
        _pickle(look, where, source, sure=True)


def _dtypes(descr: Any) -> Iterator[str]:
    """The type codes of a dtype: a text, or a list of fields (name, dtype, shape)."""
    if isinstance(descr, str):
        yield descr
    else:
        for field in descr:
            yield from _dtypes(field[1])


def _hdf5(look: Look, where: str, source: IO[bytes]) -> None:
    """Keras keeps its configuration as one text: a Lambda layer in it is Python bytecode."""
    tail, read = b"", 0
    while read < _SEARCHED_BYTES and (piece := source.read(1 << 20)):
        if any(each in tail + piece for each in _LAMBDA):
            look.kind = Kind.CODE
            text = "a Lambda layer of Keras: bytecode that loading may run"
            look.concerns.append(Concern(level=Level.ALARM, where=where, text=text))
            return
        tail, read = piece[-64:], read + len(piece)
    if read >= _SEARCHED_BYTES:
        text = f"Lambda layers were looked for in the first {_SEARCHED_BYTES} bytes only"
        look.concerns.append(Concern(level=Level.NOTE, where=where, text=text))


def _keras(look: Look, path: str, source: IO[bytes]) -> None:
    """A Keras 3 archive: its configuration names the classes that loading makes."""
    source.seek(0)
    with zipfile.ZipFile(_Bounded(source)) as archive:
        if "config.json" not in archive.namelist():
            return
        with archive.open("config.json") as member:
            text = member.read(MAX_READ_BYTES + 1)
    if len(text) > MAX_READ_BYTES:
        raise ValueError("config.json is larger than any configuration")
    look.format, look.kind = "keras", Kind.GRAPH
    waiting = [json.loads(text)]
    classes: set[str] = set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if isinstance(each.get("class_name"), str):
                classes.add(f"{each.get('module') or ''}.{each['class_name']}")
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    lambdas = [each for each in classes if each.rpartition(".")[2] in {"Lambda", "__lambda__"}]
    foreign = [each for each in classes if not each.startswith((".", "keras.", "builtins", "tensorflow.keras"))]
    if lambdas:
        look.kind = Kind.CODE
        concern = "a Lambda layer of Keras: bytecode that loading may run"
        look.concerns.append(Concern(level=Level.ALARM, where=path, text=concern))
    if foreign:
        named = shown(", ".join(sorted(foreign)[:5]))
        look.concerns.append(Concern(level=Level.WARN, where=path, text=f"loading imports classes of others: {named}"))


_READERS: dict[str, Callable[[Look, str, IO[bytes]], None]] = {
    "zip": _zip,
    "tar": _tar,
    "hdf5": _hdf5,
    "npy": _npy,
    "python": _python,
    **dict.fromkeys(_STREAMS, _compressed),
}
"""Who looks into which format."""

_INNER: dict[str, Callable[[Look, str, IO[bytes]], None]] = {"hdf5": _hdf5, "npy": _npy}
"""Who looks into which format inside an archive."""
