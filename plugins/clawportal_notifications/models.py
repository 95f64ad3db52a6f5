"""What people were told, what they chose, and what is on its way to them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import LENGTH, Base, MessageText, PersonScoped, UTCDateTime, new_id, now
from clawportal_notifications.resources import CHOICE, DELIVERY, LINE, MUTED, PERSON, PLACE

PORTAL, EMAIL, WEBHOOK = WAYS = ("portal", "email", "webhook")
WAITING, SENT, GIVEN_UP, NOTHING = "waiting", "sent", "given-up", "nothing-left"
"""How a delivery is. `nothing-left`: whoever it was for may not see any of it any more."""
NEW_PLACE, WAY_CHANGED = "session.new_place", "notification.way_changed"
ABOUT_THE_ACCOUNT = (NEW_PLACE, WAY_CHANGED)
"""What goes to the address that was good when it happened: whoever took an account over must not take the warning away."""


class Line(PersonScoped, Base):
    """What one person is told of: one line for one thing, however often it happens until they read it."""

    __tablename__ = "notifications_line"
    resource = LINE
    __table_args__ = (
        Index("ix_notifications_line_user_id_at", "user_id", "at", "id"),
        Index("ix_notifications_line_user_id_about", "user_id", "about"),
        Index("ix_notifications_line_email_due", "user_id",
              sqlite_where=text("email_due = 1"), postgresql_where=text("email_due")),
        Index("ix_notifications_line_webhook_due", "user_id",
              sqlite_where=text("webhook_due = 1"), postgresql_where=text("webhook_due")),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    interest: Mapped[str] = mapped_column(String(60))
    """What they asked to be told of."""
    about: Mapped[str] = mapped_column(String(100), default="")
    """Id of the instance, or of what else it is about."""
    seq: Mapped[int] = mapped_column(BigInteger)
    """The event that happened last. Whoever may not see that one may not see the line."""
    count: Mapped[int] = mapped_column(default=1)
    level: Mapped[str] = mapped_column(String(10), default="info")
    message: Mapped[str] = mapped_column(MessageText, default="")
    instance_id: Mapped[str | None] = mapped_column(String(LENGTH))
    path: Mapped[str] = mapped_column(String(200), default="")
    """The page of what it is about."""
    first_at: Mapped[datetime] = mapped_column(UTCDateTime)
    at: Mapped[datetime] = mapped_column(UTCDateTime)
    read_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    shown: Mapped[bool] = mapped_column(default=True)
    """Whether it is told in the portal, too."""
    email_due: Mapped[bool] = mapped_column(default=False)
    webhook_due: Mapped[bool] = mapped_column(default=False)
    followed: Mapped[bool] = mapped_column(default=False)
    """Whether what follows it was told, such as that a claw is well again."""


class Ways(PersonScoped, Base):
    """Where one person can be reached outside of the portal."""

    __tablename__ = "notifications_person"
    resource = PERSON

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    email: Mapped[str] = mapped_column(String(254), default="")
    """Confirmed: somebody typed a code that was sent there."""
    wanted_email: Mapped[str] = mapped_column(String(254), default="")
    code_hash: Mapped[str] = mapped_column(String(64), default="")
    code_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    code_tries: Mapped[int] = mapped_column(default=0)
    webhook: Mapped[str] = mapped_column(String(300), default="")
    """Its scheme, host and port, to be shown; empty: there is none."""
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The whole address and the secret that signs."""
    every_minutes: Mapped[int] = mapped_column(default=15)
    """One mail at most in so many minutes."""
    mailed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    called_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class Choice(PersonScoped, Base):
    """Where somebody wants it otherwise than what is declared."""

    __tablename__ = "notifications_choice"
    resource = CHOICE

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    interest: Mapped[str] = mapped_column(String(60), primary_key=True)
    way: Mapped[str] = mapped_column(String(10), primary_key=True)
    wanted: Mapped[bool]


class Muted(PersonScoped, Base):
    """Instances of which somebody wants to hear nothing."""

    __tablename__ = "notifications_muted"
    resource = MUTED

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    instance_id: Mapped[str] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True, index=True)


class Delivery(PersonScoped, Base):
    """One mail, or one call of an address: kept until it was taken, and for a while as a log."""

    __tablename__ = "notifications_delivery"
    resource = DELIVERY
    __table_args__ = (
        Index("ix_notifications_delivery_state_due_at", "state", "due_at"),
        Index("ix_notifications_delivery_user_id", "user_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    way: Mapped[str] = mapped_column(String(10))
    address: Mapped[str] = mapped_column(String(254), default="", server_default="")
    """For mail: where it goes, also where that was taken away meanwhile; empty: wherever the person is reached then."""
    state: Mapped[str] = mapped_column(String(20), default=WAITING)
    lines: Mapped[list[str]] = mapped_column(JSON, default=list)
    tries: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    error: Mapped[str] = mapped_column(MessageText, default="")


class Place(Base):
    """How far the feed was read, for everybody together; one row."""

    __tablename__ = "notifications_place"
    resource = PLACE

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
