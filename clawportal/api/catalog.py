"""What there is to choose from: kinds of claw, runtimes, projects."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from clawportal import secret_settings
from clawportal.api._layer import Answer, Query, op
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.core_permissions import CATALOG_READ
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import InstanceSpec
from clawportal.engine.portal import Portal
from clawportal.errors import Invalid, NotFound
from clawportal.messages import _m
from clawportal.services.configuration import catalog
from clawportal.services.tenancy import tenancy

TAGS = ("Catalogue",)


class VersionDocument(Answer):
    version: str
    title: str
    default: bool


class AdapterItem(Answer):
    """A kind of claw."""

    kind: str
    title: str
    description: str
    capabilities: list[str]
    versions: list[VersionDocument]
    default_version: str
    suggested_memory: str
    startup_seconds: float


class PortDocument(Answer):
    name: str
    title: str
    default: int
    protocol: str


class AdapterDocument(AdapterItem):
    version: str = Field(description="The version that the schemas, ports and secrets below belong to.")
    settings_schema: dict[str, Any] = Field(description="JSON Schema of `spec.settings`.")
    spec_schema: dict[str, Any] = Field(description="JSON Schema of the whole `spec`, with these settings inside.")
    ports: list[PortDocument]
    secrets: list[str] = Field(description="Names that `secrets` may have.")
    generated_secrets: list[str] = Field(description="Names of the secrets that the portal makes up.")


class Adapters(Answer):
    items: list[AdapterItem]


class AdapterQuery(Query):
    version: str = Field("", max_length=60, description="Of which version; without it, of the default one.")


class RuntimeDocument(Answer):
    """A kind of place to run claws in."""

    kind: str
    title: str
    settings_schema: dict[str, Any]


class Runtimes(Answer):
    items: list[RuntimeDocument]


class ModelProviderDocument(Answer):
    """Who serves language models: `spec.model.provider` names its id."""

    id: str
    title: str
    description: str
    dialect: str = Field(description="How its API is spoken to.")
    base_url: str = Field(description="Used where `spec.model.base_url` is empty; empty: an address has to be given.")
    key: Literal["needed", "optional", "none"]
    key_name: str
    key_url: str = Field(description="Page where people get a key.")
    model_example: str
    served: bool = Field(description="The portal serves it itself: it needs no address, no model and no key.")
    needs_address: bool


class ModelProviderList(Answer):
    items: list[ModelProviderDocument]


class ProjectItem(Answer):
    """A project as lists show it."""

    id: str
    name: str
    title: str
    tenant_id: str
    tenant_name: str
    tenant_title: str


class Projects(Answer):
    items: list[ProjectItem]


@op("GET", "/adapters", permission=CATALOG_READ, tags=TAGS, summary="Kinds of claw", keep=True)
def list_adapters(portal: Portal) -> Adapters:
    return Adapters(items=[AdapterItem(**_adapter(adapter)) for adapter in portal.registry.adapters.values()])


@op("GET", "/adapters/{kind}", permission=CATALOG_READ, tags=TAGS, summary="One kind of claw, with its schemas", keep=True,
    problems=(404,))  # fmt: skip
def get_adapter(portal: Portal, kind: str, query: AdapterQuery) -> AdapterDocument:
    adapter = portal.registry.adapters.get(kind)
    if adapter is None:
        raise NotFound(
            _m(
                "There is no kind of claw %(kind)s. Known: %(join)s.",
                kind=repr(kind),
                join=sorted(portal.registry.adapters),
            )
        )
    version = query.version or catalog.default_version(adapter)
    known = [entry.version for entry in adapter.versions()]
    if version not in known:
        raise Invalid.field(
            "version",
            _m(
                "%(title)s %(version)s is not offered. Known: %(join)s.",
                title=adapter.title,
                version=version,
                join=[*known],
            ),
            "unknown",
        )
    settings = adapter.settings_model(version)
    own = secret_settings.secret_fields(settings)
    return AdapterDocument(
        **_adapter(adapter),
        version=version,
        settings_schema=settings.model_json_schema(),
        spec_schema=_spec_schema(settings),
        ports=[
            PortDocument(name=port.name, title=port.title or port.name, default=port.default, protocol=port.protocol)
            for port in adapter.ports(version)
        ],
        secrets=[*((catalog.MODEL_KEY,) if "model" in adapter.capabilities else ()), *own],
        generated_secrets=list(adapter.generated_secrets(version)),
    )


def _adapter(adapter: Adapter) -> dict[str, Any]:
    return {
        "kind": adapter.kind,
        "title": adapter.title,
        "description": adapter.description,
        "capabilities": sorted(adapter.capabilities),
        "versions": [
            VersionDocument(version=entry.version, title=entry.title or entry.version, default=entry.default)
            for entry in adapter.versions()
        ],
        "default_version": catalog.default_version(adapter),
        "suggested_memory": adapter.suggested_memory,
        "startup_seconds": adapter.startup_seconds,
    }


def _spec_schema(settings: type[BaseModel]) -> dict[str, Any]:
    # a model of both, so that definitions of the same name do not get into each other's way
    needed = any(field.is_required() for field in settings.model_fields.values())
    spec: type[BaseModel] = create_model(
        "Spec", __base__=InstanceSpec, settings=(settings, Field(... if needed else {}, title="Settings"))
    )
    return spec.model_json_schema()


@op("GET", "/runtimes", permission=CATALOG_READ, tags=TAGS, summary="Kinds of place to run claws in", keep=True)
def list_runtimes(portal: Portal) -> Runtimes:
    return Runtimes(
        items=[
            RuntimeDocument(kind=driver.kind, title=driver.title, settings_schema=driver.settings_model().model_json_schema())
            for driver in portal.registry.runtimes.values()
        ]
    )


@op("GET", "/model-providers", permission=CATALOG_READ, tags=TAGS, summary="Who serves language models", keep=True)
def list_model_providers(portal: Portal) -> ModelProviderList:
    known = portal.registry.providers.values()
    return ModelProviderList(items=[ModelProviderDocument.model_validate(one, from_attributes=True) for one in known])


@op("GET", "/projects", permission=CATALOG_READ, tags=TAGS, summary="Projects that one may see into")
def list_projects(actor: Actor) -> Projects:
    return Projects(items=[ProjectItem.model_validate(project, from_attributes=True) for project in tenancy.projects(actor)])
