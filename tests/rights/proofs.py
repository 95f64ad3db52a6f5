"""Proofs of who one is that must not work: every kind of token that has ended, or is none for this."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask import Flask
from sqlalchemy import update

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.models import ApiToken, User, UserSession
from clawportal.services.identity import clients, sessions
from clawportal.services.identity.sessions import Place
from clawportal.services.tenancy import members
from tests.conftest import PASSWORD, People, Person, make_person, portal_of


def signed_in(app: Flask, name: str) -> dict[str, Any]:
    """The answer of /auth/login."""
    answer = app.test_client().post("/api/v1/auth/login", json={"name": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    found: dict[str, Any] = answer.get_json()
    return found


def somebody(app: Flask, name: str) -> Person:
    """Whoever can do everything in `default`, as long as the proof holds."""
    return make_person(app, name, "tenant-admin", "default")


def refused(app: Flask, people: People) -> dict[str, str]:
    """Bearer tokens by what is wrong with them."""
    portal, owner = portal_of(app), people.owner.actor.id
    pair = signed_in(app, "owner")
    found = {
        "nonsense": "clp_nonsense",
        "no token at all": "x",
        "refresh token": pair["refresh_token"],
        "session id": pair["session_id"],
        "password": PASSWORD,
    }
    found["api token, expired"] = _ended_api_token(app, expires_at=clock.now() - timedelta(seconds=1))
    found["api token, revoked"] = _ended_api_token(app, revoked_at=clock.now())
    closed = somebody(app, "closed")
    found["api token, account closed"] = closed.token
    found["access token, account closed"] = signed_in(app, "closed")["access_token"]
    found["access token, password changed"] = signed_in(app, _with_new_password(app))["access_token"]
    with app.app_context():
        claims = {"sub": owner, "sid": pair["session_id"]}
        found["access token, expired"] = clients._sign(portal, clients.ACCESS, timedelta(seconds=-1), claims)
        found["proof of the first step"] = clients.challenge(portal, db.session.get_one(User, owner))
        tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
        found["invitation"] = members.invite(portal, people.owner.actor, tenant, "viewer").text
        browser = sessions.begin(portal, db.session.get_one(User, owner), sessions.BROWSER, Place("127.0.0.1", "tests"))
        found["access token for a browser's session"] = clients._sign(
            portal, clients.ACCESS, timedelta(minutes=5), {"sub": owner, "sid": browser.id}
        )
        with transaction():
            db.session.execute(update(User).where(User.name == "closed").values(active=False))
            db.session.execute(update(User).where(User.name == "renewed").values(session_epoch=User.session_epoch + 1))
    out = signed_in(app, "owner")
    headers = {"Authorization": f"Bearer {out['access_token']}"}
    assert app.test_client().post("/api/v1/auth/logout", headers=headers).status_code == 204
    found["access token, signed out"] = out["access_token"]
    return found


def _ended_api_token(app: Flask, **ended: Any) -> str:
    person = somebody(app, f"ended-{'-'.join(ended).replace('_', '-')}")
    with app.app_context(), transaction():
        db.session.execute(update(ApiToken).where(ApiToken.user_id == person.actor.id).values(**ended))
    return person.token


def _with_new_password(app: Flask) -> str:
    return somebody(app, "renewed").name


def ended_cookie(app: Flask, person: Person) -> Any:
    """A browser whose session was ended elsewhere."""
    browser = person.browser()
    with app.app_context(), transaction():
        db.session.execute(
            update(UserSession)
            .where(UserSession.user_id == person.actor.id, UserSession.kind == sessions.BROWSER)
            .values(ended_at=clock.now())
        )
    return browser


def with_token(person: Person, token: str) -> Person:
    return replace(person, token=token)
