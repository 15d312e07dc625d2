"""The build is put into a Grafana once, and what a Grafana has of it is told as it is."""

from __future__ import annotations

import copy
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import niquests.exceptions
import pytest
from grafana_client.client import GrafanaTimeoutError

from dashboards.comparing import as_ours, difference
from dashboards.grafana import ATTEMPTS, Grafana, GrafanaError
from dashboards.publish import MARK, State, Thing, _rule, strays, things, write
from streams.settings import Settings
from tests.conftest import LeaveOut
from tests.dashboards.fake_grafana import PASSWORD, TOKEN, USER, FakeGrafana
from tests.integration.pinned import UnavailableError
from tests.security.authority import Authority

BOARD = "inferwatch-overview"


@pytest.fixture
def server() -> Iterator[FakeGrafana]:
    fake = FakeGrafana()
    yield fake
    fake.stop()
    assert fake.mistakes == []


def client(server: FakeGrafana, pauses: list[float] | None = None, **access: str) -> Grafana:
    given = {"grafana_url": server.url, "grafana_token": TOKEN} | access
    return Grafana(Settings(**given), pause=(pauses if pauses is not None else []).append)  # type: ignore[arg-type]


def push(grafana: Grafana, *, overwrite: bool = False, editable: bool = False) -> list[str]:
    """Names of what was written."""
    return [thing.name for thing in things(grafana) if write(grafana, thing, overwrite=overwrite, editable=editable)]


def states(grafana: Grafana) -> dict[str, State]:
    return {thing.name: thing.state for thing in things(grafana)}


def one(grafana: Grafana, name: str) -> Thing:
    return next(thing for thing in things(grafana) if thing.name == name)


def test_an_empty_grafana_gets_folder_dashboards_and_rules_and_a_second_push_writes_nothing(
    server: FakeGrafana,
) -> None:
    grafana = client(server)
    assert set(states(grafana).values()) == {"missing"}
    written = push(grafana)
    assert written[0] == "folder inferwatch"
    assert {f"dashboard {uid}" for uid in server.boards} <= set(written)
    assert any(name.startswith("alert rules ") for name in written)
    before = len(server.writes)
    assert before == len(written)
    assert push(grafana) == []
    assert len(server.writes) == before
    assert set(states(grafana).values()) == {"fresh"}


def test_a_dashboard_goes_into_our_folder_by_uid_with_a_message_that_says_whose_it_is(server: FakeGrafana) -> None:
    push(client(server))
    saved = [request.body for request in server.writes if request.path == "/dashboards/db"]
    assert {body["folderUid"] for body in saved} == {"inferwatch"}
    assert all(body["message"].startswith(MARK) and body["overwrite"] is False for body in saved)


@pytest.mark.parametrize("provenance", ["api", ""], ids=["locked", "open to changes"])
def test_rules_are_locked_in_grafanas_pages_unless_asked_otherwise(provenance: str, server: FakeGrafana) -> None:
    editable = not provenance
    push(client(server), editable=editable)
    for request in server.writes:
        if request.method == "PUT" and "rule-groups" in request.path:
            assert (request.headers.get("x-disable-provenance") == "true") is editable
    assert {rule["provenance"] for group in server.groups.values() for rule in group["rules"]} == {provenance}


@pytest.mark.parametrize(
    "access",
    [{"grafana_token": TOKEN}, {"grafana_user": USER, "grafana_password": PASSWORD}],
    ids=["a token", "user and password"],
)
def test_one_signs_in_with(access: dict[str, str], server: FakeGrafana) -> None:
    grafana = Grafana(Settings(grafana_url=server.url, **access))  # type: ignore[arg-type]
    assert push(grafana)
    sent = {request.headers["authorization"].split()[0] for request in server.requests}
    assert sent == {"Bearer" if "grafana_token" in access else "Basic"}


def test_a_grafana_below_a_path_is_reached() -> None:
    server = FakeGrafana(prefix="/grafana")
    assert push(client(server))
    assert server.mistakes == []
    server.stop()


