"""What runs in a cluster that no portal made: listed, imported to be observed, adopted as it is, forgotten."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from clawportal.api import instances as documents
from clawportal.api._layer import Answer, op
from clawportal.contracts.core_permissions import CLUSTER_MANAGE, INSTANCE_DELETE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.runtimes import RunState
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.services.fleet import unmanaged

TAGS = ("Clusters",)


class ForeignDocument(Answer):
    """Something that somebody else made, such as a container; never with the values of its secrets."""

    id: str
    name: str
    image: str
    state: RunState
    created_at: datetime | None
    adapter: str = Field(description="Kind of claw that it seems to be; empty where nobody can tell.")
    version: str
    instance_id: str = Field(description="The instance that it is already; empty for none.")
    instance_name: str
    details: dict[str, Any] = Field(description="What its place tells: command, labels, mounts, and more of a single one.")


class ForeignList(Answer):
    items: list[ForeignDocument]


class ImportBody(Strict):
    """What is absent is taken from what was found."""

    name: str = Field("", max_length=200, description="Of the instance: 1 to 63 small letters, digits or dashes.")
    adapter: str = Field("", max_length=100, description="Kind of claw; needed where it cannot be told.")
    version: str = Field("", max_length=100)
    project: str | None = Field(None, max_length=100, description="Id or name; without it, the default project.")
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)


@op("GET", "/clusters/{cluster_id}/foreign", permission=CLUSTER_MANAGE, tags=TAGS, returns=ForeignList,
    summary="What else runs in a cluster", problems=(404, 409, 503))  # fmt: skip
def list_foreign(actor: Actor, portal: Portal, cluster_id: str) -> dict[str, Any]:
    """Asks the cluster. What seems to be a claw comes first. Only for kinds of place with the capability `import`."""
    return {"items": [_document(one) for one in unmanaged.listing(portal, actor, cluster_id)]}


@op("GET", "/clusters/{cluster_id}/foreign/{name}", permission=CLUSTER_MANAGE, tags=TAGS, returns=ForeignDocument,
    summary="One thing that runs in a cluster", problems=(404, 409, 503))  # fmt: skip
def get_foreign(actor: Actor, portal: Portal, cluster_id: str, name: str) -> dict[str, Any]:
    """By name or id, with everything that is known of it."""
    return _document(unmanaged.get(portal, actor, cluster_id, name))


@op("POST", "/clusters/{cluster_id}/foreign/{name}/import", permission=CLUSTER_MANAGE, tags=TAGS, status=201,
    returns=documents.InstanceDocument, etag=True, summary="Import what somebody else made", problems=(404, 409, 503),
    example={"name": "old-helper", "adapter": "openclaw"})  # fmt: skip
def import_foreign(actor: Actor, portal: Portal, cluster_id: str, name: str, body: ImportBody) -> Any:
    """It becomes an instance that is only observed: state, logs, metrics, events. The portal does nothing to it until it is
    adopted. Needs the right to create instances in the project, too."""
    made = unmanaged.import_one(portal, actor, cluster_id, name, unmanaged.Import(**body.model_dump()))
    document, _status, headers = documents.answer_of(portal, made)
    return document, 201, headers | {"Location": f"/api/v1/instances/{made.id}"}


@op("POST", "/instances/{instance_id}/adopt", permission=CLUSTER_MANAGE, tags=documents.TAGS, status=202,
    returns=documents.InstanceDocument, etag=True, summary="Manage what was imported", problems=(404, 409))  # fmt: skip
def adopt_instance(actor: Actor, portal: Portal, instance_id: str) -> Any:
    """As it is: the same container with the same volumes, which runs on. From now on it can be started, stopped, restarted,
    killed and deleted; its configuration stays its maker's. Needs the right to create instances in its project, too."""
    return documents.answer_of(portal, unmanaged.adopt(portal, actor, instance_id), 202)


@op("POST", "/instances/{instance_id}/forget", permission=INSTANCE_DELETE, tags=documents.TAGS,
    returns=documents.InstanceDocument, etag=True, summary="Forget what was imported", problems=(404, 409))  # fmt: skip
def forget_instance(actor: Actor, portal: Portal, instance_id: str) -> Any:
    """Whether it was adopted or not: what runs in the cluster runs on and is not touched."""
    return documents.answer_of(portal, unmanaged.forget(portal, actor, instance_id))


def _document(one: unmanaged.Found) -> dict[str, Any]:
    item = one.item
    return {
        "id": item.id, "name": item.name, "image": item.image, "state": item.state, "created_at": item.created_at,
        "adapter": one.adapter, "version": one.version, "instance_id": one.instance_id, "instance_name": one.instance_name,
        "details": dict(item.details),
    }  # fmt: skip
