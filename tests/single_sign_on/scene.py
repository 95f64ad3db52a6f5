"""A portal with an OpenID provider set up, and a browser in front of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.models import AuditEntry, Membership, Tenant, User
from clawportal_sso import group_roles, providers
from clawportal_sso.models import OidcProvider
from clawportal_sso.wanted import Wanted
from tests.conftest import make_person, portal_of
from tests.sign_in.conftest import Browser
from tests.single_sign_on.oidc_provider import CLIENT, SECRET, OpenIdProvider

Make = Callable[..., Browser]
BACK = "http://localhost/login/oidc/test/callback"


@dataclass
class Scene:
    """A portal with the provider set up, and a browser in front of it."""

    app: Flask
    there: OpenIdProvider
    browser: Browser
    id: str

    def begin(self, wanted: str = "", browser: Browser | None = None) -> str:
        answer = (browser or self.browser).client.get(
            "/login/oidc/test", query_string={"next": wanted}, environ_base={"REMOTE_ADDR": self.browser.address}
        )
        assert answer.status_code == 302, answer.get_data(as_text=True)
        return str(answer.headers["Location"])

    def back(self, url: str, browser: Browser | None = None) -> TestResponse:
        parts = urlsplit(url)
        assert url.startswith(BACK), url
        return (browser or self.browser).get(f"{parts.path}?{parts.query}")

    def come(self, account: str = "anna", wanted: str = "", answer: str = "yes") -> TestResponse:
        """The whole way, in a browser where nobody is signed in."""
        self.browser.client.delete_cookie("clawportal")
        return self.back(self.there.sign_in(self.begin(wanted), account, answer=answer))

    def refused(self, answer: TestResponse) -> str:
        """What the sign-in page says afterwards."""
        assert answer.status_code == 303 and answer.headers["Location"].startswith("/login"), answer.headers
        assert not self.browser.signed_in
        found = re.search(r'role="alert".*?<div class="body">(.*?)</div>\s*<button', self.browser.page("/login"), re.DOTALL)
        # the message was shown by the look at the profile, which leads to the sign-in page
        return re.sub("<[^>]+>", "", found[1]) if found else ""

    def change(self, **more: Any) -> None:
        with self.app.app_context(), transaction():
            row = db.session.get_one(OidcProvider, self.id)
            for name, value in more.items():
                setattr(row, name, value)

    def save(self, **more: Any) -> None:
        """As somebody who changes it on its page."""
        with self.app.app_context():
            known = providers.get(SYSTEM, self.id)
            kept = {field.name: getattr(known, field.name) for field in fields(Wanted) if field.name != "secret"}
            providers.change(portal_of(self.app), SYSTEM, self.id, Wanted(**(kept | more)))

    def give(self, group: str, role: str, tenant: str = "", project: str = "") -> str:
        with self.app.app_context():
            return group_roles.map_named(portal_of(self.app), SYSTEM, self.id, group, role, tenant=tenant, project=project).id

    def roles(self, name: str = "anna") -> dict[str, str]:
        """Role by tenant; the whole portal is the empty name."""
        with self.app.app_context():
            query = select(Tenant.name, Membership.role).select_from(Membership).join(User, User.id == Membership.user_id)
            query = query.outerjoin(Tenant, Tenant.id == Membership.tenant_id).where(User.name == name)
            return {tenant or "": role for tenant, role in db.session.execute(query)}

    def refusals(self) -> list[str]:
        with self.app.app_context():
            query = select(AuditEntry.reason).where(AuditEntry.action == "sign_in", AuditEntry.result == "refused")
            return list(db.session.scalars(query.order_by(AuditEntry.seq)))

    def user(self, name: str = "anna") -> User | None:
        with self.app.app_context():
            return db.session.scalar(select(User).where(User.name == name))


def set_up(app: Flask, there: OpenIdProvider) -> Scene:
    make_person(app, "admin", "portal-admin")
    with app.app_context():
        tenant = db.session.scalars(select(Tenant.id).where(Tenant.name == "default")).one()
        wanted = Wanted(
            "test", "Test SSO", there.url, CLIENT, SECRET, "openid profile email groups", create_users=True, tenant_id=tenant
        )
        known = providers.create(portal_of(app), SYSTEM, wanted)
    return Scene(app, there, Browser(app.test_client()), known.id)
