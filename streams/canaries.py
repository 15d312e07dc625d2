"""Asks known prompts through an OpenAI-compatible endpoint and tells inferwatch what was answered.

The events carry the operation `canary`, so the detector of that name knows them, and no principal: nobody's habits
are judged by them. The key of the endpoint goes to the endpoint alone; a redirect is an error, wherever it leads.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from detectors.types import CANARY, InferenceEvent, Message
from streams.settings import SettingsError

USER_AGENT = "inferwatch-canary"

MOST_PROMPTS = 1_000
"""A file of a million lines is a mistake that costs money."""

_MAX_PROMPT_CHARS = 20_000
_MAX_ANSWER_BYTES = 8_000_000
_PATH = "/chat/completions"
_MAX_COUNT = 2**63 - 1


class PromptsError(Exception):
    """A file of prompts that cannot be used; the message is one line."""


class Sending(Protocol):
    """Where events go: `streams.producer.EventProducer`, or a list in a test."""

    def send(self, event: InferenceEvent, /) -> None:
        """Take one event."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """How prompts are asked: of which model, as whose canaries, with what limits."""

    model: str
    deployment: str
    temperature: float = 0.0
    max_tokens: int = 512


class Asked(msgspec.Struct, kw_only=True):
    """How often was asked, and how often no answer came; `errors` counts the reasons."""

    prompts: int = 0
    failed: int = 0
    errors: dict[str, int] = {}


class Endpoint:
    """One chat-completions address with its key."""

    def __init__(self, url: str, key: str | None, timeout_s: float) -> None:
        """`url` with or without ``/chat/completions``. Raises `SettingsError`."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise SettingsError("--endpoint: not accepted; http://host:port/v1 or https://host/v1")
        if parts.username is not None or parts.query or parts.fragment:
            raise SettingsError("--endpoint: no user, query or fragment; the key is INFERWATCH_CANARY_API_KEY")
        path = parts.path.rstrip("/")
        self._url = parts._replace(path=path if path.endswith(_PATH) else path + _PATH).geturl()
        self._key = key
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def complete(self, question: Question, prompt: str) -> dict[str, Any]:
        """The parsed answer. Raises `OSError`, `ValueError` or `http.client.HTTPException`."""
        body = {
            "model": question.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": question.temperature,
            "max_tokens": question.max_tokens,
        }
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": USER_AGENT}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        # The scheme was checked: http or https.
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310
        with self._opener.open(request, timeout=self._timeout_s) as response:
            answer = response.read(_MAX_ANSWER_BYTES + 1)
        if len(answer) > _MAX_ANSWER_BYTES:
            raise ValueError("the answer is too long")
        parsed = json.loads(answer)
        if not isinstance(parsed, dict):
            raise ValueError("the answer is no object")  # noqa: TRY004 - of the same kind as one that does not parse
        return parsed


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the key must not travel to an address that an answer names."""

    def redirect_request(self, *_: object) -> None:
        """No request; urllib then raises the redirect as an error."""


def load_prompts(path: Path | None) -> list[str]:
    """The prompts of a file, one a line, or those that are shipped; blank lines and ``#`` lines are left out.

    Raises `PromptsError`.
    """
    try:
        text = (path or resources.files("streams").joinpath("canary_prompts.txt")).read_text(encoding="utf-8")
    except OSError as error:
        raise PromptsError(f"--prompts: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PromptsError(f"--prompts: cannot read {path}: it is not UTF-8 text") from None
    lines = [line.strip() for line in text.splitlines()]
    prompts = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not prompts:
        raise PromptsError(f"--prompts: {path} holds no prompt; one a line")
    if len(prompts) > MOST_PROMPTS or max(map(len, prompts)) > _MAX_PROMPT_CHARS:
        raise PromptsError(f"--prompts: at most {MOST_PROMPTS} prompts of {_MAX_PROMPT_CHARS} characters")
    return prompts


def ask_all(
    endpoint: Endpoint, question: Question, prompts: Iterable[str], out: Sending, done: Callable[[], object]
) -> Asked:
    """Ask each prompt once, in order, and send what came of it; `done` is called after each."""
    asked = Asked()
    for event in _events(endpoint, question, prompts):
        out.send(event)
        asked.prompts += 1
        if event.error_type is not None:
            asked.failed += 1
            asked.errors[event.error_type] = asked.errors.get(event.error_type, 0) + 1
        done()
    return asked


def _events(endpoint: Endpoint, question: Question, prompts: Iterable[str]) -> Iterator[InferenceEvent]:
    for prompt in prompts:
        began_s, started = time.time(), time.perf_counter()
        known: dict[str, Any] = {}
        try:
            known = _read(endpoint.complete(question, prompt))
        except urllib.error.HTTPError as error:
            known = {"http_status": error.code, "error_type": f"http {error.code}"}
            error.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            known = {"error_type": _kind(error)}
        yield InferenceEvent(
            deployment=question.deployment,
            time_s=began_s,
            operation=CANARY,
            input_messages=(Message(role="user", content=prompt),),
            temperature=question.temperature,
            max_tokens=question.max_tokens,
            latency_s=time.perf_counter() - started,
            user_agent=USER_AGENT,
            model=question.model,
            **known,
        )


def _kind(error: Exception) -> str:
    """A short class of error, without what an address or an answer might give away."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "timeout"
    if isinstance(error, ValueError):
        return "unreadable answer"
    return type(reason).__name__ if isinstance(reason, Exception) else type(error).__name__


def _read(answer: dict[str, Any]) -> dict[str, Any]:
    """The fields of an event in an answer; what has another shape is unknown. Raises `ValueError`."""
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, str):
        raise ValueError("the answer has no text")  # noqa: TRY004 - it is one that cannot be read
    finish = choice.get("finish_reason") if isinstance(choice, dict) else None
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return {
        "http_status": 200,
        "output_messages": (Message(role="assistant", content=content),),
        "finish_reasons": (finish,) if isinstance(finish, str) else None,
        "served_model": _text(answer.get("model")),
        "response_id": _text(answer.get("id")),
        "input_tokens": _count(counts.get("prompt_tokens")),
        "output_tokens": _count(counts.get("completion_tokens")),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None
