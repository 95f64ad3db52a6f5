"""A second instance like one that exists: what of it is copied, what is not and why, and the create itself.

The copy is created as any other instance, so that quotas, rules and rights hold for it. What makes a claw this one and no other
stays: its access tokens, what its adapter calls unique, and its folders but for the one that it shares with people.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from clawportal.contracts.core_permissions import (
    INSTANCE_CONSOLE,
    INSTANCE_FILES_READ,
    INSTANCE_FILES_WRITE,
    INSTANCE_OPERATE,
    INSTANCE_READ,
    INSTANCE_UPDATE,
)
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import ModelChoice
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, Invalid
from clawportal.lifecycle import Desired, Phase
from clawportal.messages import _m
from clawportal.models import Cluster, Instance, Project
from clawportal.secret_settings import secret_fields, unique_fields
from clawportal.services.clusters import clusters
from clawportal.services.configuration import layers, model_keys, secrets
from clawportal.services.configuration.catalog import MODEL_KEY
from clawportal.services.events import event_log
from clawportal.services.fleet import copy_rights, instances, operations, placement, template_choices
from clawportal.services.fleet.instances import NewInstance
from clawportal.services.rights import access

LONGEST_NAME = 63


@dataclass(frozen=True)
class Wish:
    """How the copy is meant to be."""

    name: str
    project: str | None = None
    """Id or name; None: that of the source."""
    cluster: str | None = None
    """Id or name; None: that of the source, if it can be used in the project."""
    start: bool = True
    files: bool = False
    """Whether the files of its work folder come along."""
    stop: bool = False
    """Whether the source is stopped while its files are copied."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Values for what is not copied."""


@dataclass(frozen=True)
class Part:
    """One thing of the source, and whether the copy gets it."""

    path: str
    """For programs: `spec`, `labels`, `secrets.model_api_key`, `files.work` ..."""
    title: str
    copied: bool
    why: str
    asked: bool = False
    """Whether it is a secret that can be entered anew."""


@dataclass(frozen=True)
class Preview:
    parts: Sequence[Part]
    errors: Sequence[FieldError]
    """With which the create would be refused."""
    warning: str = ""
    """About copying the files of a claw that runs."""


@dataclass(frozen=True)
class _Plan:
    wanted: NewInstance
    parts: tuple[Part, ...]
    project: Project | None
    cluster: Cluster | None


def preview(portal: Portal, actor: Actor, instance_id: str, wish: Wish) -> Preview:
    """What would be copied, and everything that is wrong; nothing is stored."""
    source = _source(actor, instance_id)
    plan = _plan(portal, actor, source, wish)
    errors = instances.check_new(portal, actor, plan.wanted) + _refused_files(actor, source, wish, plan)
    return Preview(plan.parts, errors, _warning(source, wish))


def create(portal: Portal, actor: Actor, instance_id: str, wish: Wish, *, key: str = "", request_hash: str = "") -> Instance:
    """Make the copy; its files follow as an operation. With `key`, a repeated request gets the instance of the first one."""
    with transaction():
        if key and (before := instances.earlier(actor, key, request_hash)):
            return before
        source = _source(actor, instance_id)
        plan = _plan(portal, actor, source, wish)
        if refused := _refused_files(actor, source, wish, plan):
            raise Invalid(refused[0].message, errors=refused)
        made = instances.create(portal, actor, plan.wanted, key=key, request_hash=request_hash)
        if wish.files:
            _copy_files(portal, actor, source, made, wish)
        _record(portal, actor, source, made)
    return made


def suggested_name(source: Instance) -> str:
    """The first free name of the form NAME-copy, NAME-copy-2 ..."""
    endings = itertools.chain(["-copy"], (f"-copy-{number}" for number in itertools.count(2)))
    names = (f"{source.name[: LONGEST_NAME - len(ending)].rstrip('-')}{ending}" for ending in endings)
    return next(name for name in names if not _taken(source.tenant_id, name))


def _taken(tenant_id: str, name: str) -> bool:
    query = select(Instance.id).where(Instance.tenant_id == tenant_id, Instance.name == name, Instance.destroyed_at.is_(None))
    return db.session.scalar(query) is not None


def _source(actor: Actor, instance_id: str) -> Instance:
    source = access.get_or_404(Instance, instance_id, actor, INSTANCE_READ)
    if source.destroyed_at is not None or source.desired == Desired.DELETED:
        raise Conflict(_m("%(name)s is being deleted.", name=source.name))
    if source.foreign_id:
        raise Conflict(
            _m(
                "%(name)s was made outside of the portal, which does not know all that is in it. Create a new one.",
                name=source.name,
            )
        )
    return source


# ---- what is copied


