"""Webhooks to a server that listens here: what it is sent, and where nothing is sent to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from detectors.types import Severity
from streams.alerting import posting
from streams.alerting.addresses import AddressRefusedError, checked
from streams.alerting.addresses import resolve as by_the_system
from streams.alerting.alerts import Alert
from streams.alerting.posting import NotTakenError
from streams.alerting.webhook import IDEMPOTENCY_KEY, NONCE, TIMESTAMP, SignatureError, Webhook, verify

SECRET = "an alert secret of forty characters, yes"
ALERT = Alert(id="a1", severity=Severity.HIGH, title="high: x on y", lines=("one", "two"), links=("https://g/d/1",))
NOW_S = 1_790_000_000.0


class Listening:
    """A receiver: what it was sent, what it answers, and where it is."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204
        self.headers: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?team=a"

    @property
    def ids(self) -> list[str]:
        return [headers[IDEMPOTENCY_KEY] for _, headers, _ in self.requests]


@contextmanager
def listening(port: int = 0) -> Iterator[Listening]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            there.requests.append((self.path, dict(self.headers), body))
            self.send_response(there.status)
            for name, value in {**there.headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        there = Listening(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield there
        server.shutdown()
        thread.join()


def hook(url: str, *, private: bool = True, addresses: tuple[str, ...] = ("127.0.0.1",)) -> Webhook:
    return Webhook(url, SECRET, private=private, resolve=lambda _host, _port: list(addresses), clock=lambda: NOW_S)


def test_an_alert_arrives_whole_and_signed() -> None:
    with listening() as there:
        assert hook(there.url).tell(ALERT) == "status 204"
    ((path, headers, body),) = there.requests
    assert path == "/hook?team=a"
    assert msgspec.json.decode(body, type=Alert) == ALERT
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] == f"127.0.0.1:{there.port}"
    assert verify(SECRET, headers, body, NOW_S) == headers[NONCE]


def test_the_same_alert_has_the_same_key_and_a_new_nonce_each_time() -> None:
    with listening() as there:
        hook(there.url).tell(ALERT)
        hook(there.url).tell(ALERT)
    first, second = (headers for _, headers, _ in there.requests)
    assert first[IDEMPOTENCY_KEY] == second[IDEMPOTENCY_KEY] == "a1"
    assert first[NONCE] != second[NONCE]


@pytest.mark.parametrize("changed", ["body", "secret", TIMESTAMP, NONCE, "age", "missing"])
def test_a_receiver_refuses_what_was_changed_or_is_old(changed: str) -> None:
    with listening() as there:
        hook(there.url).tell(ALERT)
    ((_, headers, body),) = there.requests
    secret = SECRET[::-1] if changed == "secret" else SECRET
    now_s = NOW_S + 301 if changed == "age" else NOW_S
    if changed in headers:
        headers[changed] = "1790000001"
    if changed == "missing":
        headers = {}
    with pytest.raises(SignatureError):
        verify(secret, headers, body + b" " if changed == "body" else body, now_s)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 429, 500, 503])
def test_an_answer_that_is_no_success_is_not_taken(status: int) -> None:
    with listening() as there:
        there.status = status
        with pytest.raises(NotTakenError, match=f"status {status}"):
            hook(there.url).tell(ALERT)


def test_a_redirect_is_not_followed() -> None:
    with listening() as there, listening() as elsewhere:
        there.status, there.headers = 307, {"Location": elsewhere.url}
        with pytest.raises(NotTakenError, match="redirect, which is not followed"):
            hook(there.url).tell(ALERT)
    assert len(there.requests) == 1
    assert not elsewhere.requests


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as there:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert hook(there.url).tell(ALERT) == "status 204"


def test_a_receiver_that_answers_byte_by_byte_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "_LONGEST_S", 0.3)
    ended = threading.Event()

    class Drip(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            while not ended.wait(0.05):
                try:
                    self.wfile.write(b"H")
                    self.wfile.flush()
                except OSError:
                    return

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Drip) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        began_s = time.monotonic()
        with pytest.raises(NotTakenError):
            hook(f"http://127.0.0.1:{server.server_address[1]}/").tell(ALERT)
        assert time.monotonic() - began_s < 5
        ended.set()
        server.shutdown()
        thread.join()


INSIDE = ["127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12::1"]
TUNNELED = ["::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"]
NEVER = [
    *("169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1", "fe80::1%eth0", "fd00:ec2::254"),
    *("0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "168.63.129.16"),  # noqa: S104 - it is refused
    *("100.100.100.200", "2002:a9fe:a9fe::", "no address"),
]


@pytest.mark.parametrize("address", [*INSIDE, *TUNNELED, *NEVER])
def test_nothing_is_sent_to_an_address_inside(address: str) -> None:
    with pytest.raises(AddressRefusedError):
        checked("hook.example", [address], private=False)
    with pytest.raises(NotTakenError, match=r"hook\.example is "):
        hook("https://hook.example/", private=False, addresses=(address,)).tell(ALERT)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_allowed(address: str) -> None:
    with pytest.raises(AddressRefusedError, match=r"never allowed|no address"):
        checked("hook.example", [address], private=True)


@pytest.mark.parametrize("address", [*INSIDE, *TUNNELED])
def test_addresses_inside_can_be_allowed(address: str) -> None:
    assert checked("hook.example", [address], private=True) == [address]


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_an_address_outside_is_allowed(address: str) -> None:
    assert checked("hook.example", [address], private=False) == [address]


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(AddressRefusedError):
        checked("hook.example", ["93.184.216.34", "10.0.0.1"], private=False)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_names_and_spellings_of_this_machine_are_refused_by_the_real_resolver(host: str) -> None:
    with listening() as there:
        url = f"http://{host}:{there.port}/"
        to = Webhook(url, SECRET, private=False, resolve=by_the_system, clock=time.time)
        with pytest.raises(NotTakenError, match="INFERWATCH_ALERT_PRIVATE_ADDRESSES allows that"):
            to.tell(ALERT)
    assert not there.requests


def test_the_connection_is_made_to_the_address_that_was_checked() -> None:
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with listening() as there:
        url = f"http://only-this-resolver-knows.example:{there.port}/"
        Webhook(url, SECRET, private=True, resolve=resolve, clock=time.time).tell(ALERT)
    assert asked == ["only-this-resolver-knows.example"]
    assert there.requests[0][1]["Host"] == f"only-this-resolver-knows.example:{there.port}"


def test_plain_http_does_not_leave_the_house() -> None:
    with pytest.raises(NotTakenError, match="http:// would show"):
        hook("http://hook.example/", addresses=("93.184.216.34",)).tell(ALERT)


def test_a_receiver_that_is_not_there_is_said_without_its_address() -> None:
    with pytest.raises(NotTakenError) as caught:
        hook("http://127.0.0.1:1/token-in-the-path").tell(ALERT)
    assert "no answer" in str(caught.value)
    assert "token" not in str(caught.value)
