"""Browsers from which somebody has signed in before: wrong tries of others at the same address do not shut them out.

What a browser keeps is worth nothing by itself: it only gives its owner's tries a budget of their own.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta

from clawportal.engine.portal import Portal
from clawportal.services.identity import names

LIVES = timedelta(days=180)
_PURPOSE = "device"


def made_for(portal: Portal, user_id: str) -> str:
    """What the browser of this person keeps from now on."""
    number, device = portal.keyring.current, secrets.token_urlsafe(12)
    return f"{number}.{user_id}.{device}.{_code(portal, number, user_id, device)}"


def known(portal: Portal, kept: str, name: str) -> str:
    """Which device of the person of this name it is; empty for none of theirs."""
    parts = kept.split(".")
    if len(parts) != 4 or not parts[0].isdigit() or len(parts[0]) > 9 or len(kept) > 300:
        return ""
    number, user_id, device, code = parts
    wanted = _code(portal, int(number), user_id, device)
    if not wanted or not hmac.compare_digest(wanted.encode(), code.encode()):
        return ""
    user = names.person(name)
    return device if user is not None and user.id == user_id else ""


def _code(portal: Portal, number: int, user_id: str, device: str) -> str:
    key = portal.keyring.derived(number, _PURPOSE)
    return "" if key is None else hmac.new(key, f"{user_id}.{device}".encode(), hashlib.sha256).hexdigest()
