"""A portal without the plugin for pages of claws: nothing of it is there, the rest works, and back in, all is there again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flask import Flask
from sqlalchemy import text

from clawportal.db import db
from clawportal.http.hosts import Hosts
from clawportal.pluginmanager import BUNDLED
from tests.conftest import make_people, portal_of
from tests.rights.test_rights_pages import Browser

REST = ",".join(name for name in BUNDLED if name != "clawportal_apps")


def test_nothing_of_it_is_there(make_app: Callable[..., Flask]) -> None:
    people = make_people(make_app())
    claw = people.owner.create("parrot", start=False)
    without = replace(people.owner, app=make_app(plugins=REST))
    assert "app.open" not in {str(right) for right in portal_of(without.app).permissions}
    assert without.post(f"instances/{claw['id']}/apps/http/ticket").status_code == 404
    assert not any("apps" in path or "shared-links" in path for path in without.get("openapi.json").get_json()["paths"])
    page = Browser(without).page(f"/instances/{claw['id']}")
    assert "Shared links" not in page and "data-open-app" not in page
    there = without.app.test_client().get("/login", headers={"Host": f"http-{claw['id']}.localhost"})
    assert there.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src"), "a host like any other"
    wrapped, inner = [], without.app.wsgi_app
    while inner is not None:
        wrapped.append(type(inner))
        inner = getattr(inner, "_app", None) or getattr(inner, "_inner", None)
    assert Hosts not in wrapped
    with without.app.app_context():
        assert db.session.scalar(text("SELECT count(*) FROM apps_share")) == 0, "its tables stay"


def test_back_in_it_is_there_again(make_app: Callable[..., Flask]) -> None:
    people = make_people(make_app(plugins=REST))
    claw = people.owner.create("parrot", start=False)
    owner = replace(people.owner, app=make_app())
    assert [one["port"] for one in owner.get(f"instances/{claw['id']}/apps").get_json()["items"]] == ["http"]
    refused = owner.post(f"instances/{claw['id']}/apps/http/ticket")
    assert refused.status_code == 409 and "is not running" in refused.get_json()["detail"]
    assert "Shared links" in Browser(owner).page(f"/instances/{claw['id']}")
    there = owner.app.test_client().get("/", headers={"Host": f"http-{claw['id']}.localhost"})
    assert there.status_code == 401 and not there.headers.get("X-Request-ID")
