"""Signing in of programs: short access tokens and rotating refresh tokens, both bound to a session that can be ended.

The two kinds are signed with different keys and name different audiences, so that neither can pass for the other. A refresh
token works once. When one comes a second time, somebody copied it: the session ends, for the thief and for the owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import GuestProtocol, OctKey
from sqlalchemy import select, update

from clawportal import clock
from clawportal.contracts.permissions import Actor
from clawportal.db import changed_rows, db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Unauthenticated
from clawportal.ids import new_id
from clawportal.messages import _m
from clawportal.models import User, UserSession
from clawportal.services.events import event_log
from clawportal.services.identity import sessions
from clawportal.services.identity.sessions import CLIENT, Place

ACCESS, REFRESH, CHALLENGE = "access", "refresh", "otp"
CHALLENGE_LIVES = timedelta(minutes=5)
_ALGORITHM = "HS256"
_ISSUER = "clawportal"
_ENDED = _m("The refresh token is unknown, expired or revoked. Sign in again.")


@dataclass(frozen=True)
class Pair:
    """What a program gets when it signs in, and each time it refreshes."""

    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    session_id: str


def sign_in(portal: Portal, user: User, place: Place) -> Pair:
    """A new session of a program. The caller has checked password and code."""
    return _pair(portal, sessions.begin(portal, user, CLIENT, place))


def _pair(portal: Portal, row: UserSession) -> Pair:
    access = timedelta(minutes=portal.settings.access_minutes)
    refresh = sessions.lifetime(portal, CLIENT)
    claims = {"sub": row.user_id, "sid": row.id}
    return Pair(
        _sign(portal, ACCESS, access, claims),
        int(access.total_seconds()),
        _sign(portal, REFRESH, refresh, claims | {"serial": row.serial}),
        int(refresh.total_seconds()),
        row.id,
    )


def _sign(portal: Portal, use: str, lives: timedelta, claims: dict[str, Any]) -> str:
    number, now = portal.keyring.current, clock.now()
    key = portal.keyring.derived(number, f"jwt/{use}")
    more = {"iss": _ISSUER, "aud": _audience(use), "iat": now, "exp": now + lives, "jti": new_id()}
    return jwt.encode({"alg": _ALGORITHM, "kid": str(number)}, claims | more, OctKey.import_key(key or b""), [_ALGORITHM])


def _audience(use: str) -> str:
    return f"{_ISSUER}/{use}"


def _read(portal: Portal, use: str, text: str) -> dict[str, Any] | None:
    """The claims of a token of exactly this use; None for anything else."""

    def key_of(token: GuestProtocol) -> OctKey:
        number = token.headers().get("kid", "")
        key = portal.keyring.derived(int(number), f"jwt/{use}") if isinstance(number, str) and number.isdecimal() else None
        if key is None:
            raise InvalidKeyIdError
        return OctKey.import_key(key)

    try:
        claims = jwt.decode(text, key_of, [_ALGORITHM]).claims
        _CLAIMS[use].validate({name: value for name, value in claims.items() if name in _PROVED})
        lives = bool(claims["exp"] > clock.now().timestamp())  # the portal's own clock decides, which a test can move
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return claims if lives else None


_PROVED = ("iss", "aud", "sub")
_CLAIMS = {
    use: jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": _ISSUER}, aud={"essential": True, "value": _audience(use)}, sub={"essential": True}
    )
    for use in (ACCESS, REFRESH, CHALLENGE)
}


@dataclass(frozen=True)
class Client:
    """Whom an access token stands for, and through which session."""

    actor: Actor
    session_id: str


def actor_from_access(portal: Portal, text: str, place: Place | None = None) -> Client | None:
    """None for anything that is not a good access token of a session that is still open."""
    claims = _read(portal, ACCESS, text)
    session_id = str(claims.get("sid", "")) if claims else ""
    actor = sessions.actor_from(portal, session_id, CLIENT, touch=place) if session_id else None
    return Client(actor, session_id) if actor else None


def refresh(portal: Portal, text: str, place: Place) -> Pair:
    """Trade a refresh token for a new pair; a token that was traded before ends the session."""
    claims = _read(portal, REFRESH, text)
    if claims is None or sessions.actor_from(portal, str(claims.get("sid", "")), CLIENT) is None:
        raise Unauthenticated(_ENDED)
    with transaction():
        row = _rotated(portal, str(claims["sid"]), int(claims.get("serial", 0)), place)
        if row is None:
            _end_stolen(portal, str(claims["sid"]), place)
    if row is None:
        raise Unauthenticated(_m("This refresh token was used before. The session was ended, since somebody may have copied it."))
    return _pair(portal, row)


def _rotated(portal: Portal, session_id: str, serial: int, place: Place) -> UserSession | None:
    """One statement decides, so that of two requests with the same token only one gets a pair."""
    now = clock.now()
    mine = (UserSession.id == session_id, UserSession.serial == serial, UserSession.ended_at.is_(None))
    moved = {
        "serial": serial + 1, "last_seen_at": now, "expires_at": now + sessions.lifetime(portal, CLIENT),
        "address": place.address[:64], "agent": place.agent[:300],
    }  # fmt: skip
    if not changed_rows(update(UserSession).where(*mine).values(**moved)):
        return None
    return db.session.scalars(select(UserSession).where(UserSession.id == session_id), execution_options=_FRESH).one()


_FRESH = {"populate_existing": True}


def _end_stolen(portal: Portal, session_id: str, place: Place) -> None:
    row = db.session.get_one(UserSession, session_id)
    user = db.session.get_one(User, row.user_id)
    sessions.close(session_id)
    came = place.address or _m("an unknown address")
    words = _m("A refresh token of %(name)s came a second time, from %(came)s; its session was ended.", name=user.name, came=came)
    event_log.record(
        portal, "session.reuse", actor=Actor(user.id, user.name), message=words, level="warning", data={"session_id": session_id}
    )


def challenge(portal: Portal, user: User) -> str:
    """Proof that the password was right, to be sent with the code of the second step."""
    return _sign(portal, CHALLENGE, CHALLENGE_LIVES, {"sub": user.id, "epoch": user.session_epoch})


def challenged(portal: Portal, text: str) -> User:
    """Who passed the first step."""
    claims = _read(portal, CHALLENGE, text)
    user = db.session.get(User, str(claims["sub"])) if claims else None
    if claims is None or user is None or not user.active or claims.get("epoch") != user.session_epoch:
        raise Unauthenticated(_m("It took too long, or the password changed. Begin again with name and password."))
    return user
