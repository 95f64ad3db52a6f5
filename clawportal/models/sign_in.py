"""Signing in: where somebody is signed in, the second factor, and how often it went wrong."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, false
from sqlalchemy.orm import Mapped, mapped_column

from clawportal import clock
from clawportal.contracts import core_resources
from clawportal.db import Base, UTCDateTime
from clawportal.ids import LENGTH, new_id


class UserSession(Base):
    """One place where somebody is signed in: a browser, or a program that trades refresh tokens (`client`)."""

    __tablename__ = "user_session"
    resource = core_resources.USER_SESSION

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    epoch: Mapped[int]
    """The user's `session_epoch` when it began; it ends when the two differ."""
    serial: Mapped[int] = mapped_column(default=1)
    """Number of the refresh token that is valid now; an earlier one that comes again was stolen."""
    address: Mapped[str] = mapped_column(String(64), default="")
    agent: Mapped[str] = mapped_column(String(300), default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    last_seen_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    """When it ends by itself; moves on with each use."""
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    source: Mapped[str] = mapped_column(String(120), default="", server_default="", index=True)
    """Who let them in, as the feature calls it; empty: their password here."""
    source_title: Mapped[str] = mapped_column(String(200), default="", server_default="")
    vouched: Mapped[bool] = mapped_column(default=False, server_default=false())
    """The source asked for a second factor, and the portal need not."""


class Otp(Base):
    """The secret of somebody's authenticator app, sealed. Without `enabled_at` it was only offered."""

    __tablename__ = "user_otp"
    resource = core_resources.OTP

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    enabled_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_step: Mapped[int] = mapped_column(BigInteger, default=0)
    """The newest time step of which a code was used: the same code does not work twice."""


class BackupCode(Base):
    """A code for the day when the app is lost; works once, only a hash is kept."""

    __tablename__ = "backup_code"
    resource = core_resources.BACKUP_CODE

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class KnownAddress(Base):
    """An address from which somebody has signed in: wrong tries from elsewhere never block it."""

    __tablename__ = "known_address"
    resource = core_resources.KNOWN_ADDRESS

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now, index=True)


class WrongTries(Base):
    """How often signing in went wrong, by name, by address, or by both; an empty text stands for all."""

    __tablename__ = "wrong_tries"
    resource = core_resources.WRONG_TRIES

    purpose: Mapped[str] = mapped_column(String(10), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hash of the name: names that do not exist are counted too, and somebody's password may have been typed as name."""
    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int] = mapped_column(default=0)
    last_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now, index=True)
    until: Mapped[datetime | None] = mapped_column(UTCDateTime)
