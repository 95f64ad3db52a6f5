"""What the place itself says about an instance: images fetched, machines found, memory run out. Asked each time, never kept."""

from __future__ import annotations

from dataclasses import replace

from clawportal.contracts.core_permissions import EVENT_READ
from clawportal.contracts.permissions import Actor
from clawportal.contracts.runtimes import RuntimeEvent
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Retry, Unavailable, Unsupported
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.redact import masked
from clawportal.services.clusters import clusters
from clawportal.services.configuration import layers
from clawportal.services.fleet import plans
from clawportal.services.rights import access

MOST = 200


def read(portal: Portal, actor: Actor, instance_id: str) -> list[RuntimeEvent]:
    """The newest, oldest first, without secrets. Unavailable when the place does not answer."""
    instance = access.get_or_404(Instance, instance_id, actor, EVENT_READ)
    runtime = clusters.connect(portal, plans.cluster_of(instance))
    if "events" not in runtime.capabilities:
        raise Unsupported(_m("The place where this instance runs says nothing about it by itself."))
    ref, values = plans.ref_of(instance), layers.open_secrets(portal, instance).values()
    db.session.rollback()  # the place may take a while
    try:
        found = runtime.events(ref)[-MOST:]
    except (OSError, Retry, GiveUp) as error:
        raise Unavailable(_m("The place where it runs does not say anything just now: %(error)s", error=error)) from error
    messages = masked([event.message for event in found], values)
    return [replace(event, message=message) for event, message in zip(found, messages, strict=True)]
