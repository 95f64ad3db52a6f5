"""The language of what the API says: English, unless Accept-Language or the page that asks wants another one."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import Person

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"}
BAD = {"name": "Bad Name", "adapter": "echo", "spec": {"model": {"provider": "openai", "base_url": "ftp://x"}}}


def test_problems_speak_the_language_of_the_caller(admin: Person) -> None:
    english = admin.get("instances/none")
    chinese = admin.get("instances/none", headers=CHINESE)
    assert english.get_json()["title"] == "There is no such thing here"
    assert chinese.get_json()["title"] == "此处没有该对象"
    assert english.get_json()["detail"].isascii() and not chinese.get_json()["detail"].isascii()
    assert (english.get_json()["code"], english.get_json()["type"]) == (chinese.get_json()["code"], chinese.get_json()["type"])
    assert {"Accept-Language"} <= {*english.vary} and {"Accept-Language"} <= {*chinese.vary}
    assert admin.get("instances/none", headers={"Accept-Language": "de"}).get_json() | {
        "request_id": ""
    } == english.get_json() | {"request_id": ""}


def test_every_finding_about_a_field_is_translated(admin: Person) -> None:
    answer = admin.post("instances", BAD, headers=CHINESE).get_json()
    found = {item["path"]: item["message"] for item in answer["errors"]}
    assert {"name", "spec.model.base_url"} <= found.keys()
    assert all(not message.isascii() for message in found.values()), found
    unknown = admin.post("instances", {"name": "a", "adapter": "echo", "colour": "red"}, headers=CHINESE).get_json()
    assert unknown["errors"][0]["path"] == "colour" and "字段" in unknown["errors"][0]["message"]


def test_events_and_operations_are_translated_and_names_are_not(admin: Person) -> None:
    made = admin.create("stopped")["id"]  # a name that is a sentence of ours, too

    def said(headers: dict[str, str]) -> list[str]:
        answer: Any = admin.get(f"instances/{made}/events", headers=headers).get_json()
        return [item["message"] for item in answer["items"]]

    assert "stopped was created." in said({})
    assert "stopped 已创建。" in said(CHINESE)
    steps = admin.get("operations", headers=CHINESE).get_json()["items"][0]
    assert (steps["title"], steps["subject"], steps["message"]) == ("新建", "stopped", "等待处理")
    assert admin.get(f"instances/{made}", headers=CHINESE).get_json()["name"] == "stopped"


def test_scripts_of_a_page_get_the_language_of_the_page(admin: Person) -> None:
    browser = admin.browser()
    assert browser.get("/api/v1/instances/none").get_json()["title"] == "There is no such thing here"
    browser.set_cookie("clawportal_language", "zh_Hans")
    assert browser.get("/api/v1/instances/none").get_json()["title"] == "此处没有该对象"


def test_what_is_kept_is_the_message_and_not_one_language(admin: Person) -> None:
    made = admin.post("instances", {"name": "kept", "adapter": "echo"}, headers=CHINESE)
    events = admin.get(f"instances/{made.get_json()['id']}/events").get_json()
    assert "kept was created." in json.dumps(events)


def test_what_a_refusal_names_is_in_the_same_language(admin: Person) -> None:
    """No English words inside of a Chinese sentence: phases, advice, lists."""
    one = admin.create("stopped-one", start=False)["id"]
    refused = admin.post(f"instances/{one}/chat", {"text": "Hello"}, headers=CHINESE).get_json()["detail"]
    assert "stopped-one" in refused and not any(word in refused for word in ("pending", "stopped ", "Start", "Wait")), refused
    bad = admin.post("instances", BAD, headers=CHINESE).get_json()["detail"]
    assert "created" not in bad and "Bad Name" not in bad
    sorts = admin.get("instances?sort=colour", headers=CHINESE).get_json()["detail"]
    assert "name、created_at" in sorts and "name, created_at" in admin.get("instances?sort=colour").get_json()["detail"]
    path = admin.get(f"instances/{one}/files?path=etc", headers=CHINESE).get_json()["detail"]
    assert "work、state、home" in path


def test_what_is_built_as_a_model_is_translated_too(admin: Person) -> None:
    def words(headers: dict[str, str]) -> tuple[str, str, str]:
        (kind,) = [item for item in admin.get("adapters", headers=headers).get_json()["items"] if item["kind"] == "echo"]
        alone = admin.get("adapters/echo", headers=headers).get_json()
        assert alone["description"] == kind["description"]
        parts = admin.get("/readyz", headers=headers).get_json()["parts"]
        return kind["description"], parts["database"]["message"], parts["disk"]["message"]

    english, chinese = words({}), words(CHINESE)
    assert all(text.isascii() for text in english) and english[1] == "answers"
    assert not any(text.isascii() for text in chinese), chinese
    plugin = admin.get("plugins/clawportal_echo", headers=CHINESE).get_json()
    assert plugin["name"] == "clawportal_echo" and plugin["hooks"] == ["register_adapters"]
