"""Signing in with the account of somebody else: OpenID providers, whose accounts are whose, and what their groups give."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import LENGTH, Base, UTCDateTime, new_id, now
from clawportal_sso.resources import GROUP_ROLE, IDENTITY, PROVIDER

SOURCE = "oidc:"
"""Begins the `source` of what a provider gave; its id follows."""


class OidcProvider(Base):
    """An OpenID provider that people may sign in with, as an administrator of the portal set it up."""

    __tablename__ = "oidc_provider"
    resource = PROVIDER

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    """Part of the address that the provider sends people back to, so it never changes."""
    title: Mapped[str] = mapped_column(String(100))
    issuer: Mapped[str] = mapped_column(String(500))
    client_id: Mapped[str] = mapped_column(String(200))
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The client secret; None for a public client, which PKCE alone protects."""
    scopes: Mapped[str] = mapped_column(String(500), default="openid profile email")
    username_claim: Mapped[str] = mapped_column(String(100), default="preferred_username")
    email_claim: Mapped[str] = mapped_column(String(100), default="email")
    name_claim: Mapped[str] = mapped_column(String(100), default="name")
    groups_claim: Mapped[str] = mapped_column(String(100), default="groups")
    email_domains: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Only people with a confirmed address in one of these come in; empty: everybody."""
    create_users: Mapped[bool] = mapped_column(default=False)
    link_by_email: Mapped[bool] = mapped_column(default=False)
    """A local account whose user name is the confirmed email address is taken for the same person."""
    second_factor: Mapped[bool] = mapped_column(default=False)
    """The provider's own second factor is enough; the portal asks for no code of its own."""
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenant.id", ondelete="SET NULL"))
    """Where new people become members."""
    role: Mapped[str] = mapped_column(String(40), default="viewer")
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)

    @property
    def source(self) -> str:
        """What memberships, roles and sessions that come from it call it."""
        return f"{SOURCE}{self.id}"

    @property
    def name(self) -> str:
        """What the audit calls it."""
        return self.slug


class OidcIdentity(Base):
    """That an account of a provider belongs to somebody here."""

    __tablename__ = "oidc_identity"
    resource = IDENTITY
    __table_args__ = (UniqueConstraint("provider_id", "subject"), UniqueConstraint("provider_id", "user_id"))

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    provider_id: Mapped[str] = mapped_column(ForeignKey("oidc_provider.id", ondelete="CASCADE"))
    subject: Mapped[str] = mapped_column(String(255))
    """What the provider calls this account for ever; names and addresses change."""
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(String(320), default="")
    """As the provider said at the last sign-in, to recognise it by."""
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    last_login_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class OidcGroupRole(Base):
    """What belonging to a group of a provider gives here: a role in a tenant, in one project of it, or over the whole portal."""

    __tablename__ = "oidc_group_role"
    resource = GROUP_ROLE

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    provider_id: Mapped[str] = mapped_column(ForeignKey("oidc_provider.id", ondelete="CASCADE"), index=True)
    group: Mapped[str] = mapped_column("group_value", String(255))
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    """None: a role over the whole portal."""
    project_id: Mapped[str | None] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    role: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
