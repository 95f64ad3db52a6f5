"""Accounts, sessions and memberships: for features that sign people in by another way than a password, or give them roles.

A way in is a target of `SIGN_IN_WAYS` and a public page that ends in `begin_session(user, Source(...))` of
`clawportal.sdk.pages`, or in `ask_second_step` where `second_factor_enabled(user.id)`. Rows that it gives carry its name in
`source`, so that what was given by hand stays apart, and each try is made inside of `guarded_address` or `guarded`.
"""

from __future__ import annotations

from clawportal.models import Invitation, Membership, RoleGrant, User, UserSession
from clawportal.services.identity.accounts import end_ways_in, keep_an_admin
from clawportal.services.identity.identity import NO_PASSWORD, actor_by_id, verify_own
from clawportal.services.identity.names import free as free_name
from clawportal.services.identity.names import of_address as accounts_of_address
from clawportal.services.identity.otp import enabled as second_factor_enabled
from clawportal.services.identity.sessions import Source, require_person
from clawportal.services.identity.sign_in import tell_refusal
from clawportal.services.identity.throttle import guarded, guarded_address, spend
from clawportal.services.tenancy.members import check_givable, tenant_for
from clawportal.services.tenancy.members import permissions_of as permissions_of_role

__all__ = [
    "NO_PASSWORD",
    "Invitation",
    "Membership",
    "RoleGrant",
    "Source",
    "User",
    "UserSession",
    "accounts_of_address",
    "actor_by_id",
    "check_givable",
    "end_ways_in",
    "free_name",
    "guarded",
    "guarded_address",
    "keep_an_admin",
    "permissions_of_role",
    "require_person",
    "second_factor_enabled",
    "spend",
    "tell_refusal",
    "tenant_for",
    "verify_own",
]
