"""An instance and the version of a template that it is held to: what that comes to, and what the instance says beyond it.

What a template comes to is written into the spec of the instance when it is made or moved. So nothing that runs is read from
a template, and what the instance says itself is whatever differs from its version: that is never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.exc import InvalidRequestError

from clawportal.contracts.adapters import Adapter
from clawportal.contracts.core_permissions import CONFIGS_READ, CONFIGS_WRITE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError, Invalid, NotFound
from clawportal.messages import _m
from clawportal.models import ConfigTemplate, ConfigVersion, Instance, Project
from clawportal.services.configuration import catalog, layers, rendering, template_checks, templates
from clawportal.services.configuration.comparing import same
from clawportal.services.configuration.rendering import Content, Rendered
from clawportal.services.rights import access

_PARTS = ("resources", "settings")
"""Parts of a spec in which each field is said for itself; all else is said as a whole, the model above all."""


@dataclass(frozen=True)
class Choice:
    """The template that a new instance shall be made of."""

    config: str
    """Name or id."""
    version: int | None = None
    """None: the newest."""
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pin:
    """What is kept of it: the version, and what was entered that is no secret."""

    version_id: str
    variables: Mapping[str, Any]


@dataclass(frozen=True)
class Base:
    """What a version comes to for one instance."""

    spec: dict[str, Any] = field(default_factory=dict)
    """Whole, as it is stored; without settings that are secrets."""
    secrets: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True)
class Expanded:
    """A request for a new instance with its template in it."""

    adapter: str
    version: str | None
    spec: Mapping[str, Any]
    labels: Mapping[str, str]
    secrets: Mapping[str, str]
    pin: Pin | None = None
    errors: tuple[FieldError, ...] = ()


# ---- a new instance


def expand(portal: Portal, actor: Actor, choice: Choice, project: Project, asked: Expanded, *, hold: bool) -> Expanded:
    """What is asked for, laid over what the template comes to. `hold`: keeps the template from being deleted until the commit."""
    try:
        template = templates.find(actor, project.tenant_id, choice.config)
        found = templates.version(template, choice.version)
    except Invalid as problem:
        return replace(asked, errors=problem.errors)
    except NotFound as problem:
        return replace(asked, errors=(FieldError("template.version", problem.detail, "unknown"),))
    if hold and not _hold(template):
        return replace(asked, errors=(FieldError("template", templates.none_named(choice.config), "unknown"),))
    errors = _unfit(portal, template, project, asked)
    if errors:
        return replace(asked, errors=tuple(errors))
    claw, content = portal.registry.adapter(template.adapter), templates.content(found)
    version = asked.version or template_checks.usual_version(claw, template.adapter_versions)
    base = base_of(portal, claw, version, content, choice.variables, (project.tenant_id, project.id))
    told = [*not_theirs(actor, template, content, choice.variables), *base.errors]
    given = kept_of(content, choice.variables)
    labels, secrets = {**base.labels, **asked.labels}, {**base.secrets, **asked.secrets}
    return Expanded(
        template.adapter, version, over(base.spec, asked.spec), labels, secrets,
        Pin(found.id, given), tuple(replace(error, path=f"template.{error.path}") for error in told),
    )  # fmt: skip


def _hold(template: ConfigTemplate) -> bool:
    """Keep it until the commit; False where somebody else deleted it since it was read."""
    try:
        db.session.refresh(template, with_for_update={"read": True})
    except InvalidRequestError:
        return False
    return True


def kept_of(content: Content, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of what was entered: no secret, and nothing that says nothing."""
    return {name: value for name, value in given.items() if name not in content.secrets and value is not None and value != ""}


