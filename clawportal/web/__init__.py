"""The pages: one file per noun. Features name the modules; each app collects the pages of its own features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask import Blueprint

from clawportal.contracts.features import Feature, NavLink, Tab
from clawportal.declarations import ENDPOINTS, Broken, marked
from clawportal.http import security
from clawportal.pluginmanager import Registry
from clawportal.web.pages import MARK, Page


def collected(registry: Registry) -> list[Page]:
    """The pages of all features. A plugin whose pages cannot be used is left out of the registry."""
    pages = registry.gather("pages", _of, key=lambda page: page.endpoint)
    known = {f"web.{page.endpoint}" for page in pages}
    for feature in registry.features:
        lost = next((part for part in _parts(feature) if part.endpoint not in known and not _leads_elsewhere(part)), None)
        if lost is not None:
            why = f"The feature {feature.name!r} leads to {lost.endpoint!r}, which is no page."
            registry.leave_out(registry.owners[feature.name], why)
    return pages


def _parts(feature: Feature) -> Iterator[NavLink | Tab]:
    return (part for name in ENDPOINTS for part in getattr(feature, name))


def _leads_elsewhere(part: NavLink | Tab) -> bool:
    return isinstance(part, NavLink) and not part.endpoint and part.href.startswith(("/", "https://", "http://"))


def _of(feature: Feature) -> Iterator[Page]:
    for module in feature.pages:
        for page in marked(module, MARK):
            if not hasattr(page.view, security.MARK):
                raise Broken(f"the page {page.endpoint} declares no permission: put @requires(...) or @public(why) below @page")
            yield page


def blueprint(pages: Iterable[Page]) -> Blueprint:
    """The blueprint with these pages, and what all of them share."""
    from clawportal.web import context, gone
    from clawportal.web import pages as shared

    made = Blueprint("web", __name__)
    for page in pages:
        made.add_url_rule(page.rule, page.endpoint, page.view, methods=list(page.methods))
    for part in (shared, context, gone):
        part.init(made)
    return made
