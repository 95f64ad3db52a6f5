"""Where providers send people back to."""

from __future__ import annotations

from flask import url_for

from clawportal.sdk.pages import external


def callback_of(slug: str) -> str:
    """An address of this portal as the provider has to know it."""
    return external(url_for("web.oidc_callback", name=slug))
