"""The API under /api/v1: one file per noun."""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState

from clawportal.api import (
    _layer,
    account,
    audit,
    catalog,
    chat,
    clusters,
    events,
    files,
    instances,
    layers,
    logs,
    members,
    metrics,
    oidc,
    operations,
    policies,
    service_accounts,
    sign_in,
    system,
    tenants,
    unmanaged,
)
from clawportal.errors import PasswordChangeRequired
from clawportal.http import security

__all__ = [
    "account", "audit", "blueprint", "catalog", "chat", "clusters", "events", "files", "instances", "layers", "logs",
    "members", "metrics", "oidc", "operations", "policies", "service_accounts", "sign_in", "system", "tenants", "unmanaged",
]  # fmt: skip


def blueprint() -> Blueprint:
    """Every operation as a route, and what all their answers have in common."""
    made = Blueprint("api", __name__, url_prefix="/api/v1")
    for operation in _layer.OPERATIONS:
        made.add_url_rule(operation.rule, operation.name, _layer.view_of(operation), methods=[operation.method])
    made.before_request(_own_password_first)
    made.after_request(_challenge)
    made.record(_outside_the_prefix)
    return made


_BEFORE_THAT = {"api.get_me", "api.log_out"}


def _own_password_first() -> None:
    """A browser's session of somebody with a given password is good for changing it, and for nothing here."""
    if request.endpoint in _BEFORE_THAT or not security.needs_somebody():
        return
    asking = security.current_actor()
    if asking is not None and asking.password_given and asking.kind == "user":
        raise PasswordChangeRequired


def _outside_the_prefix(state: BlueprintSetupState) -> None:
    """What supervisors ask at the root as they are used to, and the changes that need neither session nor token."""
    for name in ("healthz", "readyz"):
        state.app.add_url_rule(f"/{name}", f"api.{name}", state.app.view_functions[f"api.{name}"], methods=["GET"])
    state.app.config.setdefault("CSRF_FREE", set()).update(sign_in.CSRF_FREE)


def _challenge(answer: Response) -> Response:
    """RFC 9110: a 401 says by what one can sign in."""
    if answer.status_code == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="clawportal"'
    return answer
