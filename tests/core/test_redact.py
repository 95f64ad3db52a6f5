"""One rule for what is hidden: what is known to be a secret, what looks like one, and names that say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from clawportal import redact
from clawportal.messages import Message, _m
from clawportal.redact import MASK, ByteMasker, Masker

PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n  indented\n-----END KEY-----\n"


@pytest.mark.parametrize(
    ("values", "said", "shown"),
    [
        ((), "nothing is known", "nothing is known"),
        (("hunter2",), "my hunter2!", f"my {MASK}!"),
        (("abc",), "abc is too short to be looked for", "abc is too short to be looked for"),
        (("pass", "password"), "password, pass", f"{MASK}, {MASK}"),
        (('q"uote\\',), 'as JSON: {"a": "q\\"uote\\\\"}', f'as JSON: {{"a": "{MASK}"}}'),
        (("schlüssel",), 'as JSON: "schl\\u00fcssel" and "schlüssel"', f'as JSON: "{MASK}" and "{MASK}"'),
        ((PEM,), "one line of it: MIIEvQIBADANBg", f"one line of it: {MASK}"),
        ((PEM,), "without its blanks: [indented]", f"without its blanks: [{MASK}]"),
        ((PEM,), f"all: {PEM}", f"all: {MASK}"),
        (("a.c+",), "a.c+ is no pattern: abcc", f"{MASK} is no pattern: abcc"),
        (("", "  "), "empty ones hide nothing", "empty ones hide nothing"),
    ],
)
def test_known_values(values: Iterable[str], said: str, shown: str) -> None:
    assert Masker(values)(said) == shown
    assert redact.masked([said, "fine"], values) == (shown, "fine")


def test_a_message_stays_one() -> None:
    found = Masker(["hunter2"])(_m("It said %(words)s.", words="hunter2 is wrong"))
    assert isinstance(found, Message) and found == f"It said {MASK} is wrong." and found.id == "It said %(words)s."


def test_old_values_are_hidden_too() -> None:
    assert Masker(["first"]).with_more(["second"])("first second third") == f"{MASK} {MASK} third"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_bytes_keep_their_number(size: int) -> None:
    whole = "before hunter2 hunter22 schlüssel after hunter".encode()
    pieces: Iterator[bytes] = (whole[place : place + size] for place in range(0, len(whole), size))
    found = b"".join(ByteMasker(["hunter2", "hunter22", "schlüssel"])(pieces))
    assert found == b"before ******* ******** ********** after hunter"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("https://user:hunter22@llm.example/v1", f"https://{MASK}@llm.example/v1"),
        ("https://token@llm.example", f"https://{MASK}@llm.example"),
        ("wss://a:b@c and redis://:pw@d/0", f"wss://{MASK}@c and redis://{MASK}@d/0"),
        ("ssh://deploy@host", "ssh://deploy@host"),
        ("ssh://deploy:pw@host", f"ssh://{MASK}@host"),
        ("git+ssh://deploy@host", f"git+ssh://{MASK}@host"),
        ("1https://a:b@c", f"1https://{MASK}@c"),
        ("https://host/path/user@example.com", "https://host/path/user@example.com"),
        ("https://host?mail=user@example.com", "https://host?mail=user@example.com"),
        ("mail user@example.com", "mail user@example.com"),
    ],
)
def test_addresses(said: str, shown: str) -> None:
    assert redact.address(said) == shown and redact.text(said) == shown
    assert redact.document({"a": [said, {"b": (said,)}], "n": 3}) == {"a": [shown, {"b": [shown]}], "n": 3}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Authorization: Bearer abcdefgh12345678", f"Authorization: Bearer {MASK}"),
        ("key sk-abcdefgh12345678, next", f"key sk-{MASK}, next"),
        ("clp_abcdefgh12345678", f"clp_{MASK}"),
        ("password=hunter2&x=1", f"password={MASK}&x=1"),
        ('{"api_key": "abc", "x": 1}', f'{{"api_key": "{MASK}", "x": 1}}'),
        ("the token of the claw", "the token of the claw"),
    ],
)
def test_what_looks_like_a_credential(said: str, shown: str) -> None:
    assert redact.text(said) == shown


def test_a_long_word_is_read_once() -> None:
    """A search that begins anew at every letter would be at it for hours, which the deadline of all tests ends."""
    for word in ("x" * 2_000_000 + "@", "://" * 500_000 + "@", "a://b" * 300_000 + "@", "token " * 300_000):
        assert redact.text(word).endswith(word[-1])


@pytest.mark.parametrize(
    ("name", "ours", "of_others"),
    [
        ("gateway_token", True, True), ("spec.model.api_key", True, True), ("password_hash", True, True),
        ("Authorization", True, True), ("token_limit", False, True), ("passwords", False, True),
        ("OPENAI_KEY_FILE", False, True), ("DATABASE_DSN", False, True), ("name", False, False), ("LANG", False, False),
    ],
)  # fmt: skip
def test_names(name: str, ours: bool, of_others: bool) -> None:
    assert redact.names_secret(name) == ours and redact.may_name_secret(name) == of_others


def test_what_others_started() -> None:
    given = {"LANG": "C", "OPENAI_API_KEY": "x", "PROXY": "http://me:pw@proxy", "TOKEN": ""}
    assert redact.named(given) == {"LANG": "C", "OPENAI_API_KEY": MASK, "PROXY": f"http://{MASK}@proxy", "TOKEN": ""}
    words = ["run", "--token", "abc", "--api-key=abc", "SECRET=abc", "--verbose", "http://a:b@c", "--pass", "--force"]
    shown = ["run", "--token", MASK, f"--api-key={MASK}", f"SECRET={MASK}", "--verbose", f"http://{MASK}@c", "--pass", "--force"]
    assert redact.command(words) == shown
