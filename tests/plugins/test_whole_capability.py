"""The example plugin is a whole capability in a wheel: installed beside the portal's it is all there, taken out it is gone."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.portal import PASSWORD, ROOT, _form, wait_for
from tests.plugins.sites import InstalledPortal, Site, wheel_of

EXAMPLE = ROOT / "tests" / "plugin_example"


@pytest.fixture
def site(tmp_path: Path, built_portal: Path) -> Site:
    made = Site.make(tmp_path / "site")
    made.install(built_portal)
    return made


@contextmanager
def browser(portal: InstalledPortal, language: str = "en") -> Iterator[httpx.Client]:
    """Somebody who signed in with a browser that prefers this language."""
    headers = {"Accept-Language": language, "Accept": "text/html"}
    with httpx.Client(base_url=portal.url, follow_redirects=True, timeout=30, headers=headers) as client:
        client.post("/login", data=_form(client, "/login", username="admin", password=PASSWORD))
        yield client


def database(portal: InstalledPortal, statement: str) -> list[Any]:
    with closing(sqlite3.connect(portal.folder / "clawportal.db", timeout=20)) as connection, connection:
        return connection.execute(statement).fetchall()


@pytest.mark.slow
def test_a_capability_comes_goes_and_comes_back(site: Site, tmp_path: Path) -> None:
    notebook, wheel = tmp_path / "notebook.txt", wheel_of(EXAMPLE, tmp_path)
    route = {"via": "notebook", "to": str(notebook), "kinds": ["note.*"], "least": "info", "language": "zh_Hans"}
    portal = InstalledPortal(
        site, tmp_path / "data", NOTES_CLOSE_AFTER_SECONDS="1", NOTICES_ROUTES=json.dumps([route]), RATE_LIMIT=""
    )
    site.install(wheel)
    try:
        portal.start()
        portal.set_up(practice=False)
        claw = portal.create("helper", start=False)["id"]
        there(portal, claw)
        wait_for(lambda: notebook.exists() and notebook.read_text().count("\n") >= 2, 30, "the notebook is written")
        assert "写下了一条笔记。" in notebook.read_text()
        portal.stop()
        rows = database(portal, "SELECT count(*) FROM notes_note")

        site.uninstall("clawportal-notes")
        portal.start()
        gone(portal, claw)
        assert database(portal, "SELECT count(*) FROM notes_note") == rows, "its data stays"
        portal.stop()
        database(portal, "UPDATE notes_note SET closed_at = NULL")

        site.install(wheel)
        portal.start()
        there_again(portal, claw)
    finally:
        portal.end()


# ---- with it


def there(portal: InstalledPortal, claw: str) -> None:
    the_api_works_and_is_described(portal, claw)
    rights_came(portal)
    pages_work(portal, claw)
    what_is_not_urgent_is_closed_by_itself(portal)
    the_audit_tells_it(portal, claw)
    figures_and_rules_see_it(portal, claw)
    commands_work(portal)


def the_api_works_and_is_described(portal: InstalledPortal, claw: str) -> None:
    made = portal.api("POST", "notes", {"instance": claw, "text": "Ask Kim first.", "urgent": True}, 201)
    assert portal.api("GET", f"notes/{made['id']}")["text"] == "Ask Kim first."
    assert portal.api("GET", f"notes?instance={claw}")["total"] == 1
    portal.api("POST", "notes", {"instance": claw, "text": " "}, 422)
    document = portal.api("GET", "openapi.json")
    assert document["paths"]["/notes"]["post"]["operationId"] == "create_note"
    assert {"name": "Notes", "description": "What people wrote down about their claws."} in document["tags"]


def rights_came(portal: InstalledPortal) -> None:
    assert {"notes.read", "notes.write"} <= rights(portal, "developer")
    assert rights(portal, "viewer") & {"notes.read", "notes.write"} == {"notes.read"}


def rights(portal: InstalledPortal, role: str) -> set[str]:
    tenant = portal.api("GET", "tenants")["items"][0]["id"]
    known = {one["name"]: one for one in portal.api("GET", f"tenants/{tenant}/roles")["items"]}
    return set(known[role]["permissions"])


def pages_work(portal: InstalledPortal, claw: str) -> None:
    with browser(portal) as client:
        assert 'href="/notes"' in client.get("/").text, "the menu leads there"
        page = client.get("/notes").text
        assert "Ask Kim first." in page
        files = re.findall(r'"(/static/notes/[^"]+)"', page)
        assert len(files) == 2 and all(client.get(address).status_code == 200 for address in files)
        assert f"/instances/{claw}/notes" in client.get(f"/instances/{claw}").text, "the claw has its tab"
        address = f"/instances/{claw}/notes"
        assert client.post(address, data=_form(client, address, text=" ")).status_code == 422
        written = client.post(address, data=_form(client, address, text="Reads <b>mail</b>."))
        assert "Reads &lt;b&gt;mail&lt;/b&gt;." in written.text and "The note was written." in written.text
    with browser(portal, "zh-CN") as client:
        assert "笔记" in client.get("/notes").text and "写下" in client.get(f"/instances/{claw}/notes").text


def what_is_not_urgent_is_closed_by_itself(portal: InstalledPortal) -> None:
    def closed() -> list[str]:
        return [one["text"] for one in portal.api("GET", "notes")["items"] if one["closed_at"]]

    wait_for(lambda: closed() == ["Reads <b>mail</b>."], 20, "the job closes it")


def the_audit_tells_it(portal: InstalledPortal, claw: str) -> None:
    found = portal.api("GET", f"audit?instance={claw}&action=note")["items"]
    assert {(one["action"], one["object_type"]) for one in found} == {("note.create", "note")}
    assert [one["after"].get("text") for one in found if one["result"] == "ok"] == ["Reads <b>mail</b>.", "Ask Kim first."]
    assert [one["reason"] for one in found if one["result"] == "refused"] == ["must have 1 to 2000 characters"]
    with browser(portal, "zh-CN") as client:
        assert "admin 写下了一条有关 helper 的笔记。" in client.get("/audit").text
    kinds = {one["kind"] for one in portal.api("GET", f"instances/{claw}/events")["items"]}
    assert {"note.created", "note.closed"} <= kinds


def figures_and_rules_see_it(portal: InstalledPortal, claw: str) -> None:
    assert 'clawportal_notes_open{urgent="true"} 1.0' in metrics(portal)
    assert "notes_urgent" in {one["name"] for one in portal.api("GET", "policy-kinds")["facts"]}
    rule = {"tenant": None, "name": "calm", "kind": "expression", "parameters": {"expression": "facts.notes_urgent == 0"}}
    made = portal.api("POST", "policies", rule, 201)
    portal.api("POST", f"instances/{claw}/start", status=409)
    portal.api("DELETE", f"policies/{made['id']}")


def metrics(portal: InstalledPortal) -> str:
    return httpx.get(f"{portal.url}/metrics", headers={"Authorization": f"Bearer {portal.token}"}, timeout=30).text


def commands_work(portal: InstalledPortal) -> None:
    assert portal.command("notes") == "1 open\n"
    assert "Ask Kim first." in portal.claw("note", "list", "helper")
    assert portal.claw("note", "write", "helper", "By hand.").strip()
    assert "CLAWPORTAL_NOTES_MOST=100" in portal.command("settings")
    assert re.search(r"FAIL +notes: closed by themselves after 1 s\n", portal.command("doctor"))
    assert re.search(r"notes +1\.0\.0 +installed", portal.command("plugins"))


# ---- without it


def gone(portal: InstalledPortal, claw: str) -> None:
    portal.api("GET", "notes", status=404)
    assert not [path for path in portal.api("GET", "openapi.json")["paths"] if path.startswith("/notes")]
    assert not {name for name in rights(portal, "tenant-admin") if name.startswith("notes.")}
    with browser(portal, "zh-CN") as client:
        assert client.get("/notes").status_code == 404 and client.get(f"/instances/{claw}/notes").status_code == 404
        assert client.get("/static/notes/notes.css").status_code == 404
        for address in ("/", f"/instances/{claw}"):
            assert "/notes" not in client.get(address).text and "笔记" not in client.get(address).text
    assert "clawportal_notes" not in metrics(portal)
    assert "notes_urgent" not in {one["name"] for one in portal.api("GET", "policy-kinds")["facts"]}
    assert "No such command 'notes'" in portal.command("notes") and "No such command 'note'" in portal.claw("note", "list")
    assert "notes" not in portal.command("plugins")
    assert "There is no notifier 'notebook'" in portal.command("doctor")
    told = [one["kind"] for one in portal.api("GET", f"instances/{claw}/events")["items"]]
    assert "note.created" in told, "what happened stays told"


# ---- and back


def there_again(portal: InstalledPortal, claw: str) -> None:
    found = portal.api("GET", f"notes?instance={claw}")["items"]
    assert {one["text"] for one in found} == {"Ask Kim first.", "Reads <b>mail</b>.", "By hand."}
    assert {"notes.read", "notes.write"} <= rights(portal, "developer")
    assert 'clawportal_notes_open{urgent="true"} 1.0' in metrics(portal)
    with browser(portal, "zh-CN") as client:
        assert "笔记" in client.get("/").text and "Ask Kim first." in client.get("/notes").text
    what_is_closed = "SELECT count(*) FROM notes_note WHERE closed_at IS NOT NULL"
    wait_for(lambda: database(portal, what_is_closed) == [(2,)], 20, "its timer runs again")
    assert portal.command("notes") == "1 open\n"
