"""Signing in for programs: access and refresh tokens, sessions, and the second factor."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import segno
from pydantic import Field

from clawportal.api._layer import Answer, op
from clawportal.contracts.permissions import SELF, Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict
from clawportal.http import security
from clawportal.messages import _m
from clawportal.services.identity import clients, otp, sessions, sign_in

TAGS = ("Account",)


class Login(Strict):
    """A name and a password, and a code for those who have a second factor."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000, json_schema_extra={"format": "password"})
    otp: str = Field("", max_length=40, description="Six digits of the authenticator app, or a backup code.")


class TokenPair(Answer):
    """What a program needs from now on."""

    access_token: str = Field(description="Send it as `Authorization: Bearer ...`.")
    token_type: str = "Bearer"
    expires_in: int = Field(description="Seconds for which the access token is good.")
    refresh_token: str = Field(description="Good once, at `/auth/refresh`, and never as access token.")
    refresh_expires_in: int = Field(description="Seconds for which the refresh token is good.")
    session_id: str = Field(description="Where it stands in the list of sessions.")


class RefreshBody(Strict):
    refresh_token: str = Field(max_length=4000)


class CodeBody(Strict):
    code: str = Field(max_length=40, description="Six digits of the authenticator app, or a backup code.")


class SecondStep(CodeBody):
    challenge: str = Field(max_length=4000, description="From the answer `otp_required` to `/auth/login`; good for five minutes.")


class DisableBody(CodeBody):
    password: str = Field(max_length=1000, json_schema_extra={"format": "password"})


class OtpOffer(Answer):
    """A new secret. It is not in force before `/auth/otp/enable` has seen a code of it."""

    secret: str = Field(description="For typing into an app.")
    uri: str = Field(description="`otpauth://...`, for opening in an app.")
    qr_svg: str = Field(description="The same as QR code, an SVG document.")


class OtpStatus(Answer):
    enabled: bool
    enabled_at: datetime | None
    backup_codes_left: int
    required_by: list[str] = Field(description="Organisations of yours that ask for it: it cannot be switched off.")


class BackupCodes(Answer):
    backup_codes: list[str] = Field(description="Each works once. They are shown this once.")


class SessionDocument(Answer):
    """Where somebody is signed in."""

    id: str
    kind: str = Field(description="`browser`, or `client` for a program.")
    device: str
    address: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    current: bool = Field(description="Whether this request belongs to it.")
    through: str = Field(description="Title of the sign-in provider that it began with; empty: a password.")


class Sessions(Answer):
    items: list[SessionDocument]


class Ended(Answer):
    ended: int = Field(description="How many sessions were ended.")


# ---- in and out


@op(
    "POST", "/auth/login", public="it is how one signs in", csrf_free=True, tags=TAGS,
    summary="Sign in for an access and a refresh token",
    problems=(401, 403, 429), example={"name": "kim", "password": "a few words in a row"},
)  # fmt: skip
def log_in(portal: Portal, body: Login) -> TokenPair:
    """Somebody with a second factor sends a code as `otp` too. Without one the answer is 401 with the code `otp_required` and a
    `challenge`, which `/auth/otp/verify` takes together with the code.
    """
    came = security.place()
    user = sign_in.both_steps(portal, body.name, body.password, body.otp, came.address)
    return _pair(clients.sign_in(portal, user, came))


@op(
    "POST", "/auth/otp/verify", public="it is the second step of signing in", csrf_free=True, tags=TAGS,
    summary="Sign in: the second step", problems=(401, 403, 429), example={"challenge": "eyJ...", "code": "492039"},
)  # fmt: skip
def verify_otp(portal: Portal, body: SecondStep) -> TokenPair:
    came = security.place()
    user = sign_in.second_step(portal, body.challenge, body.code, came.address)
    sign_in.require_own_password(user)
    return _pair(clients.sign_in(portal, user, came))


