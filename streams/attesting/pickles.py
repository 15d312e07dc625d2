"""What a pickle would import and call if somebody loaded it, read from its opcodes without loading anything.

A pickle is a program. `pickletools.genops` lists its instructions; a stack and a memo of names, and of nothing else,
say which names it imports. No scan makes a pickle safe to load: this says how bad it is, and what cannot be read to its
end counts as bad.
"""

from __future__ import annotations

import pickletools
import re
import warnings
from collections.abc import Iterable
from typing import IO, Any

import msgspec

from streams.attesting.report import Level, shown

MAX_OPERATIONS = 3_000_000
"""About ten seconds."""

MAX_BYTES = 1 << 32
"""What is read of one pickle at most: a bomb of compressed zeros costs seconds."""

MAX_PICKLES = 64
_LONGEST_ARGUMENT = 1 << 20
_LONGEST_NAME = 512
_MAX_IMPORTS = 1_000
_CHUNK = 1 << 16

HIDDEN = "?"
"""A name that is computed while the pickle is loaded."""

_MARK = object()
_CALLS = frozenset({"REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"})
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")

_ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"

_KNOWN = frozenset(
    {
        *(f"builtins.{name}" for name in ("set", "frozenset", "bytearray", "complex", "slice", "range", "object")),
        *(f"__builtin__.{name}" for name in ("set", "frozenset", "bytearray", "complex", "slice", "xrange", "object")),
        *(f"builtins.{name}" for name in ("int", "float", "str", "bytes", "list", "dict", "tuple", "bool", "long")),
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.Counter",
        "collections.deque",
        "_codecs.encode",
        "copyreg._reconstructor",
        "copy_reg._reconstructor",
        "datetime.datetime",
        "datetime.date",
        "datetime.timedelta",
        "decimal.Decimal",
        "numpy.dtype",
        "numpy.ndarray",
        *(
            f"numpy.{core}.multiarray.{name}"
            for core in ("core", "_core")
            for name in ("_reconstruct", "scalar", "_frombuffer")
        ),
        *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.nn.parameter.Parameter",
        "torch.Size",
        "torch.device",
        *(
            f"torch.{kind}Storage"
            for kind in (
                "Float",
                "Double",
                "Half",
                "BFloat16",
                "Long",
                "Int",
                "Short",
                "Char",
                "Byte",
                "Bool",
                "Untyped",
            )
        ),
        "torch.storage.UntypedStorage",
        "torch.storage.TypedStorage",
        _ARRAY,
    }
)
"""What pickles of plain data import: rebuilds values and calls nothing that was named by the file."""

_LIBRARIES = (
    *("sklearn.", "numpy.", "scipy.", "pandas.", "torch.", "transformers.", "xgboost.", "lightgbm.", "catboost."),
    *("joblib.", "river.", "tokenizers.", "spacy.", "gensim.", "statsmodels.", "pytorch_lightning.", "omegaconf."),
)
"""Names of these are what models are made of; some can be misused, so they are told and not believed."""

_DANGEROUS_IN_LIBRARIES = re.compile(
    r"numpy\.testing\..*|numpy\.f2py\..*|numpy\.load|torch\.(hub|jit|utils|distributed|package|serialization|load)\b.*"
    r"|pandas\.(read_pickle|io\.pickle\..*|eval)|joblib\.(load|numpy_pickle\.load)|.*\.(eval|exec|system|getattr|runstring)"
)


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What opcodes say: `imports` are dotted names, `whole` is whether all up to the last STOP could be read."""

    imports: tuple[str, ...] = ()
    calls: int = 0
    pickles: int = 0
    operations: int = 0
    whole: bool = False
    trouble: str = ""

    @property
    def is_pickle(self) -> bool:
        """Whether this is a pickle at all, judged by what was understood of bytes that have no telling beginning."""
        named = any(_NAME.fullmatch(name) for name in self.imports)
        return named and (self.calls > 0 or self.pickles > 0)


class _Skipped(bytes):
    """A long argument that was stepped over: it has its length and no content."""

    size = 0

    def __len__(self) -> int:
        return self.size


class _TooLargeError(ValueError):
    """More than a scan reads."""


class _Reader:
    """The file that `genops` reads: bounded, long arguments stepped over, one byte can be looked at in advance."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._held = b""
        self._place = 0

    def more(self) -> bool:
        """Whether a byte is left."""
        if not self._held:
            self._held = self._source.read(1)
        return bool(self._held)

    def tell(self) -> int:
        """How much was taken so far, as `genops` asks."""
        return self._place

    def read(self, size: int) -> bytes:
        """So many bytes, or as many as are left."""
        self._count(size)
        if size <= _LONGEST_ARGUMENT:
            return self._taken(size)
        left = size
        while left:
            piece = self._taken(min(left, _CHUNK))
            if not piece:
                return b""
            left -= len(piece)
        skipped = _Skipped()
        skipped.size = size
        return skipped

    def readline(self) -> bytes:
        """A line with its end."""
        line = self._source.readline(_LONGEST_ARGUMENT) if self._held != b"\n" else b""
        line, self._held = self._held + line, b""
        self._count(len(line))
        if len(line) >= _LONGEST_ARGUMENT:
            raise _TooLargeError("a line of more than a megabyte")
        return line

    def _taken(self, size: int) -> bytes:
        if not size:
            return b""
        held, self._held = self._held, b""
        return held + self._source.read(size - len(held))

    def _count(self, size: int) -> None:
        self._place += size
        if self._place > MAX_BYTES:
            raise _TooLargeError("more than 4 GB")


