"""Which serialization format a file is in, by how it begins and else by its name, and what loading it does."""

from __future__ import annotations

import enum


class Kind(enum.StrEnum):
    """What it means to load a file of a format."""

    DATA = "data"
    GRAPH = "graph"
    CODE = "code"
    PICKLE = "pickle"
    ARCHIVE = "archive"
    UNKNOWN = "unknown"


MEANING = {
    Kind.DATA: "numbers or text; loading runs nothing",
    Kind.GRAPH: "operations that a runtime interprets",
    Kind.CODE: "runs when it is imported or called",
    Kind.PICKLE: "a program that loading runs",
    Kind.ARCHIVE: "not looked into",
    Kind.UNKNOWN: "no format we know",
}

HEAD_BYTES = 512

_MAGIC: tuple[tuple[int, bytes, str, Kind], ...] = (
    (0, b"PK\x03\x04", "zip", Kind.ARCHIVE),
    (0, b"PK\x05\x06", "zip", Kind.ARCHIVE),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5", Kind.GRAPH),
    (0, b"\x93NUMPY", "npy", Kind.DATA),
    (0, b"GGUF", "gguf", Kind.DATA),
    (4, b"TFL3", "tflite", Kind.GRAPH),
    (257, b"ustar", "tar", Kind.ARCHIVE),
    (0, b"\x1f\x8b", "gzip", Kind.ARCHIVE),
    (0, b"BZh", "bzip2", Kind.ARCHIVE),
    (0, b"\xfd7zXZ\x00", "xz", Kind.ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", "zstd", Kind.ARCHIVE),
    (0, b"\x04\x22\x4d\x18", "lz4", Kind.ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", Kind.ARCHIVE),
    (0, b"Rar!", "rar", Kind.ARCHIVE),
    (0, b"\x7fELF", "elf", Kind.CODE),
    (0, b"MZ", "pe", Kind.CODE),
    (0, b"\xcf\xfa\xed\xfe", "mach-o", Kind.CODE),
    (0, b"#!", "script", Kind.CODE),
    (0, b"PAR1", "parquet", Kind.DATA),
    (0, b"ARROW1", "arrow", Kind.DATA),
)

_ENDINGS: dict[str, tuple[str, Kind]] = {
    **dict.fromkeys(
        (".json", ".jsonl", ".txt", ".md", ".yaml", ".yml", ".toml", ".csv", ".vocab"), ("text", Kind.DATA)
    ),
    **dict.fromkeys((".jinja", ".j2"), ("template", Kind.DATA)),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".svg", ".pdf"), ("picture", Kind.DATA)),
    ".safetensors": ("safetensors", Kind.DATA),
    ".gguf": ("gguf", Kind.DATA),
    ".model": ("sentencepiece", Kind.DATA),
    ".onnx": ("onnx", Kind.GRAPH),
    ".pb": ("tensorflow graph", Kind.GRAPH),
    ".msgpack": ("flax msgpack", Kind.DATA),
    ".py": ("python", Kind.CODE),
    **dict.fromkeys((".pyc", ".pyo"), ("python bytecode", Kind.CODE)),
    **dict.fromkeys((".so", ".dll", ".dylib", ".pyd", ".exe"), ("native code", Kind.CODE)),
    **dict.fromkeys(
        (".sh", ".bat", ".ps1", ".js", ".ts", ".rb", ".pl", ".lua", ".jar", ".wasm"), ("script", Kind.CODE)
    ),
}
_PICKLE_ENDINGS = (
    *(".pkl", ".pickle", ".p", ".pck", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".ckpt", ".bin", ".pdparams"),
    *(".pt2", ".mar", ".skl", ".sav", ".dat"),
)
SURE_PICKLE_ENDINGS = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pth", ".ckpt")
"""Loaders of these names unpickle whatever is inside: such a file is a pickle also when it cannot be read as one."""

_TEXT_NAMES = frozenset({"license", "notice", "readme", "merges.txt", ".gitattributes", ".gitignore", "makefile"})
_PICKLE_STARTS = tuple(b"\x80" + bytes([protocol]) for protocol in range(6))


def sniff(name: str, head: bytes) -> tuple[str, Kind]:
    """Format and kind by the first bytes, else by the name; a name never overrules what a file begins with."""
    if head.startswith(_PICKLE_STARTS):  # first: what is told by bytes further on can be put into a pickle
        return "pickle", Kind.PICKLE
    for offset, magic, format_, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return format_, kind
    lower = name.lower()
    ending = f".{lower.rpartition('.')[2]}" if "." in lower else ""
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    if lower.rpartition("/")[2] in _TEXT_NAMES:
        return "text", Kind.DATA
    return "", Kind.UNKNOWN


def component(path: str) -> str | None:
    """Which of `detectors.types.Components` a file of a model belongs to."""
    name = path.lower().rpartition("/")[2]
    if name.startswith("adapter_"):
        return "adapter"
    if name.startswith(("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "spiece", "sentencepiece")):
        return "tokenizer"
    if name.startswith("chat_template"):
        return "prompt_template"
    weights = (".safetensors", ".gguf", ".onnx", ".h5", ".keras", ".npz", ".npy", ".msgpack", ".tflite", ".pb")
    return "weights" if name.endswith((*weights, *_PICKLE_ENDINGS)) else None
