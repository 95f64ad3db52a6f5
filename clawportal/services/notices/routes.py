"""Carries facts to people and programs outside, by the routes that the settings name: who is told what.

Each route reads on in the feed from where it came to, so that a portal that was killed loses nothing. A notice arrives at least
once, in order. A route that is new begins with what happens from then on.
"""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from clawportal import clock
from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.notifiers import Notice, Notifier
from clawportal.contracts.permissions import SELF, SYSTEM
from clawportal.db import db
from clawportal.engine import leader
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Retry
from clawportal.lifecycle import backoff
from clawportal.messages import _m
from clawportal.models import EventRow, Tenant
from clawportal.pluginmanager import Registry, load
from clawportal.sections import read
from clawportal.services.events import event_log
from clawportal.services.system import portal_settings
from clawportal.settings import Settings

log = logging.getLogger(__name__)

AT_A_TIME = 200
"""Facts that a route looks at in one pass."""
LONGEST = 5.0
"""Seconds after which a route leaves the rest to its next pass: the others are waiting."""
PREFIX = "notices."
"""Begins the names under which places of routes are kept."""
LEVELS = ("info", "warning", "error")


class Route(BaseModel):
    """Which facts go where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    via: str = Field(min_length=1, max_length=40, description="Kind of notifier, such as log.")
    to: str = Field(
        "", max_length=2000, description="Address, in the form that the notifier takes.", json_schema_extra={"x-secret": True}
    )  # many services let in whoever knows the address
    kinds: tuple[str, ...] = Field(("*",), min_length=1, max_length=100, description="Kinds of events; * for any text.")
    least: Literal["info", "warning", "error"] = Field("warning", description="The lowest level that is told.")
    tenants: tuple[str, ...] = Field((), max_length=1000, description="Names of organisations. None: all, and the portal itself.")
    language: str = Field("en", max_length=20, description="In which the words are: en or zh_Hans.")

    @property
    def mark(self) -> str:
        """Names what is kept about it. A route that is changed is another one, and begins anew; one of before, from which a
        field is missing that came later, is the same."""
        said = self.model_dump_json(exclude_defaults=True)
        return f"{PREFIX}{hashlib.sha256(said.encode()).hexdigest()[:24]}"


class NoticeSettings(BaseModel):
    """Section `[notices]`."""

    routes: tuple[Route, ...] = Field(
        (), max_length=50, description="Who is told what outside of the pages: a list of routes, see docs/notices.md."
    )


def deliver_once(portal: Portal) -> None:
    """One pass over each route. One that fails holds up no other."""
    routes = portal.section(NoticeSettings).routes
    portal_settings.forget_others(PREFIX, {route.mark for route in routes})  # one that is put back begins anew
    for route in routes:
        try:
            _deliver(portal, route)
        except _Overtaken:
            log.info("notices via %s are carried by another process", route.via)
        except Exception:  # each route for itself
            db.session.rollback()
            log.exception("notices via %s could not be carried", route.via)


def check(registry: Registry, route: Route) -> str:
    """Why a route leads nowhere; empty if it may lead somewhere."""
    notifier = registry.notifiers.get(route.via)
    if notifier is None:
        known = sorted(registry.notifiers) or _m("none")
        return _m("There is no notifier %(via)s. Known: %(known)s.", via=repr(route.via), known=known)
    return notifier.check(route.to)


def doctor(settings: Settings) -> Iterator[DoctorResult]:
    """A finding for each route."""
    registry = load(settings.plugin_names, str(settings.data_dir), settings.plugin_folders)
    section: Any = read(settings, "notices", NoticeSettings)
    for route in section.routes:
        wrong = check(registry, route)
        yield DoctorResult(f"notices via {route.via}", not wrong, wrong or ", ".join(route.kinds), "Correct it in [notices].")


# ---- one route


class _Overtaken(Exception):
    """Another process has moved the place of this route, so it carries the route."""


@dataclass
class _Place:
    """Where a route has come to in the feed, as it was read or written last."""

    mark: str
    kept: dict[str, Any] | None

    @property
    def seq(self) -> int:
        return int(self.kept["seq"]) if self.kept else 0

    @property
    def tries(self) -> int:
        """How often what comes next could not be told."""
        return int(self.kept["tries"]) if self.kept else 0

    @property
    def waits(self) -> bool:
        again = self.kept["again"] if self.kept else ""
        return bool(again) and clock.now() < datetime.fromisoformat(again)

    def move(self, seq: int, *, tries: int = 0, wait: timedelta | None = None) -> None:
        now = {"seq": seq, "tries": tries, "again": (clock.now() + wait).isoformat() if wait else ""}
        if now != self.kept and not portal_settings.replace(self.mark, self.kept, now):
            raise _Overtaken
        self.kept = now


def _deliver(portal: Portal, route: Route) -> None:
    place = _Place(route.mark, portal_settings.read(route.mark))
    if place.kept is None:
        return place.move(event_log.settled())
    if place.waits:
        return None
    wrong = check(portal.registry, route)
    if wrong:
        log.warning("notices via %s wait: %s", route.via, wrong)
        return place.move(place.seq, tries=place.tries + 1, wait=backoff(place.tries + 1))
    rows = event_log.feed(SYSTEM, after=place.seq, oldest_first=True, limit=AT_A_TIME)
    return _carry(portal, route, rows, place) if rows else None


def _carry(portal: Portal, route: Route, rows: Sequence[EventRow], place: _Place) -> None:
    done, names, until = place.seq, _tenant_names(rows), time.monotonic() + LONGEST
    notices = [(row.seq, _notice_of(portal, route, row, names)) for row in rows]
    for seq, notice in notices:
        if notice is not None:
            if _is_over(portal):
                break
            try:
                _send(portal.registry.notifiers[route.via], route, notice)
            except Retry as later:
                tries = place.tries + 1 if done == place.seq else 1
                log.info("notices via %s wait: %s", route.via, later)
                return place.move(done, tries=tries, wait=max(later.delay or timedelta(0), backoff(tries)))
            place.move(seq)  # at once: what was told should not be told again after a crash
            if time.monotonic() >= until:
                return None
        done = seq
    return place.move(done)


def _is_over(portal: Portal) -> bool:
    over = portal.stopping.is_set() or leader.led_by_another(portal.holder)
    db.session.rollback()  # whoever is told may take seconds: hold no snapshot of the database meanwhile
    return over


def _send(notifier: Notifier, route: Route, notice: Notice) -> None:
    """What will never arrive is logged and passed over; so is what a notifier did not foresee, as it may be no better later."""
    try:
        notifier.send(notice, route.to)
    except Retry:
        raise
    except GiveUp as verdict:
        log.warning("event %s could not be told via %s: %s", notice.event.seq, route.via, verdict)
    except Exception:
        log.exception("event %s could not be told via %s", notice.event.seq, route.via)


# ---- who is told what


def _notice_of(portal: Portal, route: Route, row: EventRow, names: dict[str, str]) -> Notice | None:
    """None where it is nothing for this route. One that cannot be made is passed over, or it would hold up all that follow."""
    try:
        return _notice(portal, route, row, names) if _fits(route, row, names) else None
    except Exception:
        log.exception("event %s could not be put into words for %s, and is passed over", row.seq, route.via)
        return None


def _fits(route: Route, row: EventRow, names: dict[str, str]) -> bool:
    """What is for one person only is told to nobody else."""
    if row.read_permission == SELF or LEVELS.index(row.level) < LEVELS.index(route.least):
        return False
    if route.tenants and names.get(row.tenant_id or "") not in route.tenants:
        return False
    return any(fnmatch.fnmatchcase(row.kind, pattern) for pattern in route.kinds)


def _tenant_names(rows: Iterable[EventRow]) -> dict[str, str]:
    wanted = {row.tenant_id for row in rows if row.tenant_id}
    found = db.session.execute(select(Tenant.id, Tenant.name).where(Tenant.id.in_(wanted))) if wanted else ()
    return {row.id: row.name for row in found}


def _notice(portal: Portal, route: Route, row: EventRow, names: dict[str, str]) -> Notice:
    words, declared = portal.registry.catalogues, portal.registry.event_kind(row.kind)
    title = words.label(declared.title, route.language) if declared else row.kind
    text = words.text(row.message, route.language)
    public = portal.settings.public_url.rstrip("/")
    link = f"{public}/instances/{row.instance_id}" if public and row.instance_id else ""
    return Notice(event_log.as_event(row), str(title), str(text), names.get(row.tenant_id or "", ""), link)
