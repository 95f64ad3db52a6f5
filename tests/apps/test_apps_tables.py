"""Tickets, ports and links as rows, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from clawportal import clock
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Unauthenticated
from clawportal.models import Instance
from clawportal.services.fleet import instances
from clawportal.services.fleet.instances import NewInstance
from clawportal.services.identity import identity
from clawportal_apps import ports, proofs, shares
from clawportal_apps.models import AppPort, AppShare, AppTicket
from clawportal_apps.names import App
from clawportal_apps.proofs import Pass
from clawportal_apps.settings import AppSettings
from tests.core.world import World

HOME = "http://127.0.0.1:8800"


def new(portal: Portal, name: str = "one") -> Instance:
    return instances.create(portal, SYSTEM, NewInstance(name=name, adapter="echo", start=False))


def rows(model: type) -> int:
    return db.session.scalar(select(func.count()).select_from(model)) or 0


def test_a_ticket_is_a_row_until_it_is_used(both: World) -> None:
    with both.context() as portal:
        claw = new(portal)
        app = App(claw.id, "http")
        text, late = (proofs.ticket_for(portal, claw, Pass(app, HOME)) for _ in range(2))
        assert proofs.used(portal, app, text).home == HOME and rows(AppTicket) == 1
        for wrong in (text, text[:-5], ""):
            with pytest.raises(Unauthenticated):
                proofs.used(portal, app, wrong)
        clock.travel(proofs.TICKET_LIFE + timedelta(seconds=1))
        try:
            with pytest.raises(Unauthenticated):
                proofs.used(portal, app, late)
            proofs.forget_old(portal)
            assert rows(AppTicket) == 0
        finally:
            clock.travel(-proofs.TICKET_LIFE - timedelta(seconds=1))


def test_a_port_is_given_once(both: World) -> None:
    with both.context() as portal:
        portal.registry.sections[AppSettings] = AppSettings(ports="18810-18811")
        one, two = new(portal, "one"), new(portal, "two")
        places = [ports.origin(portal, claw, App(claw.id, "http"), "http://portal.test:8800") for claw in (one, two, one)]
        assert places == ["http://portal.test:18810", "http://portal.test:18811", "http://portal.test:18810"]
        assert ports.app_at(18811) == App(two.id, "http") and ports.app_at(18812) is None
        with transaction():
            db.session.delete(db.session.get_one(Instance, two.id))
        assert rows(AppPort) == 2, "also when the claw is gone"


def test_a_link_goes_with_its_claw(both: World) -> None:
    with both.context() as portal:
        user = identity.create_user(portal, SYSTEM, "kim", "correct horse battery", role="portal-admin")
        kim, claw = identity.actor_of(portal, user), new(portal)
        app = App(claw.id, "http")
        link = shares.create(portal, kim, claw.id, "http", 2, "for the review", HOME)
        secret = link.url.partition("link=")[2]
        assert link.row.digest not in link.url and shares.used(portal, app, secret, HOME).share_id == link.row.id
        shares.revoke(portal, kim, link.row.id)
        for wrong in (secret, f"{link.row.id}.wrong", "nothing"):
            with pytest.raises(Unauthenticated):
                shares.used(portal, app, wrong, HOME)
        with transaction():
            db.session.delete(db.session.get_one(Instance, claw.id))
        assert rows(AppShare) == 0
