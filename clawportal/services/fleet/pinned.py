"""Instances that are held to a version of a template: move one to another version, make a template of one, delete a template."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import inspect, select

from clawportal import redact
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.core_permissions import CONFIGS_READ, CONFIGS_WRITE, INSTANCE_READ, INSTANCE_UPDATE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, GiveUp, Problem, Retry
from clawportal.lifecycle import Desired, Phase
from clawportal.messages import _m
from clawportal.models import ConfigTemplate, ConfigVersion, Instance
from clawportal.services.clusters import clusters
from clawportal.services.configuration import comparing, layers, rendering, secrets, template_checks, templates
from clawportal.services.configuration.placeholders import escaped, names_in
from clawportal.services.configuration.rendering import Content
from clawportal.services.configuration.templates import NewTemplate
from clawportal.services.fleet import instances, plans, template_choices
from clawportal.services.fleet.instances import InstanceChange
from clawportal.services.fleet.template_choices import Base, Held
from clawportal.services.rights import access

log = logging.getLogger(__name__)

NAMED = 20
"""So many instances are named; of more the number is told."""


@dataclass(frozen=True)
class Move:
    """What a move to another version would do to one instance."""

    number: int
    errors: tuple[FieldError, ...] = ()
    diff: comparing.Diff | None = None
    """Of what it comes to with what the instance says itself."""
    action: str = "none"
    """`none`, `hot`, `call`, `restart`, `recreate` or `refused`."""
    removed_secrets: tuple[str, ...] = ()
    """Names of the stored secrets that the move would delete."""


@dataclass(frozen=True)
class _Target:
    """Where an instance is moved to."""

    version: ConfigVersion
    change: InstanceChange
    variables: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[FieldError, ...] = ()


def of_instance(actor: Actor, instance: Instance) -> Held | None:
    """The version that an instance is held to; None also for who may not read its template."""
    found = template_choices.held(instance)
    if found is None or not found.template.reached_by(actor, CONFIGS_READ):
        return None
    return found


def shown_variables(actor: Actor, found: Held) -> dict[str, Any]:
    """What was entered, without what its template shows to its writers only."""
    if actor.allows(CONFIGS_WRITE, access.scope_of(found.template)):
        return dict(found.variables)
    hidden = {one.name for one in templates.content(found.version).variables if one.seen_by == "writers"}
    return {name: value for name, value in found.variables.items() if name not in hidden}


# ---- moving one


def preview(
    portal: Portal, actor: Actor, instance_id: str, number: int | None = None, variables: Mapping[str, Any] | None = None
) -> Move:
    """What moving would do. Nothing is stored, and the claw is not asked."""
    instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_UPDATE)
    target = _target(portal, actor, instance, number, variables or {})
    errors = [*target.errors] or instances.check_change_by(portal, actor, instance, target.change)
    before, after = _ordered(instance.spec, instance.labels), _ordered(target.change.spec, target.change.labels)
    shown = None
    if target.change.spec is not None:
        shown = comparing.compare(before, after, (instance.name, f"{instance.name} {target.version.number}"))
    action = "refused" if errors else _action(portal, instance, target.change)
    removed = tuple(name for name, value in target.change.secrets.items() if not value)
    return Move(target.version.number, tuple(errors), shown, action, removed)


def _ordered(spec: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> dict[str, Any]:
    """So that nothing differs but what differs."""
    whole = InstanceSpec.model_validate(dict(spec or {})).model_dump(mode="json")
    whole["settings"] = dict(sorted(whole["settings"].items()))
    return {"spec": redact.document(whole), "labels": dict(sorted((labels or {}).items()))}


def move(
    portal: Portal, actor: Actor, instance_id: str, number: int | None, variables: Mapping[str, Any], *, generation: int | None
) -> Instance:
    """Hold an instance to another version, or to other values. What it says itself stays as it is."""
    with transaction():
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_UPDATE, lock=True)
        target = _target(portal, actor, instance, number, variables)
        template_checks.refuse(target.errors)
        row = instances.update(portal, actor, instance_id, target.change, generation=generation)
        row.config_version_id, row.config_variables = target.version.id, dict(target.variables)
    return row


def _target(portal: Portal, actor: Actor, instance: Instance, number: int | None, given: Mapping[str, Any]) -> _Target:
    now = of_instance(actor, instance)
    if now is None:
        raise Conflict(_m("%(name)s is made of no configuration template, or of one that you may not read.", name=instance.name))
    version = templates.version(now.template, number)
    claw, content = portal.registry.adapter(instance.adapter), templates.content(version)
    entered = {**now.variables, **given}
    known = {variable.name for variable in content.variables}
    entered = {name: value for name, value in entered.items() if name in known or name in given}
    stored = {info.name for info in secrets.listing(instance.id)}
    said = {**now.variables, **_secrets_said(claw, instance, now, stored)}
    errors = [*template_choices.place_flaws(now.template, instance.project_id),
              *template_choices.version_flaws(now.template, instance.version),
              *template_choices.not_theirs(actor, now.template, content, given, said)]  # fmt: skip
    kept = _kept(instance, claw, now, content, given)
    where = (instance.tenant_id, instance.project_id)
    base = template_choices.base_of(portal, claw, instance.version, content, entered, where, kept)
    errors += base.errors
    before = template_choices.base_now(portal, instance, now)
    errors += _untold(instance, before)
    if errors:
        return _Target(version, InstanceChange(), errors=tuple(errors))
    spec, labels = template_choices.laid_over(base, template_choices.own_now(portal, instance, before))
    gone = _gone(instance, claw, now, content, kept) & stored
    change = InstanceChange(spec=spec, labels=labels, secrets={**dict.fromkeys(sorted(gone), ""), **base.secrets})
    return _Target(version, change, template_choices.kept_of(content, entered))


def _untold(instance: Instance, before: Base) -> list[FieldError]:
    """Where nobody can tell what an instance says itself, all of it would count as that, and a move would change nothing."""
    words = _m("What %(name)s is made of now cannot be worked out any more, so what was changed there by hand cannot be told "
               "from it (%(error)s). Make a new claw of the template.", name=instance.name,
               error=before.errors[0].message if before.errors else "")  # fmt: skip
    return [FieldError("template", words)] if before.errors else []


def _gone(instance: Instance, claw: Adapter, now: Held, content: Content, kept: Collection[str]) -> set[str]:
    """Secrets that its version filled and the new one does not, or whose variable was taken away."""
    before, after = _texts(claw, instance, templates.content(now.version)), _texts(claw, instance, content)
    return {name for name in before if name not in after or not set(names_in(after[name])) <= set(kept)}


def _secrets_said(claw: Adapter, instance: Instance, now: Held, stored: Collection[str]) -> dict[str, object]:
    """Secret variables that have a value, with something that nobody can enter in its place."""
    texts = _texts(claw, instance, templates.content(now.version))
    return {one: object() for name, text in texts.items() if name in stored for one in names_in(text)}


def _texts(claw: Adapter, instance: Instance, content: Content) -> dict[str, str]:
    return rendering.secret_texts(content, template_checks.secret_settings(claw, [instance.version]))


def _kept(instance: Instance, claw: Adapter, now: Held, content: Content, given: Mapping[str, Any]) -> set[str]:
    """Secret variables whose values are stored where the new version wants them: those are not asked for again.

    One that would go into another field is: nobody but whoever knows a secret sends it elsewhere. One that is given as null or
    empty is not kept.
    """
    stored = {info.name for info in secrets.listing(instance.id)}
    before, after = _texts(claw, instance, templates.content(now.version)), _texts(claw, instance, content)
    moved = {
        name for field, text in after.items() if field not in stored or before.get(field) != text for name in names_in(text)
    }  # fmt: skip
    beside = {name for text in after.values() if set(names_in(text)) & set(given) for name in names_in(text)}
    return set(content.secrets) - moved - beside - set(given)


def _action(portal: Portal, instance: Instance, change: InstanceChange) -> str:
    """What the adapter says; rather a restart too many is announced where it cannot be asked."""
    if instance.desired != Desired.RUNNING or instance.workload is None or instance.phase == Phase.STOPPED:
        return "none"
    if any(change.secrets.values()):
        return "restart"
    adapter = portal.registry.adapters.get(instance.adapter)
    if adapter is None:
        return "none"
    try:
        draft = _draft(instance, change)
        runtime = clusters.connect(portal, plans.cluster_of(instance))
        context = plans.context_of(portal, draft, adapter, runtime, plans.ports_of(runtime, draft))
        planned = plans.workload_of(adapter, context, runtime, clusters.policy_of(plans.cluster_of(instance)))
        return str(adapter.change(plans.workload_from(instance.workload), planned).action)
    except (GiveUp, Retry, Problem, OSError):
        return "restart"
    except Exception as error:  # an adapter may raise anything
        log.warning("a change of %s cannot be judged: %r", instance.id, error)
        return "refused"


def _draft(instance: Instance, change: InstanceChange) -> Instance:
    """The row as it would be, in no session."""
    columns = {name: getattr(instance, name) for name in inspect(Instance).column_attrs.keys()}  # noqa: SIM118  # not a dict
    return Instance(**columns | {"spec": dict(change.spec or {}), "labels": dict(change.labels or {})})


# ---- a template of one


def make_template(
    portal: Portal, actor: Actor, instance_id: str, name: str, *, description: str = "", project: str | None = None
) -> ConfigTemplate:
    """A template that comes to what an instance is. Its secrets become secret variables, and their values stay where they are."""
    instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_READ)
    if instance.foreign_id:
        raise Conflict(_m("%(name)s was made by somebody else, so there is nothing to make a template of.", name=instance.name))
    claw = portal.registry.adapter(instance.adapter)
    names = [info.name for info in secrets.listing(instance.id) if not info.generated]
    variables = [{"name": _variable(one), "title": one, "type": "secret", "required": True} for one in names]
    body = {
        "spec": escaped(_said(instance, layers.built_in(claw, instance.version))),
        "secrets": {one: f"${{{_variable(one)}}}" for one in names},
        "labels": escaped(dict(instance.labels or {})),
    }
    message = _m("Made of %(name)s", name=instance.name)
    wanted = NewTemplate(
        name, instance.adapter, tenant=instance.tenant_id, project=project, description=description, body=body,
        variables=variables, message=message,
    )  # fmt: skip
    return templates.create(portal, actor, wanted)


def _variable(secret: str) -> str:
    return secret[:40]


def _said(instance: Instance, built_in: Mapping[str, Any]) -> dict[str, Any]:
    """What the instance says, without what everything says by itself."""
    plain = InstanceSpec.model_validate({}).model_dump(mode="json")
    found = {name: value for name, value in (instance.spec or {}).items() if value != plain.get(name)}
    settings = found.pop("settings", {})
    said = {name: value for name, value in settings.items() if name not in built_in or built_in[name] != value}
    return {**found, "settings": said} if said else found


# ---- which instances are held to a template


@dataclass(frozen=True)
class Use:
    """Who would miss a template."""

    seen: Sequence[Instance]
    others: int
    """How many more there are, that somebody may not see or that are not named."""


def use_of(actor: Actor, template_id: str) -> Use:
    held = select(ConfigVersion.id).where(ConfigVersion.template_id == template_id)
    where = (Instance.config_version_id.in_(held), Instance.destroyed_at.is_(None))
    every = set(db.session.scalars(select(Instance.id).where(*where)))
    query = select(Instance).where(*where, access.visible(Instance, actor)).order_by(Instance.name).limit(NAMED)
    seen = db.session.scalars(query).all()
    return Use(seen, len(every) - len(seen))


class InUse(Conflict):
    """`extra` names the instances that somebody may see, and how many more there are."""

    title, code = _m("Instances are made of this template"), "config_in_use"


def delete_template(portal: Portal, actor: Actor, template_id: str) -> None:
    """With all of its versions, if no instance is held to one of them."""
    with transaction():
        row = templates.get(actor, template_id, CONFIGS_WRITE, lock=True)
        use = use_of(actor, row.id)
        if use.seen or use.others:
            raise _in_use(row, use)
        templates.delete(portal, actor, row.id)


def _in_use(row: ConfigTemplate, use: Use) -> InUse:
    names: object = [instance.name for instance in use.seen] or _m("some that you may not see")
    if use.seen and use.others:
        names = _m("%(names)s and %(number)s more", names=names, number=use.others)
    number = len(use.seen) + use.others
    problem = InUse(
        _m("Claws are made of %(name)s (%(number)s: %(names)s). Delete them first.",
           name=row.name, number=number, names=names)
    )  # fmt: skip
    named = [{"id": instance.id, "name": instance.name} for instance in use.seen]
    problem.extra = {"instances": named, "others": use.others}
    return problem
