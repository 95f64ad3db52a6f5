"""Setting providers up by API, by page and by command, and what is said about mistakes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clawportal.cli import server
from tests.conftest import Person, make_person
from tests.sign_in.conftest import ELSEWHERE
from tests.single_sign_on.oidc_provider import CLIENT, SECRET, OpenIdProvider
from tests.single_sign_on.scene import Make, Scene

pytestmark = [pytest.mark.oidc, pytest.mark.xdist_group("oidc")]


def provider_body(there: OpenIdProvider, **more: Any) -> dict[str, Any]:
    body = {"slug": "sso", "title": "SSO", "issuer": there.url, "client_id": CLIENT, "secret": SECRET}
    return body | {"scopes": "openid profile email groups"} | more


def test_by_api(admin: Person, there: OpenIdProvider) -> None:
    there.reset("http://localhost/login/oidc/sso/callback")
    made = admin.post("oidc/providers", provider_body(there, tenant="default", role="viewer", email_domains=["@Example.com"]))
    assert made.status_code == 201, made.get_json()
    known = made.get_json()
    assert known["has_secret"] and known["email_domains"] == ["example.com"] and SECRET not in made.get_data(as_text=True)
    path = f"oidc/providers/{known['id']}"
    changed = provider_body(there, title="Single sign-on", secret=None, tenant="default")
    del changed["slug"]
    assert admin.put(path, changed).get_json()["title"] == "Single sign-on"
    checked = admin.post("oidc/check", provider_body(there, secret=None, provider_id=known["id"])).get_json()
    assert checked["ok"], checked
    group = admin.post(f"{path}/groups", {"group": "ops", "role": "operator", "tenant": "default"})
    assert group.status_code == 201 and group.get_json()["tenant"]
    assert admin.post(f"{path}/groups", {"group": "ops", "role": "viewer", "tenant": "default"}).status_code == 422
    assert [item["group"] for item in admin.get(f"{path}/groups").get_json()["items"]] == ["ops"]
    assert admin.delete(f"{path}/groups/{group.get_json()['id']}").status_code == 204
    entries = admin.get("audit?action=provider").get_json()["items"]
    assert entries and SECRET not in str(entries)
    assert admin.delete(path).status_code == 204 and admin.get("oidc/providers").get_json() == {"items": []}


WRONG_FIELDS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"slug": "Wrong Name"}, "slug"),
    ({"title": " "}, "title"),
    ({"issuer": "http://sso.example.com"}, "issuer"),
    ({"issuer": "ftp://x"}, "issuer"),
    ({"issuer": "https://user:word@sso.example.com"}, "issuer"),
    ({"issuer": "https://sso.example.com:99999"}, "issuer"),
    ({"issuer": "https://sso.example.com?x=1"}, "issuer"),
    ({"client_id": ""}, "client_id"),
    ({"scopes": "profile email"}, "scopes"),
    ({"email_domains": ["no domain"]}, "email_domains"),
    ({"groups_claim": "with space"}, "groups_claim"),
    ({"tenant": "nowhere"}, "tenant"),
    ({"tenant": "default", "role": "portal-admin"}, "role"),
)


def test_what_is_wrong_is_named(admin: Person) -> None:
    good = {"slug": "sso", "title": "SSO", "issuer": "https://sso.example.com", "client_id": "x"}
    for wrong, field in WRONG_FIELDS:
        answer = admin.post("oidc/providers", good | wrong)
        assert answer.status_code == 422 and [item["path"] for item in answer.get_json()["errors"]] == [field], wrong


def test_the_test_of_the_connection_says_what_is_missing(admin: Person, there: OpenIdProvider) -> None:
    def found(**more: Any) -> dict[str, str]:
        answer = admin.post("oidc/check", provider_body(there, **more)).get_json()
        return {item["name"]: item["message"] for item in answer["items"] if not item["ok"]}

    assert found() == {}
    assert "refuses the client id or the secret" in found(secret="wrong")["Client"]
    assert "does not list offline" in found(scopes="openid offline")["Scopes"]
    assert "calls itself" in found(issuer=f"{there.url}/")["Provider"]
    assert "does not answer" in found(issuer="http://127.0.0.1:9")["Provider"]
    assert "https" in found(issuer="http://sso.example.com")["Provider"]


def test_by_page(scene: Scene, make_browser: Make) -> None:
    browser = make_browser(ELSEWHERE)
    browser.sign_in("admin")
    assert "Test SSO" in browser.page("/providers")
    form = {"slug": "second", "title": "Second", "issuer": scene.there.url, "client_id": CLIENT, "secret": SECRET,
            "scopes": "openid", "username_claim": "preferred_username", "email_claim": "email", "name_claim": "name",
            "groups_claim": "groups", "role": "viewer", "enabled": "true", "tenant": "default"}  # fmt: skip
    answer = browser.post("/providers/new", form | {"issuer": "nonsense"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and 'value="nonsense"' in page and SECRET not in page
    answer = browser.post("/providers/new", form)
    assert answer.status_code == 303
    path = answer.headers["Location"]
    assert "http://localhost/login/oidc/second/callback" in browser.page(path)
    findings = browser.post("/providers/check", form | {"secret": "", "provider_id": path.rsplit("/", 1)[-1]}, htmx=True)
    assert "All is well" in findings.get_data(as_text=True) and "<html" not in findings.get_data(as_text=True)
    sent = {"group": "ops", "group_role": "operator", "group_tenant": "default", "group_project": ""}
    assert browser.post(f"{path}/groups", sent | {"group_role": "nonsense"}).status_code == 422
    assert browser.post(f"{path}/groups", sent).status_code == 303
    page = browser.page(path)
    removal = re.search(r'action="(/providers/\w+/groups/\w+/remove)"', page)
    assert "ops" in page and removal and browser.post(removal[1]).status_code == 303
    assert browser.post(path, form | {"title": "Renamed", "secret": ""}).status_code == 303
    assert "Sign in with Renamed" in make_browser().page("/login")
    assert browser.post(f"{path}/remove").headers["Location"] == "/providers"


def test_only_administrators_of_the_portal_set_it_up(scene: Scene) -> None:
    owner = make_person(scene.app, "owner", "tenant-admin", "default")
    auditor = make_person(scene.app, "auditor", "portal-auditor")
    for person in (owner, auditor):
        assert person.get("oidc/providers").status_code == 403
        assert person.post("oidc/providers", provider_body(scene.there)).status_code == 403
        assert person.browser().get("/providers").status_code == 403


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("CLAWPORTAL_DATA_DIR", str(tmp_path / "commands"))

    def run(*arguments: str, code: int = 0, typed: str = "") -> str:
        found = CliRunner(env={"CLAWPORTAL_LOG_LEVEL": "error"}).invoke(server.cli, arguments, input=typed)
        assert found.exit_code == code, (found.output, found.exception)
        return str(found.output)

    run("db", "upgrade", "--first-start")
    return run


def test_by_command(command: Callable[..., str], there: OpenIdProvider) -> None:
    there.reset("http://127.0.0.1:8800/login/oidc/sso/callback")
    given = ("--issuer", there.url, "--client-id", CLIENT, "--scopes", "openid profile email groups", "--domain", "example.com")
    command("oidc", "add", "sso", *given, "--tenant", "default", "--create-users", "--secret-stdin", typed=f"{SECRET}\n")
    assert "no organisation named" in command("oidc", "add", "two", *given, "--tenant", "nowhere", "--public", code=1)
    assert "accepts client id and secret" in command("oidc", "test", "sso")
    command("oidc", "map", "sso", "ops", "operator", "--tenant", "default")
    command("oidc", "map", "sso", "admins", "portal-admin")
    listed = command("oidc", "list")
    assert "ops -> operator in" in listed and "admins -> portal-admin in the whole portal" in listed and SECRET not in listed
    command("keys", "rotate")
    assert "accepts client id and secret" in command("oidc", "test", "sso")  # the secret went along to the new key
    command("oidc", "unmap", "sso", "ops")
    assert "ops" not in command("oidc", "list")
    command("oidc", "unmap", "sso", "ops", code=1)
    command("oidc", "remove", "sso", "--yes")
    assert "sso" not in command("oidc", "list")
    command("oidc", "test", "sso", code=1)


def test_a_test_by_command_fails_when_something_is_missing(command: Callable[..., str], there: OpenIdProvider) -> None:
    command("oidc", "add", "sso", "--issuer", there.url, "--client-id", CLIENT, "--secret-stdin", typed="wrong\n")
    assert "refuses the client id or the secret" in command("oidc", "test", "sso", code=1)
