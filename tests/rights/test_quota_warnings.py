"""That a quota is nearly used up is said once, by the change that takes it there."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from clawportal.contracts.core_permissions import QUOTA_READ
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.errors import OverQuota
from clawportal.models import EventRow, Tenant
from clawportal.services.fleet import instances, quotas
from clawportal.services.fleet.instances import NewInstance
from clawportal.services.fleet.quotas import Limits
from tests.core.world import World

SMALL: dict[str, Any] = {"resources": {"cpu": "500m", "memory": "64Mi"}}


def said(world: World) -> list[str]:
    with world.context():
        return [row.message for row in db.session.scalars(select(EventRow).where(EventRow.kind == "quota.near"))]


def test_nine_tenths_of_a_quota_are_said_once(both: World) -> None:
    with both.context() as portal:
        tenant = db.session.scalars(select(Tenant)).one()
        title, tenant_id = tenant.title or tenant.name, tenant.id
        quotas.set_tenant(portal, SYSTEM, tenant_id, Limits(instances=10))
    for n in range(8):
        both.create(f"q{n}", start=False, **SMALL)
    assert said(both) == []
    both.create("q8", start=False, **SMALL)
    assert said(both) == [f"{title} uses 9 of 10 instances."]
    both.create("q9", start=False, **SMALL)
    assert len(said(both)) == 1, "it was said"
    with both.context():
        row = db.session.scalars(select(EventRow).where(EventRow.kind == "quota.near")).one()
        assert (row.tenant_id, row.read_permission, row.subject_type) == (tenant_id, str(QUOTA_READ), "quota")


def test_a_change_that_is_refused_says_nothing(both: World) -> None:
    with both.context() as portal:
        tenant_id = db.session.scalars(select(Tenant.id)).one()
        quotas.set_tenant(portal, SYSTEM, tenant_id, Limits(cpu="400m"))
        with pytest.raises(OverQuota):
            instances.create(portal, SYSTEM, NewInstance(name="large", adapter="echo", spec=SMALL))
    assert said(both) == []
