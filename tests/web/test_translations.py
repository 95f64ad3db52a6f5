"""The Chinese catalogues are whole and fresh; `make translations` makes them so, but for the translating itself."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.catalog import Message as Entry
from babel.messages.pofile import read_po
from flask import Flask

from clawportal import catalogues
from clawportal.http.i18n import OWN_TITLES, title_of, translate, translate_label
from clawportal.messages import Message, _m, _mn
from clawportal.web import words
from tests.conftest import Person
from tests.web.conftest import Browser

ROOT = Path(__file__).resolve().parents[2]
GAP = re.compile(r"%\(\w+\)s")
CHINESE = {"Cookie": "clawportal_language=zh_Hans"}


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_translations", ROOT / "docs" / "translations.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = _tool()
PACKAGES: dict[Path, list[Path]] = TOOL.packages()
by_package = pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.parent.name)


@cache
def catalogue(folder: Path) -> list[Entry]:
    file = TOOL.file_of(folder, "zh_Hans")
    if not file.exists():
        return []
    with file.open("rb") as source:
        return [entry for entry in read_po(source, locale="zh_Hans") if entry.id]


def key(found: object) -> str:
    return str(found[0] if isinstance(found, tuple | list) else found)


@cache
def said(folder: Path) -> dict[str, str]:
    return {key(text): name for name, text in TOOL.sentences(PACKAGES[folder]) if text}


@by_package
def test_the_catalogue_has_what_people_read_and_nothing_else(folder: Path) -> None:
    known = {key(entry.id) for entry in catalogue(folder)}
    missing = sorted(f"{name}: {text}" for text, name in said(folder).items() if text not in known)
    assert not missing, "run `make translations`, then translate:\n" + "\n".join(missing)
    assert not sorted(known - said(folder).keys()), "run `make translations`"


@by_package
def test_everything_is_translated(folder: Path) -> None:
    assert not [entry.id for entry in catalogue(folder) if entry.fuzzy or not all(TOOL.forms(entry))]


@by_package
def test_gaps_are_the_same(folder: Path) -> None:
    for entry in catalogue(folder):
        many = entry.id[-1] if isinstance(entry.id, tuple) else entry.id
        for string in TOOL.forms(entry):
            assert set(GAP.findall(string)) == set(GAP.findall(str(many))), entry.id


# ---- compiling


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder of catalogues as a fresh checkout has it."""
    folder = tmp_path / "translations"
    shutil.copytree(catalogues.CORE, folder, ignore=shutil.ignore_patterns("*.mo"))
    return folder


def test_catalogues_are_compiled_when_they_are_missing_or_old(checkout: Path) -> None:
    made = checkout / "zh_Hans" / "LC_MESSAGES" / "messages.mo"
    assert catalogues.compiled(checkout) == checkout
    first = made.stat().st_ino
    assert catalogues.compiled(checkout) == checkout and made.stat().st_ino == first, "what is fresh is left alone"
    os.utime(made, (1, 1))
    assert catalogues.compiled(checkout) == checkout and made.stat().st_mtime > 1
    assert [file.name for file in made.parent.iterdir() if file.suffix != ".po"] == ["messages.mo"]


def test_catalogues_of_a_folder_that_cannot_be_written(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    inner = checkout / "zh_Hans" / "LC_MESSAGES"
    (inner / "messages.mo").mkdir()  # whoever is root may write everywhere, but replaces no folder by a file
    os.utime(inner / "messages.mo", (1, 1))
    found = catalogues.compiled(checkout)
    assert found.is_relative_to(tmp_path / "cache")
    assert catalogues.Catalogues([checkout]).text(_m("Done"), "zh_Hans") == "完成"


@pytest.mark.parametrize("left", [0, 3, 1000])
def test_a_compiled_catalogue_that_is_damaged_is_made_anew(checkout: Path, left: int) -> None:
    """A full disk cuts a file off, and it is as new as a whole one."""
    made = catalogues.compiled(checkout) / "zh_Hans" / "LC_MESSAGES" / "messages.mo"
    os.truncate(made, left)
    assert catalogues.Catalogues([checkout]).text(_m("Done"), "zh_Hans") == "完成"
    assert made.stat().st_size > 10_000


def test_without_its_source_a_damaged_catalogue_leaves_sentences_as_they_are(checkout: Path) -> None:
    inner = catalogues.compiled(checkout) / "zh_Hans" / "LC_MESSAGES"
    found = catalogues.Catalogues([checkout])
    os.truncate(inner / "messages.mo", 3)
    (inner / "messages.po").unlink()
    assert found.text(_m("Done"), "zh_Hans") == "Done"


# ---- translating


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (_m("Stopped; its data is kept."), "已停止，数据已保留。"),
        (_m("%(name)s was created.", name="my-claw"), "my-claw 已创建。"),
        (_m("%(name)s was created.", name="stopped"), "stopped 已创建。"),
        (
            Message("Restart %(name)s: %(result)s", {"name": "my-claw", "result": _m("The cluster does not answer.")}),
            "重启 my-claw：集群没有响应。",
        ),
        (_mn("%(num)s right", "%(num)s rights", 2, num=2), "2 项权限"),
        ("stopped", "stopped"),
        ("Stopped; its data is kept.", "Stopped; its data is kept."),
        (_m("50 % of something that nobody translated"), "50 % of something that nobody translated"),
        ("", ""),
    ],
)
def test_messages_are_read_in_chinese_and_names_stay(portal_app: Flask, english: str, chinese: str) -> None:
    with portal_app.test_request_context(headers=CHINESE):
        assert translate(english) == chinese
    with portal_app.test_request_context():
        assert translate(english) == english


def test_words_of_programs_are_looked_up(portal_app: Flask) -> None:
    with portal_app.test_request_context(headers=CHINESE):
        assert (words.reason("CrashLoop"), words.reason("NobodyKnowsThis")) == ("反复崩溃", "Nobody knows this")
        assert translate_label("Model") == "模型"


def test_a_page_in_chinese(admin: Person, browse: Callable[[Person], Browser]) -> None:
    made = admin.create("wenzi", "echo")["id"]
    browser = browse(admin)
    browser.post("/language", {"language": "zh_Hans"})
    text = browser.page(f"/instances/{made}")
    assert "等待中" in text and "概览" in text and "wenzi 已创建。" in text and "Overview" not in text
    assert "问候语" in browser.page("/instances/new?adapter=echo")
    answer = browser.post("/instances/new", {"adapter": "echo", "name": "Bad Name"}, htmx=True)
    assert "小写字母" in answer.get_data(as_text=True)


def test_titles_that_the_portal_gave_are_translated_and_others_are_not(portal_app: Flask) -> None:
    with portal_app.test_request_context(headers={"Accept-Language": "zh-CN"}):
        assert title_of("This machine") == "本机" != title_of("This machine!") == "This machine!"


def test_titles_of_the_portal_are_chinese_wherever_they_stand(admin: Person, browse: Callable[[Person], Browser]) -> None:
    made = admin.create("wenzi", "echo")["id"]
    project = admin.get("projects").get_json()["items"][0]
    tenant = f"/tenants/{project['tenant_id']}"
    browser = browse(admin)
    browser.post("/language", {"language": "zh_Hans"})
    for page in (
        "/instances", f"/instances/{made}", f"/instances/{made}/events", "/clusters", "/clusters/new", "/tenants",
        tenant, f"{tenant}/members", "/policies/new?kind=adapters",
    ):  # fmt: skip
        shown = browser.page(page)
        assert [title for title in OWN_TITLES if title in shown] == [], page
