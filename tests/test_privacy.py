"""Identities become pseudonyms, texts become what the content mode allows."""

from __future__ import annotations

import re

import msgspec
import pytest

from detectors.types import Components, Document, InferenceEvent, Message, Observation, ToolCall
from streams import privacy as privacy_module
from streams.privacy import CACHED_CALLERS, ContentMode, Privacy, Pseudonymizer

KEY = b"k" * 32
EMAIL = "bob@example.com"

EVENT = InferenceEvent(
    deployment="chat",
    model="gpt-4o",
    principal="user-7",
    network="203.0.113.9",
    user_agent="curl/8.5",
    session="s-1",
    system=f"you serve {EMAIL}",
    input_messages=(Message(role="user", content=f"mail {EMAIL}", name=EMAIL),),
    output_messages=(
        Message(role="assistant", content=None, tool_calls=(ToolCall(name="send", arguments=f'{{"to":"{EMAIL}"}}'),)),
    ),
    documents=(Document(document_id="d1", source=f"mailto:{EMAIL}", content=f"by {EMAIL}", score=0.5),),
    error_type=f"no such user {EMAIL}",
    prediction=EMAIL,
    features={"contact": EMAIL, "age": 41.0, "member": True, "gone": None},
    input_tokens=7,
    components=Components(tool_list="sha256:00"),
)


def test_the_same_value_has_the_same_pseudonym() -> None:
    one, other = Pseudonymizer(KEY), Pseudonymizer(KEY)
    assert one.pseudonym("principal", "user-7") == other.pseudonym("principal", "user-7")


def test_another_key_gives_another_pseudonym() -> None:
    assert Pseudonymizer(KEY).pseudonym("principal", "a") != Pseudonymizer(b"x" * 32).pseudonym("principal", "a")


def test_the_same_text_in_another_field_gives_an_unrelated_pseudonym() -> None:
    pseudonym = Pseudonymizer(KEY).pseudonym
    assert pseudonym("principal", "a").split("_")[1] != pseudonym("session", "a").split("_")[1]


def test_a_pseudonym_is_short_printable_and_says_its_kind() -> None:
    kind, digest = Pseudonymizer(KEY).pseudonym("principal", "user-7").split("_")
    assert kind == "p"
    assert len(bytes.fromhex(digest)) == 16


def test_an_empty_key_is_refused_and_a_long_one_is_used_whole() -> None:
    with pytest.raises(ValueError, match="empty"):
        Pseudonymizer(b"")
    long = b"k" * 100
    assert Pseudonymizer(long).pseudonym("principal", "a") != Pseudonymizer(long + b"x").pseudonym("principal", "a")


def test_a_pseudonym_that_fell_out_of_the_cache_is_the_same_again() -> None:
    pseudonymizer = Pseudonymizer(KEY, cached=2)
    before = pseudonymizer.pseudonym("principal", "a")
    for value in "bcdef":
        pseudonymizer.pseudonym("principal", value)
    assert pseudonymizer.pseudonym("principal", "a") == before


@pytest.mark.parametrize("mode", list(ContentMode))
def test_no_mode_stores_who_called(mode: ContentMode) -> None:
    event = Privacy(KEY, mode).apply(EVENT)
    stored = msgspec.json.encode(event)
    for value in ("user-7", "203.0.113.9", "curl/8.5", '"s-1"'):
        assert value.encode() not in stored
    assert len({event.principal, event.network, event.user_agent, event.session}) == 4


def test_unknown_identities_stay_unknown() -> None:
    event = Privacy(KEY).identities(InferenceEvent(deployment="d", network=""))
    assert (event.principal, event.network, event.user_agent, event.session) == (None, None, None, None)


def test_the_default_redacts_every_text_of_an_event() -> None:
    event = Privacy(KEY).apply(EVENT)
    assert EMAIL.encode() not in msgspec.json.encode(event)
    assert event.input_messages == (Message(role="user", content="mail [email]", name="[email]"),)
    assert event.output_messages is not None
    assert event.output_messages[0].tool_calls == (ToolCall(name="send", arguments='{"to":"[email]"}'),)
    assert event.documents == (Document(document_id="d1", source="mailto:[email]", content="by [email]", score=0.5),)
    assert event.features == {"contact": "[email]", "age": 41.0, "member": True, "gone": None}
    assert (event.system, event.prediction) == ("you serve [email]", "[email]")
    assert (event.model, event.input_tokens, event.components) == ("gpt-4o", 7, EVENT.components)


def test_full_content_is_stored_as_it_came() -> None:
    assert Privacy(KEY, ContentMode.FULL).text(EVENT) == EVENT


def test_features_only_stores_no_text_and_keeps_numbers_and_labels() -> None:
    event = Privacy(KEY, ContentMode.FEATURES).apply(EVENT)
    assert (event.input_messages, event.output_messages, event.system, event.documents) == (None, None, None, None)
    assert event.features == {"contact": None, "age": 41.0, "member": True, "gone": None}
    assert event.prediction == "[email]"
    assert event.error_type is not None
    assert re.fullmatch(r"t_[0-9a-f]{32}", event.error_type), "a sentence becomes a keyed hash of it"


