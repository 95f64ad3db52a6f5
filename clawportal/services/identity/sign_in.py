"""Signing in, step by step: the password, then a code where somebody has a second factor; both slowed down."""

from __future__ import annotations

from clawportal import origin
from clawportal.contracts.core_permissions import PORTAL_ADMIN
from clawportal.contracts.extensions import SIGN_IN_WAYS, SIGN_OUT_WAYS, SignInWay
from clawportal.contracts.permissions import Actor
from clawportal.engine.portal import Portal
from clawportal.errors import PasswordChangeRequired, Problem, Unauthenticated
from clawportal.messages import _m
from clawportal.models import User
from clawportal.services.audit import refusals
from clawportal.services.audit.trail import NOBODY, REFUSED, Pending
from clawportal.services.identity import clients, devices, identity, otp, throttle
from clawportal.services.identity.otp import OtpRequired


def first_step(portal: Portal, name: str, password: str, address: str, kept: str = "") -> User:
    """Whose password this is. The caller must ask `otp.enabled` before letting anybody in. `kept`: what the browser keeps."""
    device = devices.known(portal, kept, name) if kept else ""
    with throttle.guarded(portal, "password", name, address, device=device):
        if passwords_for_all(portal):
            return identity.authenticate(portal, name, password)
        return _administrator(portal, name, password)


def passwords_for_all(portal: Portal) -> bool:
    """Whether everybody may sign in with a password. They may where there is no other way just now."""
    return portal.settings.password_sign_in or not other_ways(portal)


def other_ways(portal: Portal) -> list[SignInWay]:
    """How people can sign in without a password of this portal just now."""
    return [way for target in portal.registry.targets(SIGN_IN_WAYS) for way in target(portal)]


def left_open(portal: Portal, source: str) -> SignInWay | None:
    """Where somebody whose session of this source has ended is perhaps signed in still, and can sign out."""
    found = (target(portal, source) for target in portal.registry.targets(SIGN_OUT_WAYS)) if source else ()
    return next((way for way in found if way is not None), None)


def tell_refusal(portal: Portal, through: str, problem: Problem, who: Actor | None) -> None:
    """An entry of the audit for a refused sign-in that is no form: coming back from elsewhere is a GET, which the audit of
    refused requests does not look at. `through`: title of the way."""
    entry = Pending(
        "sign_in", who or NOBODY, "user", summary=_m("Signing in through %(title)s was refused.", title=through), result=REFUSED,
        status=problem.status, reason=problem.detail, origin=origin.current(),
    )  # fmt: skip
    refusals.write(portal.part(refusals.Refusals).add(entry))


def _administrator(portal: Portal, name: str, password: str) -> User:
    """The way in for an emergency. Everybody else gets the same answer, so that nobody can try passwords here."""
    detail = _m("The name or the password is wrong, or you are no administrator: everybody else signs in another way.")
    try:
        user = identity.authenticate(portal, name, password)
    except Unauthenticated as problem:
        raise Unauthenticated(detail) from problem
    if not any(PORTAL_ADMIN in grant.permissions for grant in identity.actor_of(portal, user).grants):
        raise Unauthenticated(detail)
    return user


def both_steps(portal: Portal, name: str, password: str, code: str, address: str) -> User:
    """Who signs in, in one go; OtpRequired, with the proof of the first step, when a code is needed and none was sent."""
    user = first_step(portal, name, password, address)
    require_own_password(user)
    if not otp.enabled(user.id):
        return user
    if not code:
        raise OtpRequired(clients.challenge(portal, user))
    otp.check(portal, user, code, address)
    return user


def require_own_password(user: User) -> None:
    """For programs; in a browser the page for changing it comes first."""
    if user.must_change_password:
        raise PasswordChangeRequired


def second_step(portal: Portal, challenge: str, code: str, address: str) -> User:
    """Who signs in, with the proof of the first step and a code."""
    user = clients.challenged(portal, challenge)
    otp.check(portal, user, code, address)
    return user