def _plan(portal: Portal, actor: Actor, source: Instance, wish: Wish) -> _Plan:
    project, cluster = wish.project or source.project_id, _cluster_for(portal, actor, source, wish)
    placed = placement.resolve(portal, actor, project, cluster)
    spec = {**(source.spec or {})}
    parts = [
        Part("spec", _m("Configuration"), True, _m("As it is now; each can be changed without the other.")),
        *_labels(source),
        *_unique_settings(portal, source, spec),
        *_stored_key(portal, source, placed.project, spec),
    ]
    told, carried = _own_secrets(portal, actor, source, placed.project, spec, wish)
    parts += [*told, *_made_anew(source), _files_part(actor, source, wish), *_never()]
    wanted = NewInstance(
        name=wish.name, adapter=source.adapter, version=source.version, project=project, cluster=cluster,
        labels=dict(source.labels or {}), spec=spec, secrets={**carried, **wish.secrets},
        start=wish.start and not (wish.files and _before_the_first_start(placed.cluster)),
        pin=template_choices.carried(actor, source, placed.project),
    )  # fmt: skip
    return _Plan(wanted, tuple(parts), placed.project, placed.cluster)


def _cluster_for(portal: Portal, actor: Actor, source: Instance, wish: Wish) -> str | None:
    if wish.cluster:
        return wish.cluster
    placed = placement.resolve(portal, actor, wish.project or source.project_id, source.cluster_id)
    return source.cluster_id if placed.cluster is not None else None


def _labels(source: Instance) -> Iterator[Part]:
    if source.labels:
        yield Part("labels", _m("Labels"), True, ", ".join(f"{name}={value}" for name, value in sorted(source.labels.items())))


def _unique_settings(portal: Portal, source: Instance, spec: dict[str, Any]) -> Iterator[Part]:
    """Those that are no secrets; they are left out of `spec`."""
    model, settings = _settings_model(portal, source), dict(spec.get("settings") or {})
    if model is None:
        return
    for name, why in unique_fields(model).items():
        if name not in secret_fields(model) and settings.pop(name, None) not in (None, "", model.model_fields[name].default):
            yield Part(f"spec.settings.{name}", model.model_fields[name].title or name, False, why)
    spec["settings"] = settings


def _settings_model(portal: Portal, source: Instance) -> Any:
    adapter = portal.registry.adapters.get(source.adapter)
    if adapter is None or source.version not in [entry.version for entry in adapter.versions()]:
        return None
    return adapter.settings_model(source.version)


def _stored_key(portal: Portal, source: Instance, project: Project | None, spec: dict[str, Any]) -> Iterator[Part]:
    """The key of a provider that the spec names; it is left out of `spec` where the other project may not use it."""
    model = spec.get("model") or {}
    if not model.get("credential") or project is None:
        return
    title = _m("Shared key of the model provider")
    if not model_keys.flaws(portal, (project.tenant_id, project.id), ModelChoice.model_validate(model)):
        yield Part("spec.model.credential", title, True, _m("The other one uses the same key of the organisation."))
        return
    spec["model"] = {**model, "credential": ""}
    why = _m("It cannot be used in the other project. Enter a key of its own.")
    yield Part("spec.model.credential", title, False, why)
    yield Part(f"secrets.{MODEL_KEY}", _m("API key of the model"), False, why, asked=True)


def _own_secrets(
    portal: Portal, actor: Actor, source: Instance, project: Project | None, spec: Mapping[str, Any], wish: Wish
) -> tuple[list[Part], dict[str, str]]:
    """What is told of each, and the values of those that come along."""
    model, adapter = _settings_model(portal, source), portal.registry.adapters.get(source.adapter)
    if model is None or project is None:
        return [], {}
    infos = [
        info for info in secrets.listing(source.id) if not info.generated and info.name in (MODEL_KEY, *secret_fields(model))
    ]
    layer, providers = layers.of(project.tenant_id), portal.registry.providers
    whole = layers.effective(providers, layer, adapter, source.version, spec).spec
    there = layers.usable(providers, adapter, source.version, whole, infos)
    withheld, unique = _withheld(actor, source, project), unique_fields(model)
    parts, carried = [], set()
    for info in infos:
        title = _m("API key of the model") if info.name == MODEL_KEY else model.model_fields[info.name].title or info.name
        why = unique.get(info.name) or withheld
        if not why and info.name not in there:
            why = _m("It was entered for another address than it would go to.")
        if info.name in wish.secrets:
            parts.append(Part(f"secrets.{info.name}", title, False, _m("It gets the one that you enter."), asked=True))
        elif why:
            parts.append(Part(f"secrets.{info.name}", title, False, why, asked=True))
        else:
            parts.append(Part(f"secrets.{info.name}", title, True, _m("Kept encrypted, and never shown.")))
            carried.add(info.name)
    return parts, secrets.open_all(portal, source.id, carried) if carried else {}


