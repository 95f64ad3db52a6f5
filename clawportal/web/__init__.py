"""The pages: one file per noun."""

from __future__ import annotations

from flask import Blueprint


def blueprint() -> Blueprint:
    """The blueprint with every page on it."""
    from clawportal.web import about, auth, context, home, instances, operations, plugins, profile, spec_form
    from clawportal.web.pages import bp

    assert all((about, auth, context, home, instances, operations, plugins, profile, spec_form))  # imported for their views
    return bp
