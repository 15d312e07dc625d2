"""What is found, what only looks like it, and that no text makes it slow."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.redaction import MAX_HITS, Redactor, masked

redact = Redactor(ips=False).redact
redactor_of_ips = Redactor(ips=True)
redact_with_ips = redactor_of_ips.redact

# Put together here, so that no scanner takes this file for a leak.
OPENAI_KEY = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3sT5vW7"
AWS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB_KEY = "ghp_" + "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8"
SLACK_KEY = "xoxb-" + "123456789012-AbCdEfGhIjKl"
GOOGLE_KEY = "AIza" + "SyA1234567890abcdefghijklmnopqrstuv"
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to bob.o'neil+lists@mail.example.co.uk.", "write to [email]."),
        ("müller@exämple.de", "[email]"),
        ("请联系foo@example.com谢谢", "请联系[email]谢谢"),
        ("<bob@example.com>, <eve@example.com>", "<[email]>, <[email]>"),
        ("call +1 415 555 0132 or (415) 555-0132 or 415-555-0132", "call [phone] or [phone] or [phone]"),
        ("+49 30 1234567, +44 20 7946 0958, 020 7946 0958", "[phone], [phone], [phone]"),
        ("020 7946 0958", "[phone]"),
        ("In room 4\n020 7946 0958 at 2\n030 12345678.", "In room 4\n[phone] at 2\n[phone]."),
        ("4 020 7946 0958", "4 020 7946 0958"),
        ("4111 1111 1111 1111, exp 12/27", "[card], exp 12/27"),
        ("5500-0000-0000-0004 378282246310005", "[card] [card]"),
        ("1234 4111 1111 1111 1111", "1234 [card]"),
        ("415-555-0132 4111 1111 1111 1111 415-555-0133", "[phone] [card] [phone]"),
        ("DE89 3704 0044 0532 0130 00 PLEASE PAYS NOWS", "[iban] PLEASE PAYS NOWS"),
        ("GB82WEST12345698765432", "[iban]"),
        ("AB12 4111 1111 1111 1111", "AB12 [card]"),
        ("de89 3704 0044 0532 0130 00", "[iban]"),
        (f"{AWS_KEY.lower()} in a folded name", "[secret] in a folded name"),
        (f"{OPENAI_KEY} and {AWS_KEY}", "[secret] and [secret]"),
        (f"{GITHUB_KEY},{SLACK_KEY}", "[secret],[secret]"),
        (f"key={GOOGLE_KEY}&x=1", "key=[secret]&x=1"),
        (f"{JWT} ok", "[secret] ok"),
        ("Authorization: Bearer abc.def-1234567890abcdef==", "Authorization: Bearer [secret]"),
        (f"{PEM} after", "[secret] after"),
        ("cut off: -----BEGIN " + "PRIVATE KEY-----\\nMIIE", "cut off: [secret]"),
        ("postgres://admin:s3cr3t@db.example.com/x", "postgres://[secret]@db.example.com/x"),
        ("password: hunter2", "password: [secret]"),
        ('{"api_key": "abcdefgh"}', '{"api_key": "[secret]"}'),
        (r"{\"password\": \"hunter\"}", r"{\"password\": \"[secret]\"}"),
    ],
)
def test_what_is_secret_or_personal_is_replaced_and_the_rest_stays(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "order 1234567890123456 and ORD-415-555-0132",
        "4111 1111 1111 1112 has a wrong check digit",
        "DE88 3704 0044 0532 0130 00 has a wrong check number",
        "v1.2.3-beta, 0.44.18652.0, numpy==2.4.1",
        "2024-04-08T12:23:02.435Z, 2024-04-08 12:23, 08/04/2024",
        "$1,299.00 or 1.299,00 EUR or 415 555",
        "638481757794854611 ticks, 1700000000000 ms, 1737710446.847371 s, 3.141592653589793",
        "550e8400-e29b-41d4-a716-446655440000",
        "pkg@1.2.3 and @mention and user@host",
        "bearer responsibilities, The password: everyone forgets it",
        "risk-assessment-of-the-whole-company",
        "12:23:02 and 192.168.1.20 and fe80::1",
        "",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.168.1.20:8080 and 10.0.0.1.", "[ip]:8080 and [ip]."),
        ("fe80::1, 2001:db8::8a2e:370:7334, ::ffff:192.168.1.1", "[ip], [ip], [ip]"),
        ("12:23:02 std::string a::b v1.2.3.4 1.2.3.4.5 0.44.18652.0", None),
    ],
)
def test_addresses_are_replaced_where_the_setting_asks_for_it(text: str, expected: str | None) -> None:
    assert redact_with_ips(text) == (expected or text)


def test_text_without_a_hit_is_given_back_itself() -> None:
    text = "nothing to see here" * 10
    assert redact(text) is text


def test_a_text_of_nothing_but_hits_ends_at_the_limit() -> None:
    redacted = redact("bob@example.com " * (MAX_HITS + 10))
    assert redacted.count("[email]") == MAX_HITS
    assert redacted.endswith("[dropped]")


def test_half_a_surrogate_pair_is_no_reason_to_fail() -> None:
    assert redact("\ud83d bob@example.com") == "\ud83d [email]"


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a.",
        "4",
        "4 ",
        "1234567890123@",
        "a@b.cc-",
        "a@b.c",
        "eyJaaaaaaaa.",
        "-eyJaaaaaaaaa-" + AWS_KEY,
        "sk-",
        "-----BEGIN " + "PRIVATE KEY",
        "password" + " " * 30,
        "password=",
        "://a:",
        "AB12 ",
        "+1",
        "+1 415 ",
        "0123 ",
        ":",
        "a:",
        "bearer aaaaaaaaaaaaaaaaaaa ",
        "4111 1111 1111 1111 ",
    ],
)
def test_ten_times_the_text_takes_about_ten_times_the_time(unit: str) -> None:
    def seconds(text: str) -> float:
        def once() -> float:
            began = time.process_time()
            redact_with_ips(text)
            return time.process_time() - began

        return min(once() for _ in range(3))

    chars = 10_000
    short, long = unit * (chars // len(unit)), unit * (10 * chars // len(unit))
    # A millisecond for the machine's noise; quadratic time would be a hundredfold of much more than that.
    assert seconds(long) < 25 * (seconds(short) + 0.001)


@given(st.text())
def test_whatever_the_text_is_it_is_redacted_without_an_error(text: str) -> None:
    assert isinstance(redact_with_ips(text), str)


@given(st.text(alphabet='ab@.:/ -+0159A=\n\\"', max_size=200))
def test_text_of_the_signs_that_patterns_look_for_is_redacted_without_an_error(text: str) -> None:
    assert isinstance(redact_with_ips(text), str)


@given(st.text(alphabet="xyz ,.\n", max_size=60), st.text(alphabet="xyz ,.\n", max_size=60))
def test_a_key_is_found_wherever_it_stands_alone(before: str, after: str) -> None:
    assert OPENAI_KEY not in redact(f"{before} {OPENAI_KEY} {after}")


@pytest.mark.parametrize(
    ("text", "look"),
    [
        ('{"records": [{"caller": "bob-7", "n": 12.5e3}', '{"records": [{"caller": "xxx-0", "n": 00.0x0}'),
        (r'{"messages": "[{\"role\": \"bob\"}]"}', r'{"messages": "[{\"role\": \"xxx\"}]"}'),
        ('{"bob@example.com": 1, "Zoë": true}', '{"xxx@xxxxxxx.xxx": 0, "xxxx": xxxx}'),
        ("<xml attribute='bob'>\x1b[31m", "<xxx xxxxxxxxx='xxx'>x[00x"),
        ("\\xff\udcff", "\\xxxxxx"),
        ("", ""),
    ],
)
def test_what_a_text_looks_like_is_told_without_what_it_says(text: str, look: str) -> None:
    assert masked(text) == look


PIECES = [
    *("bob", "@example.com", "bearer ", "abcdefghij0123456789", "password", ": ", "=", "hunter2", "://", "u:p@"),
    *("4111 1111", " 1111 1111", "+49 30 1234567", "415-555-0132", "GB82", "WEST12345698765432", "10.0.0.1", "::1"),
    *("\n", " ", "", "."),
    *("é", "中文", "\ud83d", "\x00", OPENAI_KEY, PEM[:20], PEM),
]  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=12), st.booleans())
def test_what_would_be_redacted_alone_is_suspected_among_others(texts: list[str], ips: bool) -> None:  # noqa: FBT001 - drawn
    redactor = Redactor(ips=ips)
    changed = {index for index, text in enumerate(texts) if redactor.redact(text) != text}
    assert changed <= redactor.suspects(texts)


def test_texts_without_anything_are_not_suspected_however_many_and_long() -> None:
    plain = ["Nothing to see here. " * 40] * 1_000
    assert redactor_of_ips.suspects(plain) == set()
    assert redactor_of_ips.suspects([*plain, "mail bob@example.com", *plain, "203.0.113.9"]) == {1_000, 2_001}
