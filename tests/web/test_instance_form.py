"""Create and edit: the form comes back with what was typed, secrets excepted, and two editors cannot overwrite each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from clawportal.db import db
from clawportal.models import Instance, InstanceSecret
from tests.conftest import People, Person
from tests.web.conftest import Browser, errors_of, form_of

Browse = Callable[[Person], Browser]
SECRET = "sk-very-secret-value"


def count(app: Flask) -> int:
    with app.app_context():
        return db.session.query(Instance).count()


def test_the_defaults_are_enough(admin: Person, browse: Browse) -> None:
    browser = browse(admin)
    form = form_of(browser.page("/instances/new?adapter=echo"))
    assert form["name"] == "echo-1" and form["adapter"] == "echo"
    answer = browser.post("/instances/new", form)
    assert answer.status_code == 303 and "echo-1 was created" in browser.page(answer.headers["Location"])
    assert form_of(browser.page("/instances/new?adapter=echo"))["name"] == "echo-2"


def test_the_practice_model_is_chosen_while_it_is_on(admin: Person, browse: Browse) -> None:
    browser = browse(admin)
    assert form_of(browser.page("/instances/new?adapter=nanobot"))["spec.model.provider"] == "openai-compatible"
    browser.post("/about/practice", {"practice": "true"})
    assert form_of(browser.page("/instances/new?adapter=nanobot"))["spec.model.provider"] == "practice"


def test_create_then_edit_round_trip(admin: Person, browse: Browse) -> None:
    browser = browse(admin)
    form = form_of(browser.page("/instances/new?adapter=nanobot"))
    for name, value in {
        "name": "round", "spec.model.provider": "openai", "spec.model.name": "gpt-x", "spec.persona": "Two\nlines & <tags>",
        "secrets.model_api_key": SECRET, "spec.settings.temperature": "0.7", "spec.resources.memory": "768Mi",
    }.items():  # fmt: skip
        form[name] = value
    form.setlist("spec.settings.exec_enabled", ["false", "true"])
    answer = browser.post("/instances/new", form, htmx=True)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    url = answer.headers["HX-Redirect"]
    page = browser.page(f"{url}/edit")
    assert SECRET not in page and "stored; type to replace" in page
    edited = form_of(page)
    for name in ("spec.model.name", "spec.persona", "spec.settings.temperature", "spec.resources.memory"):
        assert edited[name] == form[name], name
    assert edited.getlist("spec.settings.exec_enabled")[-1] == "true"
    before = stored(admin, "round")
    assert browser.post(f"{url}/edit", edited).status_code == 303
    assert stored(admin, "round") == before  # an untouched form changes nothing
    for tab in ("", "/config", "/edit", "/events", "/operations"):
        assert SECRET not in browser.page(url + tab)


def stored(person: Person, name: str) -> dict[str, object]:
    with person.app.app_context():
        return dict(db.session.query(Instance).filter_by(name=name).one().spec)


def test_bad_input_comes_back(admin: Person, browse: Browse) -> None:
    browser = browse(admin)
    form = form_of(browser.page("/instances/new?adapter=nanobot"))
    for name, value in {
        "name": "Not A Name", "spec.settings.temperature": "warm", "spec.settings.max_tokens": "1", "spec.persona": "kept text",
        "secrets.model_api_key": SECRET, "spec.model.provider": "openai", "spec.resources.memory": "lots",
    }.items():  # fmt: skip
        form[name] = value
    answer = browser.post("/instances/new", form)
    text = answer.get_data(as_text=True)
    assert answer.status_code == 422 and count(admin.app) == 0
    for kept in ('value="Not A Name"', 'value="warm"', "kept text", 'value="lots"'):
        assert kept in text, kept
    assert SECRET not in text
    assert "must be a number" in text and "small letters" in text and "is not a quantity" in text
    errors = errors_of(browser.post("/instances/new", form, htmx=True))
    assert {"name", "spec.settings.temperature"} <= set(errors)


def test_errors_while_one_types(admin: Person, browse: Browse) -> None:
    browser = browse(admin)
    form = form_of(browser.page("/instances/new?adapter=echo"))
    form["validate"] = "1"
    answer = browser.post("/instances/new", form, htmx=True)
    assert answer.status_code == 200 and errors_of(answer) == {} and "data-tried" not in answer.get_data(as_text=True)
    form["name"] = "Upper"
    assert set(errors_of(browser.post("/instances/new", form, htmx=True))) == {"name"}
    assert count(admin.app) == 0
    admin.create("taken")
    form["name"] = "taken"
    assert "already an instance" in errors_of(browser.post("/instances/new", form, htmx=True))["name"]


def test_another_kind_keeps_what_was_typed(admin: Person, browse: Browse) -> None:
    browser = browse(admin)
    form = form_of(browser.page("/instances/new?adapter=nanobot"))
    form["spec.persona"], form["adapter"], form["secrets.model_api_key"] = "same person", "openclaw", SECRET
    text = browser.post("/instances/new?part=settings", form, htmx=True).get_data(as_text=True)
    assert 'data-adapter="openclaw"' in text and "same person" in text and 'value="openclaw-1"' in text and SECRET not in text
    form["name"], form["adapter"] = "my-own-name", "echo"
    assert 'value="my-own-name"' in browser.post("/instances/new?part=settings", form, htmx=True).get_data(as_text=True)


def test_an_unknown_kind_or_version_is_told(admin: Person, browse: Browse) -> None:
    browser = browse(admin)
    assert browser.post("/instances/new", {"adapter": "ghost", "name": "x"}).status_code == 422
    browser.page("/instances/new?adapter=ghost", status=422)
    form = form_of(browser.page("/instances/new?adapter=echo"))
    form["version"] = "0.0.0"
    answer = browser.post("/instances/new", form, htmx=True)
    assert answer.status_code == 422 and "is not offered" in errors_of(answer)["version"]


@pytest.mark.parametrize("htmx", [True, False])
def test_pressing_twice_makes_one(admin: Person, browse: Browse, htmx: bool) -> None:
    browser = browse(admin)
    form = form_of(browser.page("/instances/new?adapter=echo"))
    where = "HX-Redirect" if htmx else "Location"
    first, second = (browser.post("/instances/new", form, htmx=htmx).headers[where] for _ in range(2))
    assert first == second and count(admin.app) == 1
    form["name"] = "another"
    assert browser.post("/instances/new", form, htmx=htmx).headers[where] != first
    assert count(admin.app) == 2


def test_two_editors(people: People, browse: Browse) -> None:
    made = people.owner.create("shared", spec={"persona": "first"})["id"]
    one, two = browse(people.owner), browse(people.developer)
    mine, theirs = form_of(one.page(f"/instances/{made}/edit")), form_of(two.page(f"/instances/{made}/edit"))
    theirs["spec.restart"], mine["spec.restart"] = "never", "on-failure"
    assert two.post(f"/instances/{made}/edit", theirs).status_code == 303
    for htmx in (True, False):
        answer = one.post(f"/instances/{made}/edit", mine, htmx=htmx)
        text = answer.get_data(as_text=True)
        assert answer.status_code == 412 and ("<html" in text) is not htmx
        assert "developer saved it" in text and "spec.restart" in text and "never" in text
        assert ('<option value="on-failure" selected>' in text) is not htmx
    assert stored(people.owner, "shared")["restart"] == "never"
    mine["overwrite"] = text.split('name="overwrite" value="')[1].split('"')[0]
    assert one.post(f"/instances/{made}/edit", mine).status_code == 303
    assert stored(people.owner, "shared")["restart"] == "on-failure"


def test_a_new_secret_replaces_and_none_keeps(admin: Person, browse: Browse) -> None:
    browser = browse(admin)
    model = {"provider": "openai", "name": "gpt-x"}
    made = admin.create("keyed", "nanobot", spec={"model": model}, secrets={"model_api_key": SECRET})["id"]

    def sealed() -> bytes:
        with admin.app.app_context():
            return bytes(db.session.query(InstanceSecret).filter_by(instance_id=made, name="model_api_key").one().sealed)

    before = sealed()
    form = form_of(browser.page(f"/instances/{made}/edit"))
    assert browser.post(f"/instances/{made}/edit", form).status_code == 303 and sealed() == before
    form = form_of(browser.page(f"/instances/{made}/edit"))
    form["secrets.model_api_key"] = "sk-another"
    assert browser.post(f"/instances/{made}/edit", form).status_code == 303 and sealed() != before


def test_what_is_being_deleted_cannot_be_edited(admin: Person, browse: Browse) -> None:
    made = admin.create("going")["id"]
    admin.delete(f"instances/{made}")
    assert "being deleted" in browse(admin).page(f"/instances/{made}/edit", status=409)