def test_what_somebody_else_saved_is_not_written_over_unless_one_says_so(server: FakeGrafana) -> None:
    grafana = client(server)
    push(grafana)
    server.saved_by_hand(BOARD, description="mine now")
    assert one(grafana, f"dashboard {BOARD}").state == "edited"
    with pytest.raises(GrafanaError, match="saved by mallory"):
        push(grafana)
    assert server.boards[BOARD]["dashboard"]["description"] == "mine now"
    assert push(grafana, overwrite=True) == [f"dashboard {BOARD}"]
    assert push(grafana) == []


def test_an_older_build_is_stale_and_is_written_over(server: FakeGrafana) -> None:
    grafana = client(server)
    push(grafana)
    server.boards[BOARD]["dashboard"]["panels"].pop()
    assert one(grafana, f"dashboard {BOARD}").state == "stale"
    assert push(grafana) == [f"dashboard {BOARD}"]


def test_rules_that_differ_are_told_by_who_could_have_changed_them(server: FakeGrafana) -> None:
    grafana = client(server)
    push(grafana)
    key = next(iter(server.groups))
    server.groups[key]["rules"][0]["labels"]["severity"] = "low"
    assert one(grafana, f"alert rules {key[1]}").state == "stale"
    server.groups[key]["rules"][0]["provenance"] = ""
    assert one(grafana, f"alert rules {key[1]}").state == "edited"


def test_what_is_provisioned_from_files_is_left_to_the_files(server: FakeGrafana) -> None:
    grafana = client(server)
    push(grafana)
    server.boards[BOARD]["meta"]["provisioned"] = True
    assert push(grafana) == []
    server.boards[BOARD]["dashboard"]["title"] = "older"
    with pytest.raises(GrafanaError, match="from files"):
        push(grafana, overwrite=True)


def test_two_dollars_of_a_file_are_one_where_grafana_would_have_expanded_them() -> None:
    given = {"title": "$$5", "labels": {"a": "{{ $$labels.a }}"}, "annotations": {"summary": "{{ $labels.a }}"}}
    rule = _rule(given, {"orgId": 1, "name": "group"}, "folder")
    assert (rule["title"], rule["labels"]["a"]) == ("$5", "{{ $labels.a }}")
    assert rule["annotations"] == given["annotations"]


def test_a_dashboard_in_our_folder_that_no_build_makes_is_named(server: FakeGrafana) -> None:
    grafana = client(server)
    push(grafana)
    server.boards["left-over"] = copy.deepcopy(server.boards[BOARD])
    assert strays(grafana) == ["left-over"]


def test_somebody_who_saves_in_between_is_not_written_over(server: FakeGrafana) -> None:
    grafana = client(server)
    push(grafana)
    server.boards[BOARD]["dashboard"]["panels"].pop()
    thing = one(grafana, f"dashboard {BOARD}")
    server.saved_by_hand(BOARD, description="mine now")
    with pytest.raises(GrafanaError, match="saved this in between") as caught:
        write(grafana, thing)
    assert caught.value.status == 412


def test_a_write_whose_answer_was_lost_is_no_conflict_with_itself(server: FakeGrafana) -> None:
    grafana = client(server)
    push(grafana)
    server.boards[BOARD]["dashboard"]["panels"].pop()
    thing = one(grafana, f"dashboard {BOARD}")
    write(grafana, thing)
    assert write(grafana, thing)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_grafana_that_is_not_able_is_asked_again(status: int, server: FakeGrafana) -> None:
    pauses: list[float] = []
    server.failures = [status, 0, status]
    push(client(server, pauses))
    assert len(pauses) == 2
    assert len(server.boards) >= 2


def test_a_grafana_that_stays_unable_is_given_up_with_its_status(server: FakeGrafana) -> None:
    pauses: list[float] = []
    server.failures = [500] * ATTEMPTS
    with pytest.raises(GrafanaError, match="status 500") as caught:
        push(client(server, pauses))
    assert len(pauses) == ATTEMPTS - 1
    assert caught.value.status == 500
    assert str(caught.value).isascii() and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "INFERWATCH_GRAFANA_TOKEN"), (403, "the role Editor"), (400, "status 400")]
)
def test_a_refusal_is_told_at_once_with_what_to_do(status: int, advice: str, server: FakeGrafana) -> None:
    pauses: list[float] = []
    server.failures = [status]
    with pytest.raises(GrafanaError, match=advice):
        push(client(server, pauses))
    assert pauses == []
    assert len(server.requests) == 1


