"""Labels in the browser: on the forms, as chips and as a filter of the list, and of many at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from clawportal.errors import Invalid
from clawportal.services.fleet import labels
from clawportal.services.fleet.labels import Term
from tests.conftest import People
from tests.web.conftest import Browser, form_of

Browse = Callable[..., Browser]


def pairs(form: Any, **given: str) -> Any:
    form.setlist("labels.name", [*given, ""])
    form.setlist("labels.value", [*given.values(), ""])
    return form


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()), (" ", ()), ("team=research", (Term("team", ("research",)),)), ("team==a", (Term("team", ("a",)),)),
        ("team != a", (Term("team", ("a",), True),)), ("team", (Term("team"),)), ("!team", (Term("team", (), True),)),
        ("! old , team in ( a, b ),x/y.z", (Term("old", (), True), Term("team", ("a", "b")), Term("x/y.z"))),
        ("team notin (a)", (Term("team", ("a",), True),)), ("in in (in)", (Term("in", ("in",)),)),
        ("big=", (Term("big", ("",)),)),
    ],
)  # fmt: skip
def test_what_a_selector_says(text: str, terms: tuple[Term, ...]) -> None:
    assert labels.selector(text) == terms


@pytest.mark.parametrize(
    "text", ["=a", "team in", "team in ()", "team in (a", "a b", "a=b=c", "!", "!!a", "(a)", "a,,b", ",", "a," * 30]
)
def test_a_selector_that_says_nothing_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid) as told:
        labels.selector(text)
    assert "team=research" in told.value.errors[0].message


def test_lists_are_narrowed_by_labels(people: People) -> None:
    for name, given in (
        ("a", {"team": "research"}),
        ("b", {"team": "support", "old": ""}),
        ("c", {}),
        ("d", {"x.y/z": "research"}),
    ):
        people.owner.create(f"claw-{name}", labels=given)

    def found(selector: str) -> str:
        answer = people.owner.get("instances", query_string={"labels": selector, "sort": "name"})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return "".join(item["name"][-1] for item in answer.get_json()["items"])

    told = {
        "team=research": "a", "team!=research": "bcd", "team": "ab", "!team": "cd", "team in (research, support)": "ab",
        "team notin (research)": "bcd", "team,!old": "a", "old=": "b", "x.y/z=research": "d", "old": "b", "te": "", "": "abcd",
    }  # fmt: skip
    assert {selector: found(selector) for selector in told} == told
    assert people.owner.get("instances?labels=a%20b").get_json()["errors"][0]["path"] == "labels"


def test_a_claw_gets_its_team_in_the_form(people: People, browse: Browse) -> None:
    """The example rule asks for a team: the refusal stands at the labels, and with one the claw is made."""
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    rule = {"name": "team", "kind": "labels", "parameters": {"required": {"team": ""}}, "tenant": tenant}
    answer = people.admin.post("policies", rule)
    assert answer.status_code == 201, answer.get_data(as_text=True)
    browser = browse(people.owner)
    page = browser.page("/instances/new?adapter=echo")
    form = form_of(page)
    assert len(form.getlist("labels.name")) == 2, "without scripts there are two pairs to fill in"
    form["name"] = "teamless"
    refused = browser.post("/instances/new", form)
    text = refused.get_data(as_text=True)
    assert refused.status_code in (403, 409, 422) and 'data-goto="labels"' in text
    field = text[text.index('id="f-labels"') :]
    assert "The label team is missing" in field[: field.index("</fieldset>")]
    made = browser.post("/instances/new", pairs(form_of(text), team="research"))
    assert made.status_code == 303, made.get_data(as_text=True)[-1500:]
    item = people.owner.get("instances?name=teamless").get_json()["items"][0]
    assert item["labels"] == {"team": "research"}
    address = f"/instances/{item['id']}/edit"
    edit = form_of(browser.page(address))
    assert edit.getlist("labels.name") == ["team", "", ""] and edit.getlist("labels.value")[0] == "research"
    assert browser.post(address, pairs(edit, team="support", tier="gold")).status_code == 303
    assert people.owner.get(f"instances/{item['id']}").get_json()["labels"] == {"team": "support", "tier": "gold"}
    gone = browser.post(address, pairs(form_of(browser.page(address))))
    assert "The label team is missing" in gone.get_data(as_text=True)


def test_what_is_wrong_with_labels_is_told_and_nothing_is_lost(people: People, browse: Browse) -> None:
    browser = browse(people.owner)
    form = form_of(browser.page("/instances/new?adapter=echo"))
    for given, words in (
        ({"": "x"}, "Give each label a name"),
        ({"a b": "x"}, "a b: Labels have letters"),
        ({"a": "x y"}, "a: Labels"),
    ):
        text = browser.post("/instances/new", pairs(form, **given)).get_data(as_text=True)
        field = text[text.index('id="f-labels"') :].split("</fieldset>")[0]
        assert words in field and f'value="{next(iter(given.values()))}"' in field
    form.setlist("labels.name", ["a", "a"])
    form.setlist("labels.value", ["1", "2"])
    assert "you named one twice" in browser.post("/instances/new", form).get_data(as_text=True)


def test_labels_of_many_at_once(people: People, browse: Browse) -> None:
    made = [people.owner.create(f"m-{number}", labels={"old": "x"})["id"] for number in range(3)]
    browser = browse(people.owner)
    told = browser.post("/instances/bulk", {"action": "label", "labels": "team=research, big", "ids": made}, htmx=True)
    assert told.status_code == 204 and "Labels of 3 instances were changed." in told.headers["HX-Trigger"]
    browser.post("/instances/bulk", {"action": "unlabel", "labels": "old", "ids": made[:2]}, htmx=True)
    found = [people.owner.get(f"instances/{one}").get_json()["labels"] for one in made]
    assert found == [{"team": "research", "big": ""}] * 2 + [{"old": "x", "team": "research", "big": ""}]
    assert browser.post("/instances/bulk", {"action": "label", "labels": " ,", "ids": made}, htmx=True).status_code == 422
    page = browser.page("/instances?labels=team%3Dresearch,!old")
    assert re.findall(r'data-name="(m-\d)"', page) == ["m-1", "m-0"] and 'href="/instances?labels=team%3Dresearch"' in page
    refused = people.viewer.post("instances/bulk", {"action": "label", "ids": made, "labels": {"team": "mine"}})
    assert refused.status_code == 403 or refused.get_json()["failed"] == 3
    api = people.owner.post("instances/bulk", {"action": "label", "ids": made, "labels": {"team": None}}).get_json()
    assert api["succeeded"] == 3
    assert people.owner.post("instances/bulk", {"action": "start", "ids": made, "labels": {"a": "b"}}).status_code == 422
