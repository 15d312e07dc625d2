"""Events to observations, vectorised over a batch: the only place where text becomes numbers.

Cost is dominated by the bytes of the outputs: one byte histogram per text gives every character
class, length and the entropy in one matrix product.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from detectors import attacks, prompt_space, prompt_words, wording
from detectors.hosts import hosts
from detectors.keyed import keyed_hash
from detectors.layouts import layouts
from detectors.leaks import LONG_WORD_BYTES, leaks
from detectors.lexicon import lexicon
from detectors.prompt_space import histograms
from detectors.shapes import shapes
from detectors.sketches import sketches
from detectors.tabular import Tables
from detectors.tokens import all_tokens, opening
from detectors.types import CANARY, Components, InferenceEvent, Observation

STYLE = (
    "log_chars",  # ln(1 + UTF-8 bytes), 0..17
    "log_words",  # ln(1 + words), 0..17
    "word_length",  # bytes per word, 0..40
    "uppercase",  # share of bytes, 0..1, as the next five
    "digits",
    "punctuation",
    "markup",  # * # ` | _ ~ < > { } [ ]
    "non_ascii",
    "line_breaks",
    "commas",
    "sentence_ends",  # . ! ? per byte
    "entropy",  # bits per byte, 0..8
    "repetition",  # 1 - distinct words / words, 0..1
    "list_items",  # list lines per line, 0..1
    "code_fences",  # ln(1 + ``` fences), 0..10
    "capital_lines",  # lines that start with a capital per line, 0..1
)
"""The style features of an output, in the order of `Observation.style`."""

_DIGITS = STYLE.index("digits")
_LABEL_CHARS = 64
_MAX_TEXT_BYTES = 65_536
"""Texts are read up to here: one 10 MB answer must not stall the batch it is in."""

_PART = 512
"""About so many events are looked at together: what is made of them on the way stays in the processor's cache."""

_CACHED_PHRASES, _MAX_PHRASE_CHARS = 16_384, 160
"""Templates and first words whose hash is kept at hand, at most about 5 MB."""

_NO_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalnum())
_END_WORDS, _TAIL_WORDS, _END_CHARS = 3, 6, 200
_LABEL_LETTERS, _END_LETTERS = 4, 10

_CLASSES = ("uppercase", "digits", "punctuation", "markup", "non_ascii", "line_breaks", "commas", "sentence_ends")
_WHITESPACE = b" \t\n\r\x0b\x0c"


def _class_matrix() -> npt.NDArray[np.float64]:
    """(256, 8) membership of each byte value in `_CLASSES`."""
    members = (
        range(ord("A"), ord("Z") + 1),
        range(ord("0"), ord("9") + 1),
        b"!\"'(),-./:;?@%&+=$\\^",
        b"*#`|_~<>{}[]",
        range(128, 256),
        b"\n",
        b",",
        b".!?",
    )
    matrix = np.zeros((256, len(_CLASSES)))
    for column, values in enumerate(members):
        matrix[list(values), column] = 1.0
    return matrix


_CLASS_MATRIX = _class_matrix()
_ROWS = 64
"""Texts whose histograms are multiplied at once: for more OpenBLAS wakes threads, which spin longer than they work."""

_JOINED_BYTES = 262_144
"""Bytes that are counted together, with an index of eight times their memory; longer texts are counted one by one."""

_VERTICAL_TAB, _FORM_FEED = 11, 12


