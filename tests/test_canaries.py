"""Known prompts asked of an endpoint that listens here, answers oddly, and writes down what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from typer.testing import CliRunner

from detectors.features import observe
from detectors.types import InferenceEvent
from streams.canaries import MOST_PROMPTS, Asked, Endpoint, PromptsError, Question, ask_all, load_prompts
from streams.cli import app
from streams.codecs import native
from streams.settings import SettingsError
from streams.verbs import canary as verbs_canary

QUESTION = Question(model="gpt-x", deployment="support-chat")
KEY = "sk-canary-0123456789"
GOOD = {
    "id": "chatcmpl-1",
    "model": "gpt-x-2026",
    "choices": [{"message": {"role": "assistant", "content": "Blue."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}
Answer = tuple[int, dict[str, str], bytes]


class Listening:
    """What the endpoint was sent, and where it is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []


@contextmanager
def endpoint(answer: Callable[[int], Answer]) -> Iterator[Listening]:
    """A server of chat completions that gives `answer` of the number of the request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            listening.requests.append((self.path, dict(self.headers), body))
            status, headers, content = answer(len(listening.requests))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - the name that the base class calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening = Listening(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield listening
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Kept(list[InferenceEvent]):
    """Events that were sent."""

    def send(self, event: InferenceEvent, /) -> None:
        self.append(event)

    def flush(self) -> None:
        """Nothing waits."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


def asked(answer: Callable[[int], Answer], prompts: list[str], key: str | None = KEY) -> tuple[Asked, Kept, Listening]:
    kept = Kept()
    with endpoint(answer) as listening:
        result = ask_all(Endpoint(listening.url, key, 5.0), QUESTION, prompts, kept, lambda: None)
    return result, kept, listening


def good(_: int) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(GOOD).encode()


def test_an_answer_becomes_an_event_that_says_it_is_a_canary() -> None:
    result, (event,), listening = asked(good, ["Why is the sky blue?"])
    assert (result.prompts, result.failed) == (1, 0)
    ((path, headers, body),) = listening.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["messages"] == [{"role": "user", "content": "Why is the sky blue?"}]
    assert (body["temperature"], body["model"]) == (0.0, "gpt-x")
    assert event.operation == "canary"
    assert (event.deployment, event.model, event.served_model) == ("support-chat", "gpt-x", "gpt-x-2026")
    assert (event.input_tokens, event.output_tokens, event.http_status) == (7, 2, 200)
    assert event.principal is None
    assert event.latency_s is not None
    assert event.latency_s > 0.0


def test_what_is_sent_is_read_by_the_pipeline_and_seen_as_a_canary() -> None:
    _, kept, _ = asked(good, ["one", "two"])
    events = native.decode(msgspec.json.encode(list(kept))).items
    assert all(isinstance(event, InferenceEvent) for event in events)
    seen = observe([event for event in events if isinstance(event, InferenceEvent)], b"a key of 16 byte")
    assert [observation.canary for observation in seen] == [True, True]
    assert all(observation.output_sketch and observation.prompt_hash for observation in seen)


def test_without_a_key_none_is_sent() -> None:
    _, _, listening = asked(good, ["one"], key=None)
    assert "Authorization" not in listening.requests[0][1]


def test_a_redirect_is_an_error_and_the_key_goes_nowhere() -> None:
    with endpoint(good) as elsewhere:
        for status in (301, 302, 303, 307, 308):
            result, (event,), _ = asked(lambda _, s=status: (s, {"Location": elsewhere.url}, b""), ["one"])
            assert result.errors == {f"http {status}": 1}
            assert event.output_messages is None
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 200, "unreadable answer"),
        (b"[1]", 200, "unreadable answer"),
        (b"\xff\xfe", 200, "unreadable answer"),
        (b'{"choices": []}', 200, "unreadable answer"),
        (b'{"choices": [{"message": {"content": null}}]}', 200, "unreadable answer"),
        (b'{"error": "no such model"}', 404, "http 404"),
        (b"slow down", 429, "http 429"),
        (b"oops", 500, "http 500"),
    ],
)
def test_an_endpoint_that_does_not_answer_is_an_event_with_a_reason_and_the_next_prompt_is_asked(
    content: bytes, status: int, reason: str
) -> None:
    answers: list[Answer] = [(status, {}, content), good(2)]
    result, kept, _ = asked(lambda number: answers[number - 1], ["one", "two"])
    assert (result.prompts, result.failed, result.errors) == (2, 1, {reason: 1})
    assert [event.error_type for event in kept] == [reason, None]


