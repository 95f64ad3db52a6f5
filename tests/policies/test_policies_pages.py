"""The pages of rules: by mouse only, without scripts, for every role."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from clawportal.db import db
from clawportal.models import Project
from clawportal_policies.kinds import EXAMPLES, KINDS
from tests.conftest import People, make_person
from tests.rights.test_rights_pages import Browser

FORMS: dict[str, dict[str, Any]] = {
    "adapters": {"parameters.allowed": "nanobot\n\nopenclaw "},
    "versions": {"parameters.adapter": "nanobot", "parameters.allowed": ">=0.3,<0.5"},
    "models": {"parameters.providers": "practice\nopenai", "parameters.models": ""},
    "runtimes": {"parameters.allowed": "process"},
    "clusters": {"parameters.allowed": "local"},
    "size": {"parameters.cpu": "2", "parameters.memory": ""},
    "labels": {"parameters.required": "team=support*\nowner"},
    "settings": {"parameters.forbidden": "expose\nrestart=never"},
    "hours": {
        "parameters.weekdays": ["mon", "sun"], "parameters.from": "08:00", "parameters.to": "18:00",
        "parameters.timezone": "Europe/Berlin", "actions": ["stop", "delete"],
    },
    "expression": {"parameters.expression": 'instance.name != "x"\r\n&& true'},
}  # fmt: skip


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def test_each_kind_has_a_form_that_keeps_what_is_typed(people: People, home: str) -> None:
    owner = Browser(people.owner)
    assert "No rules yet" in owner.page(f"/tenants/{home}/policies")
    chooser = owner.page(f"/tenants/{home}/policies/new")
    for kind, fields in FORMS.items():
        assert f"/tenants/{home}/policies/new?kind={kind}" in chooser
        text = owner.page(f"/tenants/{home}/policies/new?kind={kind}")
        names = set(re.findall(r'name="(parameters\.\w+)"', text))
        assert names == {f"parameters.{name}" for name in KINDS[kind].model_json_schema()["properties"]}, "only its own fields"
        where = owner.done(f"/tenants/{home}/policies/new", kind=kind, name=f"a-{kind}", title=f"T {kind}", mode="warn", **fields)
        stored = people.owner.get(f"policies/{where.rsplit('/', 1)[1]}").get_json()
        assert stored["kind"] == kind and stored["mode"] == "warn" and stored["enabled"]
        assert f"T {kind}" in owner.page(where)
        edited = owner.done(f"{where}/edit", **edit_fields(owner.page(f"{where}/edit")))
        again = people.owner.get(f"policies/{where.rsplit('/', 1)[1]}").get_json()
        assert {**again, "updated_at": ""} == {**stored, "updated_at": ""} and edited == where, "saving unchanged changes nothing"
    assert owner.page(f"/tenants/{home}/policies").count("<tr>") == len(KINDS) + 1
    owner.page(f"/tenants/{home}/policies/new?kind=magic", 404)


def edit_fields(text: str) -> dict[str, Any]:
    """What a browser would send of the form as it came."""
    import html

    form = text[text.index('<form class="stack"') :]
    found: dict[str, Any] = {}
    for tag in re.findall(r"<input [^>]*>", form[: form.index("</form>")]):
        given = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if given.get("type") in ("checkbox", "radio") and " checked" not in tag:
            continue
        if "name" in given and given["name"] != "csrf_token" and not given["name"].startswith("change."):
            found.setdefault(given["name"], []).append(html.unescape(given.get("value", "")))
    for name, value in re.findall(r'<textarea [^>]*name="([^"]+)"[^>]*>\n(.*?)</textarea>', form, re.S):
        if not name.startswith("change."):
            found[name] = [html.unescape(value).replace("\n", "\r\n")]
    return found


def test_each_example_can_be_saved_as_it_is(people: People, home: str) -> None:
    owner = Browser(people.owner)
    listed = owner.page(f"/tenants/{home}/policies")
    for name in EXAMPLES:
        assert f"example={name}" in listed
        fields = edit_fields(owner.page(f"/tenants/{home}/policies/new?example={name}"))
        assert fields["name"] == [name]
        owner.done(f"/tenants/{home}/policies/new", **fields)
    assert people.owner.get("policies").get_json()["total"] == len(EXAMPLES)


def test_wrong_entries_come_back_with_what_was_typed(people: People, home: str) -> None:
    owner = Browser(people.owner)
    answer = owner.post(f"/tenants/{home}/policies/new", kind="expression", name="No", **{"parameters.expression": "true && <b>"})
    text = answer.get_data(as_text=True)
    assert answer.status_code == 422 and "true &amp;&amp; &lt;b&gt;" in text and "Line 1, column" in text and 'value="No"' in text
    answer = owner.post(f"/tenants/{home}/policies/new", kind="size", name="ok", **{"parameters.cpu": "lots"})
    assert answer.status_code == 422 and 'value="lots"' in answer.get_data(as_text=True)
    answer = owner.post(f"/tenants/{home}/policies/new", kind="magic", name="ok")
    assert answer.status_code == 404


def test_switching_deleting_and_what_breaks_it(people: People, home: str) -> None:
    owner = Browser(people.owner)
    people.owner.create("one")
    rule = owner.done(f"/tenants/{home}/policies/new", kind="labels", name="teams", **{"parameters.required": "team"})
    text = owner.page(rule)
    assert "1 instance breaks it" in text and ">one<" in text and "The label team is missing." in text
    owner.done(f"{rule}/switch", enabled="false")
    assert "Off" in owner.page(rule)
    assert owner.done(f"{rule}/switch", enabled="true", next=f"/tenants/{home}/policies").endswith("/policies")
    assert "Delete teams?" in owner.page(f"{rule}/delete")
    assert owner.done(f"{rule}/delete").endswith(f"/tenants/{home}/policies")
    owner.page(rule, 404)


def test_a_refused_create_keeps_the_form_and_names_the_rule(people: People, home: str) -> None:
    owner = Browser(people.owner)
    owner.done(f"/tenants/{home}/policies/new", kind="adapters", name="no-echo", title="Only <nanobot>", remedy="Ask Kim.",
               **{"parameters.allowed": "nanobot"})  # fmt: skip
    answer = owner.post("/instances/new", adapter="echo", name="kept-name")
    text = answer.get_data(as_text=True)
    assert answer.status_code == 409 and 'value="kept-name"' in text and "Only &lt;nanobot&gt;" in text and "Ask Kim." in text
    page = owner.page("/instances/new?adapter=echo")
    assert "Not allowed by the rule Only &lt;nanobot&gt;" in page
    people.owner.patch(f"policies/{people.owner.get('policies').get_json()['items'][0]['id']}", {"mode": "warn"})
    where = owner.done("/instances/new", adapter="echo", name="soft-name")
    assert "warns: echo is not allowed" in owner.page(where)
    answer = owner.client.post(f"{where}/restart", headers={"HX-Request": "true", "X-CSRFToken": token(owner)})
    assert answer.status_code == 204 and "warning" in answer.headers["HX-Trigger"] and "Ask Kim." in answer.headers["HX-Trigger"]


def test_what_a_rule_refuses_follows_the_project(people: People, home: str, portal_app: Flask) -> None:
    acme = Browser(people.stranger)
    acme.done(f"/tenants/{people.acme}/policies/new", kind="adapters", name="no-echo", title="No echo here",
              **{"parameters.allowed": "nanobot"})  # fmt: skip
    with portal_app.app_context():
        projects = {row.tenant_id: row.id for row in db.session.scalars(select(Project))}
    admin = Browser(people.admin)
    page = admin.page("/instances/new?adapter=echo")
    assert 'hx-post="/instances/new?part=project"' in page
    typed = {"adapter": "echo", "name": "kept-name", "spec.settings.greeting": "Good day"}
    for project, marked in ((projects[people.acme], True), (projects[home], False)):
        part = admin.post("/instances/new?part=project", **typed, project_id=project).get_data(as_text=True)
        assert 'hx-swap-oob="true"' in part and ("No echo here" in part) is marked
        assert 'value="kept-name"' in part and "Good day" in part and f'value="{project}" selected' in part
    assert "hx-swap-oob" not in admin.post("/instances/new?part=settings", **typed).get_data(as_text=True)


def token(browser: Browser) -> str:
    found = re.search(r'<meta name="csrf-token" content="([^"]+)">', browser.page("/profile"))
    assert found
    return found[1]


def test_trying_by_mouse_only(people: People, home: str) -> None:
    owner, one = Browser(people.owner), people.owner.create("one")["id"]
    where = f"/tenants/{home}/policies/dry-run"
    assert ">one</option>" in owner.page(where)
    owner.done(f"/tenants/{home}/policies/new", kind="size", name="small", **{"parameters.memory": "1Gi", "parameters.cpu": ""})

    def tried(**change: str) -> str:
        answer = owner.post(where, **{f"change.{name}": value for name, value in change.items()})
        assert answer.status_code == 200, answer.get_data(as_text=True)[-1500:]
        return str(answer.get_data(as_text=True))

    assert "would go through" in tried(action="start", instance=one)
    text = tried(action="update", instance=one, memory="2Gi")
    assert "would be refused" in text and "2Gi memory is more than 1Gi" in text
    assert "It does not look at this action." in tried(action="delete", instance=one, memory="2Gi")
    assert owner.post(where, **{"change.action": "create"}).status_code == 422
    assert owner.post(where, **{"change.adapter": "echo", "change.at": "soon"}).status_code == 422
    draft = {"kind": "hours", "name": "", "parameters.weekdays": ["mon"], "parameters.from": "08:00", "parameters.to": "18:00",
             "parameters.timezone": "UTC", "change.adapter": "echo"}  # fmt: skip
    text = owner.post(where, **draft, **{"change.at": "2026-11-22T09:00"}).get_data(as_text=True)
    assert "This rule, not saved yet" in text and "It is Sun 09:00 in UTC" in text
    text = owner.post(where, **draft, **{"change.at": "2026-11-23T09:00"}).get_data(as_text=True)
    assert "This rule, not saved yet" in text and "It is Mon" not in text
    draft = {"kind": "labels", "parameters.required": "team"}
    assert "1 instance breaks it" in owner.post(where, **draft).get_data(as_text=True)
    assert people.owner.get("policies").get_json()["total"] == 1, "nothing is stored"
    viewer = Browser(people.viewer)
    assert viewer.post(where, **{"change.adapter": "echo"}).status_code == 200
    assert viewer.post(where, **draft).status_code == 403


@pytest.mark.parametrize(
    ("role", "reads", "writes", "portal"),
    [
        ("portal-admin", True, True, True), ("portal-auditor", True, False, False), ("tenant-admin", True, True, False),
        ("developer", True, False, False), ("viewer", True, False, False), ("guest", False, False, False),
    ],
)  # fmt: skip
def test_who_sees_which_page(people: People, home: str, role: str, reads: bool, writes: bool, portal: bool) -> None:
    adapters = {"kind": "adapters", "parameters": {"allowed": ["*"]}}
    own = people.owner.post("policies", {"tenant": home, "name": "own", **adapters}).get_json()["id"]
    wide = people.admin.post("policies", {"tenant": None, "name": "wide", **adapters}).get_json()["id"]
    person = Browser(make_person(people.owner.app, "somebody", role, "" if role.startswith("portal-") else "default"))
    wanted = {
        f"/tenants/{home}/policies": reads, f"/policies/{own}": reads, f"/policies/{wide}": reads, "/policies": reads,
        f"/tenants/{home}/policies/dry-run": reads, f"/tenants/{home}/policies/new?kind=size": writes,
        f"/policies/{own}/edit": writes, f"/policies/{own}/delete": writes, "/policies/new?kind=hours": portal,
        f"/policies/{wide}/edit": portal, f"/policies/{wide}/delete": portal,
    }  # fmt: skip
    for path, good in wanted.items():
        answer = person.client.get(path)
        text = answer.get_data(as_text=True)
        assert (answer.status_code == 200) is good and answer.status_code in (200, 403, 404), (path, answer.status_code)
        assert "style=" not in text and "onclick" not in text
    if reads:
        assert ("/switch" in person.page(f"/policies/{own}")) is writes
        assert ("/switch" in person.page(f"/policies/{wide}")) is portal


def test_rules_of_the_whole_portal_by_mouse_only(people: People, home: str) -> None:
    admin = Browser(people.admin)
    assert "/policies" in admin.page("/tenants")
    rule = admin.done("/policies/new", kind="adapters", name="no-echo", **{"parameters.allowed": "nanobot"})
    assert "whole portal" in Browser(people.stranger).page(f"/tenants/{people.acme}/policies")
    draft = {"kind": "adapters", "parameters.allowed": "nanobot", "change.adapter": "echo", "change.tenant": people.acme}
    text = admin.post("/policies/dry-run", **draft).get_data(as_text=True)
    assert "This rule, not saved yet" in text
    assert Browser(people.owner).post("/policies/dry-run", **draft).status_code in (403, 404)
    assert admin.done(f"{rule}/delete") == "/policies"
