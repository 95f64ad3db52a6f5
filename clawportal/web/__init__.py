"""The pages: one file per noun."""

from __future__ import annotations

from flask import Blueprint


def blueprint() -> Blueprint:
    """The blueprint with every page on it."""
    from clawportal.web import about, auth, context, home, instances, operations, plugins, profile, profile_sign_in, spec_form
    from clawportal.web.pages import bp

    # imported for their views
    assert all((
        about, auth, context, home, instances, operations, plugins, profile, profile_sign_in, spec_form,
    ))  # fmt: skip
    return bp