@pytest.mark.parametrize("mode", [ContentMode.REDACTED, ContentMode.FEATURES])
def test_a_secret_in_a_name_is_gone_before_a_detector_sees_it(mode: ContentMode) -> None:
    names = ("deployment", "operation", "model", "served_model", "provider", "region", "prediction")
    ids = ("trace_id", "span_id", "response_id")
    planted = InferenceEvent(
        **dict.fromkeys((*names, *ids), f"x-{EMAIL}"),  # type: ignore[arg-type]  # all of them are texts
        error_type=f"E:{EMAIL}",
        finish_reasons=("stop", f"stop:{EMAIL}"),
        egress_hosts=(f"smtp://{EMAIL}",),
        components=Components(weights=f"by:{EMAIL}", image="sha256:11"),
    )
    event = Privacy(KEY, mode).identities(planted)
    assert EMAIL.encode() not in msgspec.json.encode(event)
    assert event.deployment == "[email]"
    assert event.finish_reasons == ("stop", "stop:[email]")
    assert event.components == Components(weights="by:[email]", image="sha256:11")


def test_names_without_anything_secret_stay_as_they_are() -> None:
    event = InferenceEvent(
        deployment="support-chat",
        model="gpt-4o",
        served_model="gpt-4o-2024-08-06",
        error_type="RateLimitError",
        finish_reasons=("tool_calls",),
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        response_id="chatcmpl-AbC123",
        components=Components(weights="sha256:9f2c", tool_list="sha256:77ab"),
        egress_hosts=("10.0.0.7",),
    )
    for mode in ContentMode:
        assert Privacy(KEY, mode).apply(event) == event


def test_roles_that_are_not_looked_at_have_nothing_to_redact() -> None:
    privacy = Privacy(b"k" * 32, redact_ips=True)
    assert [privacy.redact(role) for role in privacy_module._ROLES] == [*privacy_module._ROLES]


def test_a_role_and_the_id_of_a_tool_call_are_texts_too() -> None:
    call = ToolCall(call_id=f"call-{EMAIL}")
    event = InferenceEvent(deployment="d", input_messages=(Message(role=EMAIL, content="", tool_calls=(call,)),))
    assert EMAIL.encode() not in msgspec.json.encode(Privacy(KEY).apply(event))


def test_the_names_of_tabular_features_are_redacted_in_every_mode_that_redacts() -> None:
    event = InferenceEvent(deployment="d", features={EMAIL: 1.0, "a long sentence that somebody wrote": 2.0})
    assert Privacy(KEY).apply(event).features == {"[email]": 1.0, "a long sentence that somebody wrote": 2.0}
    kept = Privacy(KEY, ContentMode.FEATURES).apply(event).features
    assert kept is not None
    assert sorted(kept.values(), key=str) == [1.0, 2.0]
    assert not any(" " in name or "@" in name for name in kept)


@pytest.mark.parametrize("mode", list(ContentMode))
def test_both_steps_at_once_are_the_two_steps(mode: ContentMode) -> None:
    privacy = Privacy(KEY, mode)
    assert privacy.apply(EVENT) == privacy.text(privacy.identities(EVENT))


def test_addresses_in_texts_go_by_the_setting() -> None:
    event = InferenceEvent(deployment="d", system="host 192.168.1.20")
    assert Privacy(KEY).text(event).system == "host 192.168.1.20"
    assert Privacy(KEY, redact_ips=True).text(event).system == "host [ip]"


def test_hosts_that_texts_named_are_pseudonyms_where_no_text_may_be_stored() -> None:
    observation = Observation(
        event_id="e",
        time_s=1.0,
        deployment="chat",
        hosts=("connection:db.internal", "tool:api.example.com", "answer:ghp-user.example.com"),
    )
    assert Privacy(KEY, ContentMode.FULL).observation(observation) == observation
    assert Privacy(KEY, ContentMode.REDACTED).observation(observation) == observation
    found = Privacy(KEY, ContentMode.FEATURES).observation(observation).hosts
    assert found is not None
    assert found[0] == "connection:db.internal"
    assert re.fullmatch(r"tool:h_[0-9a-f]{32}", found[1])
    assert "example" not in "".join(found)
    assert found[1] != Privacy(b"o" * 32, ContentMode.FEATURES).observation(observation).hosts[1]  # type: ignore[index]  # as above


@pytest.mark.parametrize("mode", ContentMode)
def test_events_are_treated_together_as_each_alone(mode: ContentMode) -> None:
    plain = InferenceEvent(
        deployment="chat",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        output_messages=(Message(role="a", content="b"),),
    )
    named = msgspec.structs.replace(plain, response_id=EMAIL, prediction="a long sentence", features={EMAIL: "x"})
    events = [plain, EVENT, named, plain, InferenceEvent(deployment=EMAIL, finish_reasons=(EMAIL,)), EVENT]
    privacy = Privacy(KEY, mode)
    known = privacy.all_identities(events)
    assert known == [Privacy(KEY, mode).identities(event) for event in events]
    given = [{"event_id": str(index), "time_s": 1.0} for index in range(len(events))]
    assert privacy.all_identities(events, given) == [
        msgspec.structs.replace(event, event_id=str(index), time_s=1.0) for index, event in enumerate(known)
    ]
    assert privacy.texts(known) == [Privacy(KEY, mode).text(event) for event in known]


def test_names_of_calls_are_kept_at_hand_up_to_a_bound() -> None:
    privacy = Privacy(KEY)
    for number in range(CACHED_CALLERS + 10):
        event = InferenceEvent(deployment=f"d{number}", model=EMAIL)
        assert privacy.identities(event).model == "[email]"
    long = InferenceEvent(deployment="d", finish_reasons=(EMAIL, "x" * 10_000))
    assert privacy.identities(long).finish_reasons == ("[email]", "x" * 10_000)
    assert len(privacy._said_changes) <= CACHED_CALLERS