def _unfit(portal: Portal, template: ConfigTemplate, project: Project, asked: Expanded) -> list[FieldError]:
    if flaws := place_flaws(template, project.id, "template.config"):
        return flaws
    if asked.adapter not in ("", template.adapter):
        words = _m("%(name)s is for %(adapter)s.", name=template.name, adapter=template.adapter)
        return [FieldError("adapter", words)]
    if template.adapter not in portal.registry.adapters:
        words = _m("No loaded plugin knows the kind of claw %(adapter)s.", adapter=repr(template.adapter))
        return [FieldError("adapter", words, "unknown")]
    return version_flaws(template, asked.version) if asked.version else []


def place_flaws(template: ConfigTemplate, project_id: str, path: str = "template") -> list[FieldError]:
    """A project in which the template is not offered."""
    if template.project_id in (None, project_id):
        return []
    return [FieldError(path, _m("%(name)s is for another project.", name=template.name))]


def version_flaws(template: ConfigTemplate, version: str) -> list[FieldError]:
    """A version of the claw that the template is not for."""
    if rendering.fits(template.adapter_versions, version):
        return []
    words = _m("%(name)s is for versions %(range)s of the claw, not for %(version)s.", name=template.name,
               range=template.adapter_versions, version=version)  # fmt: skip
    return [FieldError("version", words)]


def not_theirs(
    actor: Actor, template: ConfigTemplate, content: Content, given: Mapping[str, Any], stored: Mapping[str, Any] | None = None
) -> list[FieldError]:
    """Variables that only who writes templates may set, or take away. `stored`: what a claw has, which may be repeated."""
    if actor.allows(CONFIGS_WRITE, access.scope_of(template)):
        return []
    words = _m("Only who may write templates sets this; leave it out, and its default holds.")
    return [
        FieldError(f"variables.{variable.name}", words, "forbidden")
        for variable in content.variables
        if variable.set_by == "writers" and variable.name in given and _differs(variable.name, given, stored or {})
    ]


