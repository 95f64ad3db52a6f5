"""Signing in, step by step: the password, then a code where somebody has a second factor; both slowed down."""

from __future__ import annotations

from clawportal.models import User
from clawportal.services import clients, identity, otp, throttle
from clawportal.services.otp import OtpRequired
from clawportal.services.portal import Portal


def first_step(portal: Portal, name: str, password: str, address: str) -> User:
    """Whose password this is. The caller must ask `otp.enabled` before letting anybody in."""
    with throttle.guarded(portal, "password", name, address):
        return identity.authenticate(portal, name, password)


def both_steps(portal: Portal, name: str, password: str, code: str, address: str) -> User:
    """Who signs in, in one go; OtpRequired, with the proof of the first step, when a code is needed and none was sent."""
    user = first_step(portal, name, password, address)
    if not otp.enabled(user.id):
        return user
    if not code:
        raise OtpRequired(clients.challenge(portal, user))
    otp.check(portal, user, code, address)
    return user


def second_step(portal: Portal, challenge: str, code: str, address: str) -> User:
    """Who signs in, with the proof of the first step and a code."""
    user = clients.challenged(portal, challenge)
    otp.check(portal, user, code, address)
    return user
