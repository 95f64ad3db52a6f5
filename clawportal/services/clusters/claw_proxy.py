"""The sign-in of claws at their proxy: sealed like every secret of a cluster, with the address that it was entered for.

What is sealed is that address, a blank, and `user:password`: nobody can point it elsewhere by writing to the policy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from clawportal import addresses, clock, pasted, secret_settings
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError
from clawportal.messages import _m
from clawportal.models import Cluster, ClusterSecret

LOGIN = "claw_proxy_login"
"""Name of the secret of a cluster, and of the mark in its policy that there is one."""
URL, PASSWORD = "clawportal_proxy", "clawportal_proxy_password"
"""Names under which a claw's secrets have them; the second is there to be hidden in what a claw says."""
LONGEST = 1000


def apart(policy: Mapping[str, Any], typed: str | None) -> tuple[dict[str, Any], str | None]:
    """The policy without a sign-in in the proxy's address, and that sign-in, unless another one came in its own field."""
    said = {name: value for name, value in policy.items() if name != LOGIN}
    address = said.get("claw_proxy")
    if not isinstance(address, str) or not addresses.carries_credentials(address):
        return said, typed
    try:
        parts = urlsplit(address)
    except ValueError:  # it is no address, which the policy itself says
        return said, typed
    login, _, host = parts.netloc.rpartition("@")
    said["claw_proxy"] = urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))
    return said, typed or ":".join(unquote(part) for part in login.split(":", 1))


def judge(policy: Mapping[str, Any], typed: str | None, sealed: str, errors: list[FieldError]) -> str:
    """What is to be sealed from now on; empty for nothing. `typed`: empty keeps what is stored, None removes it."""
    proxy, path = policy.get("claw_proxy", ""), f"secrets.{LOGIN}"
    known = next((error for error in errors if error.path.startswith("policy.claw_proxy")), None)
    if known is not None:
        return sealed
    there, (before, _blank, _login) = addresses.endpoint(proxy) if proxy else "", sealed.partition(" ")
    if typed:
        errors += _flaws(path, typed, there)
        return f"{there} {typed.strip()}"
    if typed is None or not sealed or not there:
        return ""
    if there != before:
        errors.append(secret_settings.asked_again(path, before, there))
    return sealed


def _flaws(path: str, typed: str, there: str) -> list[FieldError]:
    user, colon, _password = typed.strip().partition(":")
    if not there:
        return [FieldError(path, _m("is for a proxy; enter the address of the proxy of claws, too"))]
    if not colon or not user or len(typed) > LONGEST:
        return [FieldError(path, _m("must be user and password with a colon between them, such as claws:a-password"))]
    flaw = pasted.flaw_in_header(typed.strip())
    return [FieldError(path, flaw)] if flaw else []


def _place(cluster_id: str) -> str:
    return f"cluster:{cluster_id}/secret:{LOGIN}"


def stored(portal: Portal, cluster_id: str) -> str:
    row = db.session.get(ClusterSecret, (cluster_id, LOGIN))
    return portal.keyring.open(row.sealed, _place(cluster_id)) if row else ""


def store(portal: Portal, cluster_id: str, policy: Mapping[str, Any], sealed: str) -> dict[str, Any]:
    """Keep it, or forget it; returns the policy with the mark that there is one."""
    row = db.session.get(ClusterSecret, (cluster_id, LOGIN))
    if row is not None and not sealed:
        db.session.delete(row)
    elif sealed and (row is None or portal.keyring.open(row.sealed, _place(cluster_id)) != sealed):
        row = row or ClusterSecret(cluster_id=cluster_id, name=LOGIN)
        row.sealed, row.updated_at = portal.keyring.seal(sealed, _place(cluster_id)), clock.now()
        db.session.add(row)
    db.session.flush()
    plain = {name: value for name, value in policy.items() if name != LOGIN}
    return {**plain, LOGIN: True} if sealed else plain


def values(portal: Portal, cluster_id: str) -> dict[str, str]:
    """What a claw of this cluster gets, and what is hidden in its words. Nothing where it was entered for another proxy."""
    cluster = db.session.get(Cluster, cluster_id)
    policy = (cluster.policy or {}) if cluster else {}
    if not policy.get(LOGIN):
        return {}
    there, _, login = stored(portal, cluster_id).partition(" ")
    if not login or there != addresses.endpoint(policy.get("claw_proxy", "")):
        return {}
    user, _, password = login.partition(":")
    parts = urlsplit(policy["claw_proxy"])
    netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"
    return {URL: urlunsplit((parts.scheme, netloc, "", "", "")), PASSWORD: password}
