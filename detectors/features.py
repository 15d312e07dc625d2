"""Events to observations, vectorised over a batch: the only place where text becomes numbers.

Cost is dominated by the bytes of the outputs: one byte histogram per text gives every character
class, length and the entropy in one matrix product.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from detectors import attacks, prompt_space, wording
from detectors.hosts import hosts
from detectors.layouts import layouts
from detectors.leaks import leaks
from detectors.shapes import shapes
from detectors.sketches import sketches
from detectors.tabular import Tables
from detectors.tokens import opening, tokens
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
_MAX_TEXT_BYTES = 65_536
"""Texts are read up to here: one 10 MB answer must not stall the batch it is in."""

_MAX_PROMPT_WORDS, _MAX_PROMPT_CHARS = 64, 4_096
_CACHED_WORDS, _MAX_CACHED_BYTES = 65_536, 80
"""Words whose hash is kept at hand, about 12 MB: language repeats itself, and a hash costs ten times a look-up."""

_CACHED_PHRASES, _MAX_PHRASE_BYTES = 16_384, 160
"""Templates and first words whose hash is kept at hand, at most about 5 MB."""

_NO_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalnum())
_END_WORDS, _END_CHARS = 3, 200
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


def style(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """The style of each text: shape (len(texts), len(STYLE)), finite, within the domains of `STYLE`."""
    if not texts:
        return np.zeros((0, len(STYLE)))
    encoded = [text[:_MAX_TEXT_BYTES].encode("utf-8", "replace")[:_MAX_TEXT_BYTES] for text in texts]
    lengths = np.array([len(text) for text in encoded])
    # One text at a time: an index for all bytes of a batch would take sixteen times their memory.
    counts = [np.bincount(np.frombuffer(text, dtype=np.uint8), minlength=256) for text in encoded]
    histogram = np.array(counts, dtype=float)
    sizes = np.maximum(lengths, 1).astype(float)
    shares = histogram / sizes[:, None]
    # Whole numbers are summed and then divided: sums of shares may pass 1 and depend on the batch.
    parts = range(0, len(texts), _ROWS)
    classes = np.concatenate([histogram[at : at + _ROWS] @ _CLASS_MATRIX for at in parts]) / sizes[:, None]
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=1)
    words, distinct, list_lines, fences, capital_lines = shapes(encoded).T
    lines = histogram[:, 10] + 1.0
    spaces = histogram[:, list(_WHITESPACE)].sum(axis=1)
    some_words = np.maximum(words, 1.0)
    return np.column_stack(
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


def simhash(word_lists: Sequence[Sequence[bytes]], key: bytes) -> npt.NDArray[np.uint64]:
    """A 64-bit simhash of each list of words: near duplicates differ in few bits. 0 for no words.

    Each word is hashed with `key`: a simhash of few words would otherwise give them away.

    Source: Charikar, Similarity estimation techniques from rounding algorithms (2002).
    """
    counts = np.array([len(words) for words in word_lists], dtype=np.int64)
    hashes = np.zeros(len(word_lists), dtype=np.uint64)
    if counts.sum() == 0:
        return hashes
    digest_of = _digests(key).__getitem__
    packed = np.frombuffer(b"".join([digest_of(word) for words in word_lists for word in words]), dtype=np.uint8)
    present = counts > 0
    starts = (np.cumsum(counts) - counts)[present]
    ones = np.add.reduceat(np.unpackbits(packed.reshape(-1, 8), axis=1), starts, axis=0, dtype=np.int32)
    hashes[present] = np.packbits(2 * ones > counts[present, None], axis=1).view(np.uint64).ravel()
    return hashes


class _Digests(dict[bytes, bytes]):
    """The keyed hash of a word; computed when it is first asked for. Bounded: a full cache begins anew."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __missing__(self, word: bytes) -> bytes:
        digest = hashlib.blake2b(word, digest_size=8, key=self._key).digest()
        if len(word) <= _MAX_CACHED_BYTES:
            if len(self) >= _CACHED_WORDS:
                self.clear()
            self[word] = digest
        return digest