@op(
    "POST", "/auth/refresh", public="the refresh token is the proof", csrf_free=True, tags=TAGS,
    summary="Trade a refresh token for new tokens",
    problems=(401,), example={"refresh_token": "eyJ..."},
)  # fmt: skip
def refresh_tokens(portal: Portal, body: RefreshBody) -> TokenPair:
    """Each refresh token is good once. One that comes again was copied: its session ends at once."""
    return _pair(clients.refresh(portal, body.refresh_token, security.place()))


def _pair(pair: clients.Pair) -> TokenPair:
    return TokenPair(**asdict(pair))


@op("POST", "/auth/logout", permission=SELF, tags=TAGS, summary="Sign out", status=204, problems=(409,))
def log_out(actor: Actor) -> None:
    """Ends the session that this request belongs to; its access and refresh tokens are refused from now on."""
    current = security.current_session()
    if current is None:
        raise Conflict(_m("An API token has no session. Revoke it under /tokens instead."))
    sessions.close(current)


# ---- sessions


@op("GET", "/auth/sessions", permission=SELF, tags=TAGS, summary="Where I am signed in")
def list_sessions(actor: Actor) -> Sessions:
    return Sessions(items=[SessionDocument(**asdict(info)) for info in sessions.listing(actor.id, security.current_session())])


@op("DELETE", "/auth/sessions", permission=SELF, tags=TAGS, summary="End all my other sessions")
def end_other_sessions(actor: Actor, portal: Portal) -> Ended:
    """The one that this request belongs to stays. API tokens go on working."""
    return Ended(ended=sessions.end_others(portal, actor, security.current_session()))


@op("DELETE", "/auth/sessions/{session_id}", permission=SELF, tags=TAGS, summary="End one of my sessions", status=204,
    problems=(404,))  # fmt: skip
def end_session(actor: Actor, portal: Portal, session_id: str) -> None:
    sessions.end(portal, actor, session_id)


# ---- second factor


@op("GET", "/auth/otp/status", permission=SELF, tags=TAGS, summary="Whether codes are asked for")
def get_otp_status(actor: Actor) -> OtpStatus:
    return OtpStatus(**asdict(otp.status(actor.id)))


@op("POST", "/auth/otp/generate", permission=SELF, tags=TAGS, summary="Make a secret for an authenticator app",
    problems=(409,))  # fmt: skip
def generate_otp(actor: Actor, portal: Portal) -> OtpOffer:
    offer = otp.generate(portal, actor)
    picture = segno.make(offer.uri, error="m").svg_inline(scale=5, border=3, dark="#000", light="#fff")
    return OtpOffer(secret=offer.secret, uri=offer.uri, qr_svg=picture)


@op("POST", "/auth/otp/enable", permission=SELF, tags=TAGS, summary="Ask for codes from now on",
    problems=(409, 429), example={"code": "492039"})  # fmt: skip
def enable_otp(actor: Actor, portal: Portal, body: CodeBody) -> BackupCodes:
    """Needs a code of the secret that was made, so that nobody shuts himself out."""
    return BackupCodes(backup_codes=otp.enable(portal, actor, body.code, security.place().address))


@op("POST", "/auth/otp/disable", permission=SELF, tags=TAGS, summary="Ask for no more codes", status=204,
    problems=(409, 429), example={"password": "a few words in a row", "code": "492039"})  # fmt: skip
def disable_otp(actor: Actor, portal: Portal, body: DisableBody) -> None:
    otp.disable(portal, actor, body.password, body.code, security.place().address)


@op("POST", "/auth/otp/backup", permission=SELF, tags=TAGS, summary="Make new backup codes",
    problems=(409, 429), example={"code": "492039"})  # fmt: skip
def new_backup_codes(actor: Actor, portal: Portal, body: CodeBody) -> BackupCodes:
    """The former ones stop working."""
    return BackupCodes(backup_codes=otp.new_backup_codes(portal, actor, body.code, security.place().address))
