"""The page of the API in another language: what Swagger UI says by itself, and the groups of operations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from clawportal.web.api_words import WORDS
from tests.conftest import Person

BUNDLE = Path(__file__).parents[2] / "static" / "vendor" / "swagger-ui" / "swagger-ui-bundle.js"


def words_of(admin: Person, language: str) -> dict[str, dict[str, str]]:
    text = admin.browser().get("/api-docs", headers={"Accept-Language": language}).get_data(as_text=True)
    found = re.search(r'<script type="application/json" id="api-words">(.*?)</script>', text)
    assert found is not None
    words: dict[str, dict[str, str]] = json.loads(found[1])
    return words


def test_each_word_is_one_of_the_bundle() -> None:
    bundle = BUNDLE.read_text(encoding="utf-8")
    assert [word for word in WORDS if f'"{word}"' not in bundle and f'"{word} "' not in bundle] == []


@pytest.mark.parametrize("language", ["en", "de"])
def test_english_needs_none(admin: Person, language: str) -> None:
    assert words_of(admin, language) == {"page": {}, "tags": {}}


def test_all_groups_have_a_title_in_chinese(admin: Person) -> None:
    found = words_of(admin, "zh-CN")
    assert set(found["page"]) == set(WORDS) and found["page"]["Execute"] == "执行"
    document = admin.get("openapi.json", headers={"Accept-Language": "zh-CN"}).get_json()
    groups = {tag for ways in document["paths"].values() for way in ways.values() if isinstance(way, dict) for tag in way["tags"]}
    assert groups == {tag["name"] for tag in document["tags"]}, "the document is in English for everybody"
    tags = {text for tag in document["tags"] for text in (tag["name"], tag["description"])}
    assert tags <= set(found["tags"])
    english = [text for text, told in found["tags"].items() if text in tags and told.isascii()]
    assert english == []
