"""Signing in with the account that people have at an OpenID provider, whose groups can give them roles here."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import (
    RESEAL,
    ROLE_USES,
    SIGN_IN_WAYS,
    SIGN_OUT_WAYS,
    ApiTag,
    Card,
    EventKind,
    Feature,
    NavLink,
)
from clawportal.sdk.permissions import PORTAL_ADMIN, SELF
from clawportal_sso.resources import GROUP_ROLE, IDENTITY, PROVIDER

FEATURE = Feature(
    name="single_sign_on",
    title=_m("Single sign-on"),
    package="clawportal_sso",
    requires=("tenancy",),
    resources=(PROVIDER, IDENTITY, GROUP_ROLE),
    models=("clawportal_sso.models",),
    migrations="migrations",
    events=(
        EventKind("provider.created", _m("A sign-in provider was set up.")),
        EventKind("provider.changed", _m("A sign-in provider was changed, or switched on or off.")),
        EventKind("provider.removed", _m("A sign-in provider was removed, with all that it gave.")),
        EventKind("group_role.created", _m("A group gives a role from now on.")),
        EventKind("group_role.removed", _m("A group gives a role no more.")),
        EventKind(
            "identity.linked", _m("An account at a provider was linked to one here."), action=_m("Link an account elsewhere")
        ),
        EventKind("identity.unlinked", _m("An account at a provider was unlinked."), action=_m("Unlink an account elsewhere")),
        EventKind(
            "user.groups_missing",
            _m("A provider sent no groups, although they give roles."),
            action=_m("Look for groups of {thing}"),
        ),
        EventKind(
            "user.role_kept",
            _m("The last administrator stayed one, whatever a provider says."),
            action=_m("Keep the role of {thing}"),
        ),
    ),
    api_tags=(
        ApiTag(_m("Sign-in providers"), _m("OpenID providers that people sign in with, and what their groups give."), 120),
    ),
    api=("clawportal_sso.api",),
    pages=("clawportal_sso.sign_in_pages", "clawportal_sso.pages"),
    nav=(
        NavLink(
            _m("Sign-in"), "web.providers", icon="key", permission=PORTAL_ADMIN, section="system", order=40, only_everywhere=True
        ),
    ),
    cards=(Card("linked_accounts", "clawportal_sso.sign_in_pages:account_section", SELF, place="account"),),
    extra={
        SIGN_IN_WAYS: ("clawportal_sso.providers:sign_in_ways",),
        SIGN_OUT_WAYS: ("clawportal_sso.flows:sign_out_way",),
        ROLE_USES: ("clawportal_sso.providers:role_uses",),
        RESEAL: ("clawportal_sso.providers:reseal",),
    },
    commands=("clawportal_sso.cli:register",),
    client_commands=("clawportal_sso.client:register",),
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)
