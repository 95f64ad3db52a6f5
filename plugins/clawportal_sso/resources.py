"""What a provider, a linked account and a role by group are to those who read lists, the audit and refusals."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.features import Resource

PROVIDER = Resource(
    "oidc_provider", _m("sign-in provider"), key="provider",
    titles={
        "issuer": _m("Issuer"), "client_id": _m("Client id"), "scopes": _m("Scopes"), "username_claim": _m("User name"),
        "email_claim": _m("Email address"), "name_claim": _m("Full name"), "groups_claim": _m("Groups"),
        "email_domains": _m("Only addresses in these domains"), "create_users": _m("Make an account at the first sign-in"),
        "link_by_email": _m("Take a confirmed email address as proof"), "second_factor": _m("Its second factor is enough"),
        "enabled": _m("Switched on"),
    },
)  # fmt: skip
IDENTITY = Resource("oidc_identity", _m("linked account"), key="identity")
GROUP_ROLE = Resource("oidc_group_role", _m("role by group"), key="group_role", titles={"group": _m("Group")})