def _withheld(actor: Actor, source: Instance, project: Project) -> str:
    """Why no secret may be carried there; empty: they may.

    Whoever has a console in the other place can read what runs there. So nothing gets there that the actor could not have read,
    and nothing leaves the organisation, whose keys it has for itself.
    """
    scope = access.scope_of(source)
    if project.tenant_id != source.tenant_id:
        return _m("Secrets do not leave their organisation. Enter the one for there.")
    if not actor.allows(INSTANCE_UPDATE, scope):
        return _m("You may not change %(name)s, so its secrets stay with it.", name=source.name)
    if project.id != source.project_id and not actor.allows(INSTANCE_CONSOLE, scope):
        return _m("Another project may use it then, and you may not see the secrets of %(name)s.", name=source.name)
    return ""


def _made_anew(source: Instance) -> Iterator[Part]:
    if any(info.generated for info in secrets.listing(source.id)):
        yield Part("secrets.generated", _m("Access tokens of the claw"), False, _m("Each claw gets its own; they are made anew."))


def _never() -> Iterator[Part]:
    why = _m("It is what makes a claw this one: its memory, its conversations, and who it is to others.")
    yield Part("files.state", _m("State and home folder"), False, why)
    why = _m("They belong to the one that exists: who it is shared with, its history, its conversations here and its logs.")
    yield Part("records", _m("Shares and records"), False, why)


# ---- files


def _files_part(actor: Actor, source: Instance, wish: Wish) -> Part:
    title = _m("Files of the work folder")
    if why := no_files(actor, source):
        return Part("files.work", title, False, why)
    if not wish.files:
        return Part("files.work", title, False, _m("You did not ask for them."))
    return Part("files.work", title, True, _m("Copied before it is used; links are left out, as nobody knows where they lead."))


def no_files(actor: Actor, source: Instance) -> str:
    """Why its files cannot be copied by this actor; empty: they can."""
    if not actor.allows(INSTANCE_FILES_READ, access.scope_of(source)):
        return _m("You may not read the files of %(name)s.", name=source.name)
    if "files" not in clusters.capabilities_of(source.cluster_id):
        return _m("The place where this claw runs hands out no files.")
    return ""


def _refused_files(actor: Actor, source: Instance, wish: Wish, plan: _Plan) -> list[FieldError]:
    if not wish.files:
        return [FieldError("stop", _m("is only for copying files"))] if wish.stop else []
    if why := no_files(actor, source):
        return [FieldError("files", why, "refused")]
    if wish.stop and not actor.allows(INSTANCE_OPERATE, access.scope_of(source)):
        return [FieldError("stop", _m("You may not stop %(name)s.", name=source.name), "refused")]
    if plan.project is not None and not actor.allows(INSTANCE_FILES_WRITE, access.scope_of(plan.project)):
        return [FieldError("files", _m("You may not write files in the other project."), "refused")]
    if plan.cluster is not None and "files" not in clusters.capabilities_of(plan.cluster.id):
        return [FieldError("files", _m("The place where the other claw would run takes no files."), "refused")]
    return []


def _warning(source: Instance, wish: Wish) -> str:
    if not wish.files or wish.stop or source.phase == Phase.STOPPED:
        return ""
    return _m(
        "%(name)s runs: what it writes while its files are copied may come along in part. Have it stopped meanwhile to be sure.",
        name=source.name,
    )


def _before_the_first_start(cluster: Cluster | None) -> bool:
    """Whether folders can be filled before anything runs: on the portal's own disk. Elsewhere there is no folder until then."""
    return cluster is not None and "artifacts" in clusters.capabilities_of(cluster.id)


def _copy_files(portal: Portal, actor: Actor, source: Instance, made: Instance, wish: Wish) -> None:
    runs = source.desired == Desired.RUNNING
    if wish.stop and runs:
        instances.stop(portal, actor, source.id)
    payload = {
        "source": source.id,
        "actor": actor.id,
        "start": wish.start,
        "stopped": wish.stop,
        "resume": wish.stop and runs,
        "masked": copy_rights.masked(actor, source),
    }
    operations.open_copy(actor, made, payload)


def _record(portal: Portal, actor: Actor, source: Instance, made: Instance) -> None:
    """Told of the source; people there need not know the other project."""
    near = made.project_id == source.project_id
    names = {"actor": actor.name, "name": source.name, "copy": made.name}
    said = (
        _m("%(actor)s duplicated %(name)s as %(copy)s.", **names)
        if near
        else _m("%(actor)s duplicated %(name)s into another project.", actor=actor.name, name=source.name)
    )
    event_log.record(portal, "instance.duplicated", actor=actor, instance=source, message=said)