class _Phrases(dict[bytes, int]):
    """`_keyed` of what many prompts share, their templates and first words. Bounded as `_Digests`."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __missing__(self, phrase: bytes) -> int:
        hashed = _keyed(phrase, self._key)
        if len(phrase) <= _MAX_PHRASE_BYTES:
            if len(self) >= _CACHED_PHRASES:
                self.clear()
            self[phrase] = hashed
        return hashed


@functools.lru_cache(maxsize=4)
def _phrases(key: bytes) -> _Phrases:
    return _Phrases(key)


@functools.lru_cache(maxsize=4)
def _digests(key: bytes) -> _Digests:
    return _Digests(key)


def observe(events: Sequence[InferenceEvent], key: bytes) -> list[Observation]:
    """One observation for each event, in order.

    Events have an `event_id` and a `time_s` and carry pseudonyms, with their text still in place.
    `key` (16-64 bytes) keys the hashes, so that they cannot be looked up without it.
    """
    outputs = [output_text(event) for event in events]
    known = [index for index, text in enumerate(outputs) if text]
    styles: dict[int, tuple[float, ...]] = {}
    for index, row in zip(known, style([outputs[index] or "" for index in known]).tolist(), strict=True):
        styles[index] = tuple(row)
    laid_out = dict(zip(known, layouts([outputs[index] or "" for index in known]), strict=True))
    sketched = dict(zip(known, sketches([outputs[index] or "" for index in known], key), strict=True))
    prompts = [prompt_text(event) for event in events]
    folded = [_folded_words(prompt) for prompt in prompts]
    words = [
        prompt_words(prompt) if prompt and len(prompt) > _MAX_PROMPT_CHARS else all_words[:_MAX_PROMPT_WORDS]
        for prompt, all_words in zip(prompts, folded, strict=True)
    ]
    nearby = simhash(words, key).tolist()
    phrases = _phrases(key)
    tables = Tables(key)
    asked = [index for index, prompt in enumerate(prompts) if prompt]
    located = prompt_space.places([prompts[index] or "" for index in asked], [words[index] for index in asked])
    places = dict(zip(asked, located, strict=True))
    rows = []
    for index, event in enumerate(events):
        prompt, output = prompts[index], outputs[index]
        values, schema = tables.row(event.features) or (None, None)
        rows.append(
            Observation(
                event_id=event.event_id or "",
                time_s=event.time_s or 0.0,
                deployment=event.deployment,
                principal=event.principal,
                model=event.model,
                served_model=event.served_model,
                components=_components(event.components),
                network=event.network,
                user_agent=event.user_agent,
                session=event.session,
                input_tokens=event.input_tokens,
                output_tokens=event.output_tokens,
                latency_s=event.latency_s,
                ttft_s=event.ttft_s,
                failed=_failed(event),
                error_type=event.error_type[:64] if event.error_type else None,
                refused=wording.reads_as_refusal(output) if output else None,
                finish_reason=event.finish_reasons[0][:64] if event.finish_reasons else None,
                style=styles.get(index),
                prompt_chars=len(prompt) if prompt is not None else None,
                prompt_hash=_keyed(b" ".join(folded[index]), key) if prompt else None,
                prompt_template=phrases[wording.skeleton(words[index])] if prompt else None,
                prompt_simhash=nearby[index] if prompt else None,
                temperature=event.temperature,
                n=event.n,
                top_logprobs=event.top_logprobs,
                logprobs=event.logprobs,
                logit_bias=event.logit_bias,
                cost_usd=event.cost_usd,
                prediction=event.prediction[:64] if event.prediction else None,
                score=event.score,
                features=values,
                features_schema=schema,
                output_sketch=sketched.get(index),
                layout=laid_out.get(index),
                canary=event.operation == CANARY if event.operation else None,
                region=event.region[:64] if event.region else None,
                prompt_attack=attacks.reads_like_attack(prompt) if prompt else None,
                prompt_head=phrases[b" ".join(words[index][:_END_WORDS])] if prompt else None,
                prompt_tail=_keyed(_last_words(prompt, folded[index]), key) if prompt else None,
                prompt_place=places.get(index),
                prompt_tokens=tokens(prompt, key),
                output_opening=opening(output, key),
                hosts=hosts(event),
                leaks=leaks(event, output, styles[index][_DIGITS]) if output else None,
            )
        )
    return rows


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


def _folded_words(prompt: str | None) -> list[bytes]:
    """A prompt without what differs between two ways of sending the same: case and white space."""
    return prompt[:_MAX_TEXT_BYTES].casefold().encode("utf-8", "replace").split() if prompt else []


def prompt_words(prompt: str | None) -> list[bytes]:
    """The first words of a prompt, case-folded."""
    if not prompt:
        return []
    return prompt[:_MAX_PROMPT_CHARS].casefold().encode("utf-8", "replace").split()[:_MAX_PROMPT_WORDS]


def _last_words(prompt: str, words: Sequence[bytes]) -> bytes:
    """How a template ends: the last word if a colon follows it, else as many as hold ten letters or digits.

    `words` are all words of the prompt, case-folded; only the last characters of a long one are looked at.
    """
    if len(prompt) > _END_CHARS:
        words = prompt[-_END_CHARS:].casefold().encode("utf-8", "replace").split()
    wanted = _LABEL_LETTERS if words and words[-1].endswith(b":") else _END_LETTERS
    letters, first = 0, len(words)
    while first > 0 and letters < wanted:
        first -= 1
        letters += len(words[first].translate(None, _NO_LETTERS))
    return b" ".join(words[first:])


def _keyed(value: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(value, digest_size=8, key=key).digest(), "little")


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
