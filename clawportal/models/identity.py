"""People, and the tokens by which their programs act for them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Connection, ForeignKey, String, Text, event, inspect
from sqlalchemy.orm import Mapped, mapped_column

from clawportal import clock, folding
from clawportal.contracts import core_resources
from clawportal.db import Base, UTCDateTime
from clawportal.ids import LENGTH, new_id


class User(Base):
    __tablename__ = "user_account"
    resource = core_resources.USER

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    display_name: Mapped[str] = mapped_column(String(200), default="")
    folded: Mapped[str] = mapped_column(String(330), unique=True)
    """The name as it is compared (`folding.fold`). Of twins from before the rule, all but the first have their id behind it."""
    skeleton: Mapped[str] = mapped_column(String(330), index=True)
    """The name as it looks."""
    searched: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str] = mapped_column(String(255))
    session_epoch: Mapped[int] = mapped_column(default=1)
    """Part of every session cookie: raising it ends all sessions at once."""
    must_change_password: Mapped[bool] = mapped_column(default=False)
    active: Mapped[bool] = mapped_column(default=True)
    language: Mapped[str] = mapped_column(String(10), default="")
    theme: Mapped[str] = mapped_column(String(10), default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    last_login_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    service_tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"), index=True)
    """The tenant that a service account belongs to; None for people. Such an account has no password and no session."""


class ApiToken(Base):
    """Only a hash is kept; `prefix` is what a person recognises it by."""

    __tablename__ = "api_token"
    resource = core_resources.API_TOKEN

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    scopes: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    """Permissions that it is narrowed to; None: all that its owner has."""
    addresses: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    """Networks (CIDR) from which it may be used; None: from everywhere."""


TWIN = "#"
"""No name has it: what follows tells accounts apart that are the same by the rule for names, and were made before it."""


@event.listens_for(User, "before_insert")
@event.listens_for(User, "before_update")
def _fold(_mapper: object, _connection: Connection, user: User) -> None:
    """A twin from before keeps its mark, unless it is renamed."""
    if not user.folded or inspect(user).attrs.name.history.has_changes():
        user.folded, user.skeleton = folding.fold(user.name), folding.skeleton(user.name)
    user.searched = folding.searched(user.name, user.display_name or "")
