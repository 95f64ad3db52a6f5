"""The Chinese catalogue is whole and fresh; `make translations` makes it so, but for the translating itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po
from flask import Flask

from clawportal.web.words import told
from tests.conftest import Person
from tests.web.conftest import Browser

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "clawportal" / "translations"
CATALOGUE = FOLDER / "zh_Hans" / "LC_MESSAGES" / "messages.po"
GAP = re.compile(r"%\(\w+\)s")


@cache
def catalogue() -> list[Message]:
    with CATALOGUE.open("rb") as file:
        return [message for message in read_po(file, locale="zh_Hans") if message.id]


def strings(message: Message) -> tuple[str, ...]:
    return (message.string,) if isinstance(message.string, str) else tuple(message.string)


def key(found: object) -> str:
    return str(found[0] if isinstance(found, tuple | list) else found)


@cache
def extracted() -> list[tuple[str, str]]:
    with (FOLDER / "babel.cfg").open(encoding="utf-8") as file:
        mapping, options = parse_mapping_cfg(file)
    keywords = {**DEFAULT_KEYWORDS, "lazy_gettext": None, "_m": None, "_mn": (1, 2)}
    found = extract_from_dir(ROOT, mapping, options, keywords)
    return [(key(text), name) for name, _line, text, _comments, _context in found]


def test_the_catalogue_has_all_that_people_read() -> None:
    known = {key(message.id) for message in catalogue()}
    missing = sorted({f"{name}: {text}" for text, name in extracted() if text and text not in known})
    assert not missing, "run `make translations`, then translate:\n" + "\n".join(missing)


def test_nothing_is_left_over() -> None:
    said = {text for text, _name in extracted()}
    assert not sorted({key(message.id) for message in catalogue()} - said), "run `make translations`"


def test_everything_is_translated() -> None:
    bare = [
        message.id
        for message in catalogue()
        if not all(message.string if isinstance(message.string, tuple) else [message.string])
    ]
    assert not bare
    assert not [message.id for message in catalogue() if message.fuzzy]


def test_gaps_are_the_same() -> None:
    for message in catalogue():
        many = message.id[-1] if isinstance(message.id, tuple) else message.id
        for string in filter(None, strings(message)):
            assert set(GAP.findall(string)) == set(GAP.findall(str(many))), message.id


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("Stopped; its data is kept.", "已停止，数据已保留。"),
        ("my-claw was created.", "my-claw 已创建。"),
        ("Restart my-claw: The cluster does not answer.", "重启 my-claw：集群没有响应。"),
        ("CrashLoop", "反复崩溃"),
        ("50 % of something nobody translated", "50 % of something nobody translated"),
        ("", ""),
    ],
)
def test_what_services_said_is_told_in_chinese(portal_app: Flask, english: str, chinese: str) -> None:
    with portal_app.test_request_context(headers={"Cookie": "clawportal_language=zh_Hans"}):
        assert told(english) == chinese
    with portal_app.test_request_context():
        assert told(english) == english


def test_a_page_in_chinese(admin: Person, browse: Callable[[Person], Browser]) -> None:
    made = admin.create("wenzi", "echo")["id"]
    browser = browse(admin)
    browser.post("/language", {"language": "zh_Hans"})
    text = browser.page(f"/instances/{made}")
    assert "等待中" in text and "概览" in text and "wenzi 已创建。" in text and "Overview" not in text
    assert "问候语" in browser.page("/instances/new?adapter=echo")
    answer = browser.post("/instances/new", {"adapter": "echo", "name": "Bad Name"}, htmx=True)
    assert "小写字母" in answer.get_data(as_text=True)