def _differs(name: str, given: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    wanted, there = given[name], stored.get(name)
    return not same(None if wanted == "" else wanted, there)


# ---- what a version comes to


def base_of(
    portal: Portal, claw: Adapter, version: str, content: Content, given: Mapping[str, Any], where: tuple[str, str],
    kept: Collection[str] = (),
) -> Base:  # fmt: skip
    """The rendered body as an instance stores it: whole, with what the portal puts right and fills in."""
    hidden = template_checks.secret_settings(claw, _known(claw, version))
    rendered = rendering.render(content, given, hidden, kept)
    if rendered.errors:
        return Base(errors=rendered.errors)
    return _stored(portal, rendered, hidden, where)


def _known(claw: Adapter, version: str) -> list[str]:
    """None of a version that is not offered; what is wrong with that is told where it is named."""
    return [version] if version in [entry.version for entry in claw.versions()] else []


def _stored(portal: Portal, rendered: Rendered, hidden: Collection[str], where: tuple[str, str]) -> Base:
    document = {**rendered.spec}
    settings = dict(document.get("settings") or {})
    secrets = {name: str(settings.pop(name)) for name in [*settings] if name in hidden} | rendered.secrets
    spec = catalog.as_stored(portal, {**document, "settings": settings}, where)
    return Base(spec, secrets, rendered.labels)


def over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A spec laid over another: fields of settings and resources each for itself, the rest as a whole."""
    found = {**base, **own}
    for part in _PARTS:
        below, above = base.get(part), own.get(part)
        if isinstance(below, Mapping) and isinstance(above, Mapping):
            found[part] = {**below, **above}
    return found


@dataclass(frozen=True)
class Own:
    """What an instance says beyond its version, by path."""

    said: Mapping[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    """What its version says, and the instance does not."""


def own_of(base: Base, spec: Mapping[str, Any], labels: Mapping[str, str], built_in: Mapping[str, Any]) -> Own:
    """What differs. `built_in`: settings with the defaults that the claw gives them: saying these says nothing."""
    below, above = _flat(base.spec, base.labels), _flat(spec, labels)
    known = {f"settings.{name}": value for name, value in built_in.items()} | below
    said = {path: value for path, value in above.items() if path not in known or not same(known[path], value)}
    return Own(said, tuple(path for path in below if path not in above))


def _flat(spec: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    whole = InstanceSpec.model_validate(dict(spec)).model_dump(mode="json")
    found = {name: value for name, value in whole.items() if name not in _PARTS}
    found |= {f"{part}.{name}": value for part in _PARTS for name, value in whole[part].items()}
    return found | {f"labels.{name}": value for name, value in labels.items()}


def laid_over(base: Base, own: Own) -> tuple[dict[str, Any], dict[str, str]]:
    """Spec and labels of an instance that says these things beyond its version."""
    found = _flat(base.spec, base.labels)
    for path in own.dropped:
        found.pop(path, None)
    found.update(own.said)
    spec: dict[str, Any] = {part: {} for part in _PARTS}
    labels: dict[str, str] = {}
    for path, value in found.items():
        part, dot, name = path.partition(".")
        target = labels if part == "labels" and dot else spec[part] if dot else spec
        target[name if dot else path] = value
    return spec, labels


# ---- an instance that is held to one


@dataclass(frozen=True)
class Held:
    """The version of an instance, its template, and whether there is a newer one."""

    template: ConfigTemplate
    version: ConfigVersion
    variables: Mapping[str, Any]

    @property
    def outdated(self) -> bool:
        return self.version.number < self.template.latest


def carried(actor: Actor, source: Instance, project: Project | None) -> Pin | None:
    """For a copy of an instance: the same version, where somebody may use its template."""
    found = held(source)
    if found is None or project is None or found.template.tenant_id != project.tenant_id:
        return None
    usable = found.template.project_id in (None, project.id) and found.template.reached_by(actor, CONFIGS_READ)
    return Pin(found.version.id, found.variables) if usable else None


def held(instance: Instance) -> Held | None:
    """None for an instance that is made of no template."""
    version = db.session.get(ConfigVersion, instance.config_version_id) if instance.config_version_id else None
    if version is None:
        return None
    return Held(db.session.get_one(ConfigTemplate, version.template_id), version, instance.config_variables or {})


def held_back(instance: Instance, version: str) -> list[FieldError]:
    """A version of the claw that the template of an instance is not for: it could not be moved any more from there."""
    found = held(instance)
    return version_flaws(found.template, version) if found is not None else []


def base_now(portal: Portal, instance: Instance, found: Held) -> Base:
    """What its version comes to with what was entered; secrets are stored already."""
    claw, content = portal.registry.adapter(instance.adapter), templates.content(found.version)
    where = (instance.tenant_id, instance.project_id)
    return base_of(portal, claw, instance.version, content, found.variables, where, content.secrets)


def own_now(portal: Portal, instance: Instance, base: Base) -> Own:
    claw = portal.registry.adapter(instance.adapter)
    return own_of(base, instance.spec, instance.labels or {}, layers.built_in(claw, instance.version))


def sources(portal: Portal, instance: Instance) -> dict[str, str]:
    """Paths of the values that come from its template."""
    found = held(instance)
    if found is None or instance.adapter not in portal.registry.adapters:
        return {}
    base = base_now(portal, instance, found)
    if base.errors:
        return {}
    own = own_now(portal, instance, base)
    others = {*own.said, *own.dropped} | ({f"model.{name}" for name in base.spec["model"]} if "model" in own.said else set())
    return {path: "template" for path in _said(found) if path not in others}


def _said(found: Held) -> list[str]:
    """What the body of a version names."""
    body = found.version.body
    spec = body.get("spec") or {}
    paths = [name for name in spec if name not in (*_PARTS, "model")]
    paths += [f"{part}.{name}" for part in (*_PARTS, "model") for name in (spec.get(part) or {})]
    return paths + [f"labels.{name}" for name in body.get("labels") or {}]
