"""Rights follow the groups that a provider names: given, changed, taken away, and beside what was given by hand."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import select

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.models import RoleGrant, Tenant, User
from clawportal.services.identity import accounts
from clawportal.services.tenancy import members
from clawportal_sso import group_roles, providers
from clawportal_sso.models import OidcIdentity
from tests.conftest import make_person, make_tenant, portal_of
from tests.sign_in.conftest import Browser
from tests.single_sign_on.oidc_provider import OpenIdProvider
from tests.single_sign_on.scene import Scene, set_up

pytestmark = [pytest.mark.oidc, pytest.mark.xdist_group("oidc")]


def test_rights_follow_the_groups(scene: Scene) -> None:
    make_tenant(scene.app, "acme")
    scene.give("ops", "operator", "acme"), scene.give("everybody", "viewer", "acme")
    scene.there.account("anna", groups=["everybody", "ops", "others"])
    scene.come()
    assert scene.roles() == {"default": "viewer", "acme": "operator"}  # the stronger of two
    scene.there.account("anna", groups=["everybody"])
    scene.come()
    assert scene.roles() == {"default": "viewer", "acme": "viewer"}
    scene.there.account("anna", groups=None)
    scene.come()
    assert scene.roles() == {"default": "viewer"}


def test_what_was_given_by_hand_stays(scene: Scene) -> None:
    acme = make_tenant(scene.app, "acme")
    scene.give("ops", "operator", "acme"), scene.give("ops", "developer", "default")
    scene.come()
    user = scene.user()
    assert user is not None
    with scene.app.app_context():
        members.add(portal_of(scene.app), SYSTEM, acme, "anna", "auditor")
    scene.there.account("anna", groups=["ops"])
    scene.come()
    assert scene.roles() == {"default": "developer", "acme": "auditor"}
    with scene.app.app_context():
        tenant = db.session.scalars(select(Tenant.id).where(Tenant.name == "default")).one()
        members.change_role(portal_of(scene.app), SYSTEM, tenant, user.id, "tenant-admin")
    scene.there.account("anna", groups=[])
    scene.come()
    assert scene.roles() == {"default": "tenant-admin", "acme": "auditor"}


def test_a_role_in_one_project(scene: Scene) -> None:
    make_tenant(scene.app, "acme")
    scene.give("team", "developer", "acme", "default")
    scene.there.account("anna", groups=["team"])
    scene.come()
    assert scene.roles()["acme"] == "guest"
    with scene.app.app_context():
        assert [(row.role, row.source_group) for row in db.session.scalars(select(RoleGrant))] == [("developer", "team")]
    scene.there.account("anna", groups=[])
    scene.come()
    with scene.app.app_context():
        assert not db.session.scalars(select(RoleGrant)).all()
    assert "acme" not in scene.roles()


def test_the_page_says_why(scene: Scene) -> None:
    scene.give("ops", "tenant-admin", "default"), scene.give("lead", "portal-auditor")
    scene.there.account("anna", groups=["ops", "lead"])
    scene.come()
    with scene.app.app_context():
        tenant = db.session.scalars(select(Tenant.id).where(Tenant.name == "default")).one()
    page = scene.browser.page(f"/tenants/{tenant}/rights")
    assert "Member with the role tenant-admin, through the group ops of Test SSO" in page
    assert "Role portal-auditor in the whole portal, through the group lead of Test SSO" in page


def test_the_last_administrator_stays(scene: Scene, admin_gone: Callable[[], None]) -> None:
    scene.give("admins", "portal-admin")
    scene.there.account("anna", groups=["admins"])
    scene.come()
    assert scene.roles()[""] == "portal-admin"
    admin_gone()
    scene.there.account("anna", groups=[])
    scene.come()
    assert scene.roles()[""] == "portal-admin"
    make_person(scene.app, "other-admin", "portal-admin")
    scene.come()
    assert "" not in scene.roles()


@pytest.fixture
def admin_gone(portal_app: Flask) -> Callable[[], None]:
    def close() -> None:
        with portal_app.app_context():
            user = db.session.scalars(select(User).where(User.name == "admin")).one()
            accounts.set_active(portal_of(portal_app), SYSTEM, user.id, False)

    return close


def test_a_group_that_gives_no_more_and_a_provider_that_goes(scene: Scene) -> None:
    make_tenant(scene.app, "acme")
    first = scene.give("ops", "operator", "acme")
    scene.give("team", "developer", "default")
    scene.there.account("anna", groups=["ops", "team"])
    scene.come()
    with scene.app.app_context():
        group_roles.unmap(portal_of(scene.app), SYSTEM, scene.id, first)
    assert scene.roles() == {"default": "developer"}
    with scene.app.app_context():
        providers.remove(portal_of(scene.app), SYSTEM, scene.id)
    assert scene.roles() == {} and not scene.browser.signed_in and scene.user() is not None


def test_too_many_groups_are_not_taken_for_none(scene: Scene) -> None:
    scene.there.mangle(claims={"_claim_names": {"groups": "src1"}})
    scene.come()
    assert scene.browser.signed_in  # nothing depends on them yet
    scene.browser.post("/logout")
    scene.give("ops", "operator", "default")
    assert "too many" in scene.refused(scene.come())


@pytest.mark.postgres
def test_on_postgresql(make_app: Callable[..., Flask], postgres: Callable[[], str], there: OpenIdProvider) -> None:
    scene = set_up(make_app(database_url=postgres()), there)
    acme = make_tenant(scene.app, "acme")
    mapped = scene.give("ops", "tenant-admin", "acme")
    scene.give("team", "developer", "default", "default"), scene.give("lead", "portal-auditor")
    there.account("anna", groups=["ops", "team", "lead"])
    scene.come(wanted="/operations")
    assert scene.roles() == {"default": "guest", "acme": "tenant-admin", "": "portal-auditor"}
    assert "through the group ops of Test SSO" in scene.browser.page(f"/tenants/{acme}/rights")
    there.account("anna", groups=["team"])
    scene.come()
    assert scene.roles() == {"default": "guest"} and scene.browser.page("/profile")
    with scene.app.app_context():
        group_roles.unmap(portal_of(scene.app), SYSTEM, scene.id, mapped)
        assert providers.listing(SYSTEM)[0].people == 1
        providers.remove(portal_of(scene.app), SYSTEM, scene.id)
    assert scene.roles() == {}


def test_first_sign_ins_at_once_make_one_account(scene: Scene) -> None:
    browsers = [Browser(scene.app.test_client()) for _ in range(4)]
    urls = [scene.there.sign_in(scene.begin(browser=browser)) for browser in browsers]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(scene.back, urls, browsers))
    assert [answer.headers["Location"] for answer in answers] == ["/"] * 4
    with scene.app.app_context():
        assert len(db.session.scalars(select(OidcIdentity)).all()) == 1
        assert sorted(db.session.scalars(select(User.name))) == ["admin", "anna"]


def test_a_role_that_a_group_gives_is_in_use(scene: Scene) -> None:
    owner = make_person(scene.app, "owner", "tenant-admin", "default")
    tenant = owner.get("tenants").get_json()["items"][0]["id"]
    role = owner.post(f"tenants/{tenant}/roles", {"name": "reader", "permissions": ["instance.read"]}).get_json()["id"]
    scene.give("team", "reader", "default")
    assert owner.delete(f"tenants/{tenant}/roles/{role}").status_code == 409