def test_a_wrong_token_is_a_wrong_token(server: FakeGrafana) -> None:
    with pytest.raises(GrafanaError, match="does not know this token") as caught:
        push(client(server, grafana_token="glsa_other"))
    assert "glsa_other" not in str(caught.value)


def test_a_grafana_that_is_not_there_is_told_with_its_address(server: FakeGrafana) -> None:
    pauses: list[float] = []
    nobody = client(server, pauses, grafana_url="http://127.0.0.1:1")
    with pytest.raises(GrafanaError, match=r"http://127\.0\.0\.1:1: nobody answers"):
        push(nobody)
    assert len(pauses) == ATTEMPTS - 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (niquests.exceptions.SSLError("self-signed"), "certificate is not accepted"),
        (GrafanaTimeoutError(0, None, "slow"), "no answer within 15 s"),
        (ValueError("not JSON \x1b[31m"), "no usable answer: not JSON  [31m"),
    ],
    ids=["a certificate", "a long wait", "something else than Grafana"],
)
def test_why_there_is_no_answer_is_told(error: Exception, said: str, server: FakeGrafana) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(GrafanaError, match=re.escape(said)):
        client(server).call(fails)


def test_certificates_are_verified_against_the_authority_that_is_named(
    tmp_path: Path, leave_out_integration: LeaveOut
) -> None:
    try:
        authority = Authority(tmp_path)
    except UnavailableError as error:
        leave_out_integration(str(error))
    certificate, key = authority.issue("grafana", "IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = FakeGrafana(tls=context)
    pauses: list[float] = []
    with pytest.raises(GrafanaError, match="its certificate is not accepted"):
        push(client(server, pauses))
    assert pauses == []
    assert server.requests == []
    trusting = Settings(grafana_url=server.url, grafana_token=TOKEN, grafana_ca_path=authority.path)
    assert push(Grafana(trusting))
    server.stop()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (Settings(), "set INFERWATCH_GRAFANA_URL"),
        (Settings(grafana_url="http://127.0.0.1:1"), "INFERWATCH_GRAFANA_TOKEN_FILE"),
        (Settings(grafana_url="http://127.0.0.1:1", grafana_user="ada"), "INFERWATCH_GRAFANA_TOKEN_FILE"),
    ],
)
def test_what_is_not_set_is_named(settings: Settings, complaint: str) -> None:
    with pytest.raises(GrafanaError, match=complaint):
        Grafana(settings)


def test_the_diff_goes_from_the_server_to_the_build_and_shows_hostile_text_as_plain_text(server: FakeGrafana) -> None:
    grafana = client(server)
    push(grafana)
    server.saved_by_hand(BOARD, description="\x1b]0;pwned\x07 \u202e<script>\r\n+++ build/x")
    diff = one(grafana, f"dashboard {BOARD}").diff()
    assert diff.startswith(f"--- server/dashboard {BOARD}\n+++ build/dashboard {BOARD}\n")
    assert '-    "description": "\\u001b]0;pwned\\u0007 \\u202e<script>\\r\\n+++ build/x"' in diff
    assert diff.isascii() and diff.replace("\n", "").isprintable()
    assert len([line for line in diff.splitlines() if line.startswith(("+", "-"))]) == 4


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"a": 1, "b": None, "c": [], "d": False}, {"a": 1}),
        ({"a": 1, "id": 2}, {"a": 1}),
        ({"for": "5m0s"}, {"for": "5m"}),
        ({"schemaVersion": 42}, {"schemaVersion": 41}),
        ([{"a": 1, "b": ""}], [{"a": 1}]),
    ],
)
def test_a_servers_bookkeeping_is_no_difference(theirs: object, ours: object) -> None:
    assert difference(as_ours(theirs, ours, frozenset({"id"})), ours, "x") == ""


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({}, {"a": 1}),
        ({"for": "6m"}, {"for": "5m"}),
        ({"schemaVersion": 40}, {"schemaVersion": 41}),
        ([{"a": 1}, {"a": 2}], [{"a": 1}]),
        ({"a": [2, 1]}, {"a": [1, 2]}),
    ],
)
def test_anything_else_is_a_difference(theirs: object, ours: object) -> None:
    assert difference(as_ours(theirs, ours, frozenset({"id"})), ours, "x") != ""
