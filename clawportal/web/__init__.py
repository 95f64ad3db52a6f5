"""The pages: one file per noun."""

from __future__ import annotations

from flask import Blueprint


def blueprint() -> Blueprint:
    """The blueprint with every page on it."""
    from clawportal.web import (
        about,
        accounts,
        audit,
        auth,
        clusters,
        context,
        files,
        gone,
        home,
        instances,
        layers,
        members,
        oidc,
        operations,
        plugins,
        policies,
        profile,
        profile_sign_in,
        providers,
        service_accounts,
        spec_form,
        tenants,
        unmanaged,
    )
    from clawportal.web.pages import bp

    # imported for their views
    assert all((
        about, accounts, audit, auth, clusters, context, files, gone, home, instances, layers, members, oidc, operations,
        plugins, policies, profile, profile_sign_in, providers, service_accounts, spec_form, tenants, unmanaged,
    ))  # fmt: skip
    return bp
