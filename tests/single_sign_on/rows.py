"""Rows of single sign-on, for tests that walk through everything a portal has."""

from __future__ import annotations

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal_sso import group_roles, providers
from clawportal_sso.models import OidcIdentity
from clawportal_sso.wanted import Wanted
from tests.conftest import Person, portal_of


def make_provider(owner: Person, tenant: str) -> tuple[str, str, str]:
    """A sign-in provider, a group of it that gives something, and an account there that is linked to the owner's."""
    portal, wanted = portal_of(owner.app), Wanted("secret-sso", "secret-sso", "https://sso.example.com", "portal")
    with owner.app.app_context():
        provider = providers.create(portal, SYSTEM, wanted)
        group = group_roles.map_group(portal, SYSTEM, provider.id, "secret-group", "viewer", tenant_id=tenant)
        with transaction():
            linked = OidcIdentity(provider_id=provider.id, subject="secret-subject", user_id=owner.actor.id)
            db.session.add(linked)
        return provider.id, group.id, linked.id