def style(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """The style of each text: shape (len(texts), len(STYLE)), finite, within the domains of `STYLE`."""
    return _styles(texts)[0]


def _styles(texts: Sequence[str]) -> tuple[npt.NDArray[np.float64], list[bool]]:
    """The style of each text, and whether it may hold a word that is as long as keys are."""
    if not texts:
        return np.zeros((0, len(STYLE))), []
    encoded = [text[:_MAX_TEXT_BYTES].encode("utf-8", "replace")[:_MAX_TEXT_BYTES] for text in texts]
    counts = shapes(encoded)
    parts = [
        _style(encoded[at : at + _ROWS], counts[at : at + _ROWS])  # small arrays stay in the processor's cache
        for at in range(0, len(texts), _ROWS)
    ]
    return np.concatenate([styles for styles, _ in parts]), [each for _, long in parts for each in long.tolist()]


def _style(
    texts: Sequence[bytes], counts: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    lengths = np.array([len(text) for text in texts])
    histogram = _histogram(texts, lengths)
    sizes = np.maximum(lengths, 1).astype(float)
    shares = histogram / sizes[:, None]
    # Whole numbers are summed and then divided: sums of shares may pass 1 and depend on the batch.
    classes = histogram @ _CLASS_MATRIX / sizes[:, None]
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=1)
    words, distinct, list_lines, fences, capital_lines, longest = counts.T
    lines = histogram[:, 10] + 1.0
    spaces = histogram[:, list(_WHITESPACE)].sum(axis=1)
    some_words = np.maximum(words, 1.0)
    styles = np.column_stack(
        [
            np.log1p(lengths),
            np.log1p(words),
            np.minimum((lengths - spaces) / some_words, 40.0),
            classes,
            entropy,
            np.where(words > 0, 1.0 - distinct / some_words, 0.0),
            np.minimum(list_lines / lines, 1.0),
            np.minimum(np.log1p(fences), 10.0),
            np.minimum(capital_lines / lines, 1.0),
        ]
    )
    # What ends a word here may be part of one there, and what was cut off was not looked at.
    unsure = (histogram[:, [_VERTICAL_TAB, _FORM_FEED]].any(axis=1)) | (lengths == _MAX_TEXT_BYTES)
    return styles, unsure | (longest >= LONG_WORD_BYTES)


def _histogram(texts: Sequence[bytes], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(len(texts), 256) counts of bytes."""
    if lengths.sum() <= _JOINED_BYTES:
        return histograms(np.frombuffer(b"".join(texts), dtype=np.uint8), lengths, 256).astype(float)
    return np.array([np.bincount(np.frombuffer(text, dtype=np.uint8), minlength=256) for text in texts], dtype=float)


class _Phrases(dict[str, int]):
    """Keyed hashes of what many prompts share, their templates and first words. Bounded: a full cache begins anew."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __missing__(self, phrase: str) -> int:
        hashed = keyed_hash(phrase.casefold().encode("utf-8", "replace"), self._key)
        if len(phrase) <= _MAX_PHRASE_CHARS:
            if len(self) >= _CACHED_PHRASES:
                self.clear()
            self[phrase] = hashed
        return hashed


@functools.lru_cache(maxsize=4)
def _phrases(key: bytes) -> _Phrases:
    return _Phrases(key)


def observe(events: Sequence[InferenceEvent], key: bytes) -> list[Observation]:
    """One observation for each event, in order.

    Events have an `event_id` and a `time_s` and carry pseudonyms, with their text still in place.
    `key` (16-64 bytes) keys the hashes, so that they cannot be looked up without it.
    """
    tables = Tables(key)
    observations: list[Observation] = []
    size = -(-len(events) // max(len(events) // _PART, 1))  # even parts: a small one costs as much as a large one
    for at in range(0, len(events), max(size, 1)):
        part = events[at : at + size]
        columns = _fields(part, tables) | _prompts(part, key) | _answers(part, key)
        rows = list(zip(*map(columns.__getitem__, _FIELDS), strict=True))
        observations += msgspec.convert(rows, list[Observation])
    return observations


_FIELDS = tuple(name for name in Observation.__struct_fields__ if name != "notice")
"""A call has no notice, the last of the fields."""

_COPIED = tuple(name for name in _FIELDS if name in InferenceEvent.__struct_fields__)
_copied = operator.attrgetter(*_COPIED)

Columns = dict[str, Sequence[Any]]
"""Values of fields of `Observation`, one an event."""


def _fields(events: Sequence[InferenceEvent], tables: Tables) -> Columns:
    """What is in the events already, cut to what an observation holds."""
    columns: Columns = dict(zip(_COPIED, zip(*map(_copied, events), strict=True), strict=True))
    rows = [tables.row(each) or (None, None) for each in columns["features"]]
    columns |= {
        "event_id": [each or "" for each in columns["event_id"]],
        "time_s": [each or 0.0 for each in columns["time_s"]],
        "components": list(map(_components, columns["components"])),
        "features": [values for values, _ in rows],
        "features_schema": [schema for _, schema in rows],
        "failed": list(map(_failed, events)),
        "finish_reason": [event.finish_reasons[0][:_LABEL_CHARS] if event.finish_reasons else None for event in events],
        "canary": [event.operation == CANARY if event.operation else None for event in events],
    }
    for name in ("error_type", "prediction", "region"):
        columns[name] = [each[:_LABEL_CHARS] if each else None for each in columns[name]]
    return columns


def _prompts(events: Sequence[InferenceEvent], key: bytes) -> Columns:
    """What is seen of the last messages that a person or program sent."""
    said = list(map(prompt_text, events))
    asked = [index for index, prompt in enumerate(said) if prompt]
    prompts = [prompt for prompt in said if prompt]
    words = list(map(prompt_words.split, prompts))
    phrases = _phrases(key)
    with lexicon(key) as known:
        numbered = prompt_words.numbered(words, known)
        first = numbered.first, numbered.first_sizes, known
        columns: Columns = {
            "prompt_hash": [keyed_hash(each.whole, key) for each in words],
            "prompt_template": list(map(phrases.__getitem__, prompt_words.skeletons(*first))),
            "prompt_simhash": prompt_words.simhashes(*first).tolist(),
            "prompt_attack": attacks.read_like_attacks(prompts, [each.written for each in words]),
            "prompt_head": [phrases[" ".join(each.head[:_END_WORDS])] for each in words],
            "prompt_tail": [keyed_hash(_last_words(prompt), key) for prompt in prompts],
            "prompt_place": prompt_space.places(prompts, prompt_words.kinds(*first)),
            "prompt_tokens": all_tokens(prompts, numbered.written, numbered.sizes, known, key),
        }
    columns = {name: _spread(column, asked, len(events)) for name, column in columns.items()}
    return columns | {"prompt_chars": [len(each) if each is not None else None for each in said]}


def _answers(events: Sequence[InferenceEvent], key: bytes) -> Columns:
    """What is seen of the first answers."""
    said = list(map(output_text, events))
    answered = [index for index, text in enumerate(said) if text]
    texts = [text for text in said if text]
    measured, have_long_words = _styles(texts)
    styles = measured.tolist()
    columns: Columns = {
        "style": styles,
        "layout": layouts(texts),
        "output_sketch": sketches(texts, key),
        "output_opening": [opening(text, key) for text in texts],
        "refused": wording.read_as_refusals(texts),
        "leaks": [
            leaks(events[index], text, row[_DIGITS], long_words=long_words)
            for index, text, row, long_words in zip(answered, texts, styles, have_long_words, strict=True)
        ],
    }
    columns = {name: _spread(column, answered, len(events)) for name, column in columns.items()}
    return columns | {"hosts": list(map(hosts, events))}


def _spread(values: Sequence[Any], places: Sequence[int], size: int) -> Sequence[Any]:
    """The values at their places among `size`, `None` at all others."""
    if len(values) == size:
        return values
    column: list[Any] = [None] * size
    for place, value in zip(places, values, strict=True):
        column[place] = value
    return column


def output_text(event: InferenceEvent) -> str | None:
    """All text of the first answer; `None` when the source delivered none."""
    if event.output_messages is None:
        return None
    return "\n".join(message.content for message in event.output_messages if message.content)


def prompt_text(event: InferenceEvent) -> str | None:
    """The last message a person or program sent; `None` when the source delivered none."""
    if not event.input_messages:
        return None
    for message in reversed(event.input_messages):
        if message.role == "user":
            return message.content
    return event.input_messages[-1].content


def _last_words(prompt: str) -> bytes:
    """How a template ends: the last word if a colon follows it, else as many as hold ten letters or digits.

    Only the last characters of a long prompt are looked at.
    """
    end = prompt[-_END_CHARS:].casefold().encode("utf-8", "replace")
    words = end.rsplit(None, _TAIL_WORDS)
    if len(words) > _TAIL_WORDS:
        found = _last_of(words[1:])
        if len(found) < _TAIL_WORDS:
            return b" ".join(found)
        words = end.split()
    return b" ".join(_last_of(words))


def _last_of(words: Sequence[bytes]) -> Sequence[bytes]:
    """As many of the last words as are wanted, or all."""
    wanted = _LABEL_LETTERS if words and words[-1].endswith(b":") else _END_LETTERS
    letters, first = 0, len(words)
    while first > 0 and letters < wanted:
        first -= 1
        letters += len(words[first].translate(None, _NO_LETTERS))
    return words[first:]


def _components(components: Components | None) -> tuple[str | None, ...] | None:
    if components is None:
        return None
    return msgspec.structs.astuple(components)


def _failed(event: InferenceEvent) -> bool | None:
    if event.error_type is not None:
        return True
    if event.http_status is not None:
        return event.http_status >= 400  # noqa: PLR2004 - HTTP error classes
    if event.output_messages is not None or event.finish_reasons is not None or event.prediction is not None:
        return False
    return None