class _Machine:
    """The stack and the memo of a pickle as far as names are on them; everything else is `None`."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.imports: dict[str, None] = {}
        self.calls = 0
        self.operations = 0

    def run(self, reader: _Reader) -> None:
        """Follow one pickle up to its STOP. Raises for what is none."""
        self.stack, self.memo = [], {}
        for operation, argument, _ in pickletools.genops(reader):  # type: ignore[arg-type]  # it reads and tells; no more is asked of it
            self.operations += 1
            if self.operations > MAX_OPERATIONS:
                raise _TooLargeError(f"more than {MAX_OPERATIONS} instructions")
            self.step(operation, argument)

    def step(self, operation: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do what one instruction does to names."""
        name = operation.name
        self.calls += name in _CALLS
        if name in {"GLOBAL", "INST"}:
            self._import(*str(argument).partition(" ")[::2])
        elif name.startswith("EXT"):
            self._import("copyreg", f"extension_{argument}")
        if name in {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"}:
            self.memo[len(self.memo) if name == "MEMOIZE" else int(argument)] = self.stack[-1] if self.stack else None
        elif name in {"GET", "BINGET", "LONG_BINGET"}:
            self.stack.append(self.memo.get(int(argument)))
        elif name == "DUP":
            self.stack.append(self.stack[-1] if self.stack else None)
        elif name == "STACK_GLOBAL":
            attribute, module = self._pop(), self._pop()
            self._import(module, attribute)
            self.stack.append(None)
        elif name == "MARK":
            self.stack.append(_MARK)
        elif isinstance(argument, str) and name not in {"GLOBAL", "INST", "PERSID"}:
            self.stack.append(argument if 0 < len(argument) <= _LONGEST_NAME else None)
        else:
            self._generic(operation)

    def _generic(self, operation: pickletools.OpcodeInfo) -> None:
        for taken in reversed(operation.stack_before):
            if taken is pickletools.markobject:
                while self.stack and self._pop() is not _MARK:
                    pass
            elif taken is not pickletools.stackslice:
                self._pop()
        self.stack.extend(None for _ in operation.stack_after)

    def _pop(self) -> Any:
        return self.stack.pop() if self.stack else None

    def _import(self, module: Any, attribute: Any) -> None:
        parts = [each if isinstance(each, str) and each else HIDDEN for each in (module, attribute)]
        if len(self.imports) < _MAX_IMPORTS:
            self.imports[shown(".".join(parts))] = None


def scan(source: IO[bytes]) -> Scan:
    """Read the pickles that a stream begins with. Never raises for what is in it."""
    reader, machine = _Reader(source), _Machine()
    pickles, trouble, before = 0, "", (0, 0)
    try:
        while pickles < MAX_PICKLES and reader.more():
            before = len(machine.imports), machine.calls
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # escapes in old pickles are no concern of who scans them
                machine.run(reader)
            pickles += 1
    except Exception as error:  # noqa: BLE001 - hostile bytes raise anything, in zlib and zipfile too
        trouble = shown(f"{type(error).__name__.lstrip('_')}: {error}".splitlines()[0])
    imports = list(machine.imports)
    if trouble and (
        pickles or _ARRAY in imports
    ):  # raw numbers follow pickles of torch and joblib; they read as anything
        called = machine.calls > before[1]
        imports[before[0] :] = [each for each in imports[before[0] :] if called and _NAME.fullmatch(each)]
    whole = pickles > 0 and not trouble.startswith("TooLargeError")
    return Scan(
        imports=tuple(imports),
        calls=machine.calls,
        pickles=pickles,
        operations=machine.operations,
        whole=whole,
        trouble=trouble,
    )


def judge(imports: Iterable[str]) -> tuple[Level, str]:
    """How bad it is to load what imports these names, and why."""
    names = list(imports)
    hidden = [name for name in names if HIDDEN in name.split(".")]
    other = [name for name in names if name not in _KNOWN and name not in hidden]
    foreign = [name for name in other if not name.startswith(_LIBRARIES) or _DANGEROUS_IN_LIBRARIES.fullmatch(name)]
    if hidden:
        return Level.ALARM, "imports a name that is only known when it is loaded"
    if foreign:
        return Level.ALARM, f"imports what no plain model needs: {', '.join(foreign[:5])}"
    if other:
        return Level.WARN, f"builds objects of libraries: {', '.join(other[:5])}"
    return Level.WARN, "imports nothing but what rebuilds plain data"
