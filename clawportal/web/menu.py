"""The side menu, the tabs of an instance and cards, as the features of this app declare them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flask import request, url_for
from markupsafe import Markup, escape

from clawportal.contracts.features import Feature, InstanceAction, NavLink, Tab, TenantTab
from clawportal.contracts.permissions import Actor, Scope
from clawportal.declarations import resolve
from clawportal.http.security import actor, portal
from clawportal.models import Instance
from clawportal.web.rows import InstanceRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Link:
    """A link of the menu, as the template shows it."""

    title: str
    href: str
    icon: str
    key: str
    page: str
    count: int
    count_title: str
    count_tone: str


@dataclass
class Menu:
    """Asked only by pages that have a menu."""

    actor: Actor | None
    _shown: dict[str, list[Link]] = field(default_factory=dict)
    _top: list[Markup] | None = None

    def section(self, name: str) -> list[Link]:
        if name not in self._shown:
            self._shown[name] = [self._link(link) for link in self._visible(name)]
        return self._shown[name]

    def notes(self) -> list[Markup]:
        """What features show at its foot."""
        return cards("menu") if self.actor else []

    def top(self) -> list[Markup]:
        """What features show on top of every page. Rendered once, though it stands there twice."""
        if self._top is None:
            self._top = cards("top") if self.actor else []
        return self._top

    def _visible(self, section: str) -> Iterator[NavLink]:
        links = (link for feature in portal().registry.features for link in feature.nav if link.section == section)
        for link in sorted(links, key=lambda link: link.order):
            allowed = link.permission is None or (self.actor is not None and self.actor.has(link.permission))
            if allowed and not (link.only_everywhere and self.actor and self.actor.inside):
                yield link

    def _link(self, link: NavLink) -> Link:
        count = resolve(link.count)(self.actor) if link.count and self.actor else 0
        page = link.page or link.endpoint.rpartition(".")[2]
        return Link(link.title, _address(link), link.icon, link.key, page, count, link.count_title, link.count_tone)


def _address(link: NavLink) -> str:
    if link.endpoint:
        return url_for(link.endpoint)
    return request.script_root + link.href if link.href.startswith("/") else link.href


def cards(place: str, **given: Any) -> list[Markup]:
    """The cards that features show in a place, called with what that place has; one that fails is left out and named."""
    registry, who = portal().registry, actor()
    found = [(feature, card) for feature in registry.features for card in feature.cards if card.place == place]
    made = []
    for feature, card in sorted(found, key=lambda one: one[1].order):
        try:
            made.append(escape(resolve(card.render)(who, **given) or "") if who.has(card.permission) else Markup())
        except Exception as error:
            log.exception("the card %s of %s failed", card.name, feature.name)
            registry.report(registry.owners[feature.name], f"card {card.name}", f"Its card {card.name!r} failed: {error!r}.")
    return [card for card in made if card]


def tenant_tabs(tenant_id: str) -> list[TenantTab]:
    """The tabs that features bring to the page of an organisation, and that who asks may open."""
    tabs = (tab for feature in portal().registry.features for tab in feature.tenant_tabs)
    return [tab for tab in sorted(tabs, key=lambda tab: tab.order) if actor().allows(tab.permission, Scope(tenant_id))]


def tabs_of(found: Instance, row: InstanceRow) -> list[Tab]:
    """The tabs that who asks may open on the page of an instance."""
    tabs = (tab for feature in portal().registry.features for tab in feature.instance_tabs)
    return [tab for tab in sorted(tabs, key=lambda tab: tab.order) if _shown(tab, found, row)]


def menu_tabs(row: InstanceRow) -> list[Tab]:
    """The tabs to which the menu of an instance in lists leads."""
    tabs = (tab for feature in portal().registry.features for tab in feature.instance_tabs if tab.in_menu)
    return sorted((tab for tab in tabs if not tab.can or tab.can in row.can), key=lambda tab: tab.order)


def actions_of(found: Instance) -> list[Markup]:
    """What features offer to do with an instance to who asks; one that fails is left out and named."""
    registry, where = portal().registry, Scope(found.tenant_id, found.project_id, found.id)
    offered = [(feature, one) for feature in registry.features for one in feature.instance_actions]
    made = []
    for feature, one in sorted(offered, key=lambda pair: pair[1].order):
        try:
            made.append(escape(resolve(one.render)(portal(), found) or "") if actor().allows(one.permission, where) else Markup())
        except Exception as error:
            log.exception("the action %s of %s failed", one.name, feature.name)
            registry.report(registry.owners[feature.name], f"action {one.name}", f"Its action {one.name!r} failed: {error!r}.")
    return [one for one in made if one]


def opens(found: Instance) -> bool:
    """Whether something that is offered to who asks leads to a page of the claw itself."""
    where = Scope(found.tenant_id, found.project_id, found.id)
    told = [(feature, one) for feature in portal().registry.features for one in feature.instance_actions if one.opens]
    return any(_opens(feature, one, found) for feature, one in told if actor().allows(one.permission, where))


def _opens(feature: Feature, one: InstanceAction, found: Instance) -> bool:
    """One that fails leads nowhere, and is named."""
    registry = portal().registry
    try:
        return bool(resolve(one.opens)(portal(), found))
    except Exception as error:
        log.exception("whether the action %s of %s leads to a page could not be asked", one.name, feature.name)
        registry.report(registry.owners[feature.name], f"action {one.name}", f"Its action {one.name!r} failed: {error!r}.")
        return False


def _shown(tab: Tab, found: Instance, row: InstanceRow) -> bool:
    if tab.only_managed and not row.managed:
        return False
    if tab.can and tab.can not in row.can:
        return False
    if not actor().allows(tab.permission, Scope(found.tenant_id, found.project_id, found.id)):
        return False
    return not tab.when or bool(resolve(tab.when)(portal(), found))