def test_odd_values_in_an_answer_are_unknown() -> None:
    odd = {**GOOD, "id": 7, "model": None, "usage": {"prompt_tokens": -1, "completion_tokens": True}}
    _, (event,), _ = asked(lambda _: (200, {}, json.dumps(odd).encode()), ["one"])
    assert (event.response_id, event.served_model, event.input_tokens, event.output_tokens) == (None,) * 4
    assert event.error_type is None


def test_an_endpoint_that_says_nothing_is_a_timeout() -> None:
    wait = threading.Event()

    def silent(_: int) -> Answer:
        wait.wait(10.0)
        return good(1)

    kept = Kept()
    with endpoint(silent) as listening:
        result = ask_all(Endpoint(listening.url, None, 0.2), QUESTION, ["one"], kept, wait.set)
    assert result.errors == {"timeout": 1}


def test_an_endpoint_that_is_not_there_is_an_error_of_each_prompt() -> None:
    with endpoint(good) as listening:
        gone = listening.url
    kept = Kept()
    result = ask_all(Endpoint(gone, None, 1.0), QUESTION, ["one", "two"], kept, lambda: None)
    assert result.failed == 2
    assert set(result.errors) == {"ConnectionRefusedError"}


@pytest.mark.parametrize(
    "url",
    ["", "llm.internal/v1", "ftp://host/v1", "file:///etc/passwd", "http://user:pass@host/v1", "http://host/?k=1"],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="--endpoint"):
        Endpoint(url, None, 1.0)


def test_fifty_prompts_are_shipped_each_another_and_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    shipped = load_prompts(None)
    assert len(shipped) == 50
    own = tmp_path / "prompts.txt"
    own.write_text("# mine\n\nWhy?\n  Why not?  \nWhy?\n", encoding="utf-8")
    assert load_prompts(own) == ["Why?", "Why not?"]


@pytest.mark.parametrize(
    "content", [b"", b"# only a remark\n", b"\xff\xfe\n", b"\n".join(b"%d" % n for n in range(MOST_PROMPTS + 1))]
)
def test_a_file_without_usable_prompts_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    with pytest.raises(PromptsError, match="--prompts"):
        load_prompts(tmp_path / "prompts.txt")
    with pytest.raises(PromptsError, match="--prompts"):
        load_prompts(tmp_path / "none.txt")


def typed(kept: Kept, monkeypatch: pytest.MonkeyPatch, *arguments: str, pauses: list[float] | None = None) -> Any:
    """The verb as it is typed, with a list in place of Kafka; a pause past those expected ends it as Ctrl-C does."""
    slept = pauses if pauses is not None else []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("streams.producer.EventProducer", lambda *_, **__: kept)
    monkeypatch.setattr(verbs_canary.time, "sleep", sleep)
    monkeypatch.setenv("INFERWATCH_KAFKA_BROKERS", "127.0.0.1:1")
    monkeypatch.setenv("INFERWATCH_CANARY_API_KEY", KEY)
    return CliRunner().invoke(app, ["canary", "run", "--model", "gpt-x", *arguments])


def test_the_verb_asks_all_prompts_as_often_as_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    kept = Kept()
    with endpoint(good) as listening:
        result = typed(
            kept, monkeypatch, "--endpoint", listening.url, "--prompts", str(tmp_path / "prompts.txt"), "--repeat", "3"
        )
        assert [body["messages"][0]["content"] for _, _, body in listening.requests] == ["one", "two"] * 3
        assert listening.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    assert result.exit_code == 0, result.output
    assert "asked 6 prompts of gpt-x for gpt-x, 0 without an answer" in result.stdout
    assert {event.deployment for event in kept} == {"gpt-x"}
    assert KEY not in result.output


def test_the_verb_goes_on_at_its_pace_even_when_a_round_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, pauses = Kept(), list[float]()
    with endpoint(lambda _: (500, {}, b"")) as listening:
        result = typed(kept, monkeypatch, "--endpoint", listening.url, "--every", "1h", "--json", pauses=pauses)
    rounds = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["failed"] for each in rounds] == [50, 50]
    assert all(3_000.0 < pause <= 3_600.0 for pause in pauses)


def test_a_round_without_any_answer_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(lambda _: (503, {}, b"")) as listening:
        result = typed(Kept(), monkeypatch, "--endpoint", listening.url)
    assert result.exit_code == 1
    assert "50 without an answer: 50 x http 503" in result.stdout


@pytest.mark.parametrize("every", ["soon", "0h", "-1h", "1w"])
def test_a_pace_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, every: str) -> None:
    result = typed(Kept(), monkeypatch, "--endpoint", "http://127.0.0.1:1/v1", "--every", every)
    assert isinstance(result.exception, SettingsError)
    assert "--every" in str(result.exception)
