"""Templates as YAML: one document that people keep beside their code, and that says all of a template but its history."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml
from sqlalchemy import select

from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, Invalid
from clawportal.messages import _m
from clawportal.models import ConfigTemplate
from clawportal.services.configuration import template_checks, templates
from clawportal.services.configuration.rendering import MOST_BYTES
from clawportal.services.configuration.templates import NewTemplate, TemplateChange
from clawportal.services.rights import access

API_VERSION, KIND = "clawportal.io/v1", "ConfigTemplate"
_METADATA = ("name", "description", "labels")
_SPEC = ("adapter", "adapterVersions", "variables", "body")


_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the fast one, where it was built
    """Knows what JSON knows: a date stays the text that it is, and so does `1:30`, which to YAML is a number of base 60."""


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Puts quotes around what either YAML or the loader above takes for something else than text."""


def _number(loader: Any, node: Any) -> int | float:
    """Of a text in JSON's form: other forms cost the square of their length."""
    text = str(loader.construct_scalar(node))
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    raise yaml.constructor.ConstructorError(None, None, f"{text[:40]!r} is no number", node.start_mark)


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if tag in (f"{_TAG}null", f"{_TAG}bool", f"{_TAG}merge")]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: yaml.SafeLoader.yaml_constructors[tag]
    for tag in (None, *(f"{_TAG}{kind}" for kind in ("null", "bool", "str", "seq", "map")))
}
for _kind, _pattern in (("int", _INTEGER), ("float", _DECIMAL)):
    _whole = re.compile(f"^(?:{_pattern.pattern})$")
    _Loader.add_constructor(f"{_TAG}{_kind}", _number)
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_kind}", _whole, list("-0123456789"))


@dataclass(frozen=True)
class Applied:
    """What became of a document."""

    template: ConfigTemplate
    action: str
    """`created`, `changed` or `unchanged`."""


def document_of(row: ConfigTemplate, number: int | None = None) -> dict[str, Any]:
    """A template with one of its versions. Defaults of variables are left out."""
    found = templates.version(row, number)
    variables = [item.model_dump(mode="json", exclude_defaults=True) for item in templates.content(found).variables]
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": row.name, "description": row.description, "labels": dict(row.labels)},
        "spec": {"adapter": row.adapter, "adapterVersions": row.adapter_versions, "variables": variables, "body": found.body},
    }


def as_yaml(document: Any) -> str:
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def parsed(text: str) -> Any:
    """One document; Invalid where it is none, or names parts of itself: a few lines could stand for millions."""
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise Invalid.field("document", _m("may have %(MAX_BYTES)s bytes at most.", MAX_BYTES=f"{MOST_BYTES:,}"))
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):
                words = _m("names another part of itself (*%(name)s); write that out", name=event.anchor)
                raise Invalid.field("document", words)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # it is a safe loader
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise Invalid.field("document", _m("is not YAML: %(error)s", error=str(error).replace("\n", " ")[:500])) from error


def apply(portal: Portal, actor: Actor, text: str, tenant: str | None, project: str | None, message: str = "") -> Applied:
    """Make what the document says, or bring a template of this name to it. What the document does not name stays."""
    wanted = _wanted(parsed(text))
    if not wanted.get("name"):
        raise Invalid.field("document.metadata.name", _m("is needed: by it a template is found again"))
    row = _named(actor, tenant, project, str(wanted["name"]))
    if row is None:
        asked = {"adapter": ""} | wanted | {"tenant": tenant, "project": project, "message": message}
        return Applied(templates.create(portal, actor, NewTemplate(**asked)), "created")
    if wanted.get("adapter", row.adapter) != row.adapter:
        words = _m(
            "%(name)s is for %(adapter)s, and that never changes. Choose another name.", name=row.name, adapter=row.adapter
        )
        raise Conflict(words)
    before = row.revision
    change = TemplateChange(message=message, **{name: value for name, value in wanted.items() if name != "adapter"})
    changed = templates.update(portal, actor, row.id, change, revision=before)
    return Applied(changed, "unchanged" if changed.revision == before else "changed")


def _named(actor: Actor, tenant: str | None, project: str | None, name: str) -> ConfigTemplate | None:
    """One that exists already. Who may not write it is refused when it is changed."""
    where = [ConfigTemplate.name == name, access.visible(ConfigTemplate, actor)]
    where += [ConfigTemplate.tenant_id == tenant] if tenant else []
    where += [ConfigTemplate.project_id == project] if project else []
    rows = db.session.scalars(select(ConfigTemplate).where(*where).limit(2)).all()
    return rows[0] if len(rows) == 1 else None


def _wanted(document: Any) -> dict[str, Any]:
    """The fields of a template that a document names; Invalid with the paths of all that is not understood."""
    if not isinstance(document, dict):
        raise Invalid.field("document", _m("must be an object with names and values"))
    metadata, spec = document.get("metadata", {}), document.get("spec", {})
    errors = _form_errors(document, metadata, spec)
    template_checks.refuse(errors)
    found = {name: metadata[name] for name in _METADATA if name in metadata}
    found |= {name: spec[name] for name in ("adapter", "variables", "body") if name in spec}
    return found | ({"adapter_versions": spec["adapterVersions"]} if "adapterVersions" in spec else {})


def _form_errors(document: dict[str, Any], metadata: Any, spec: Any) -> list[FieldError]:
    errors = []
    if document.get("apiVersion") != API_VERSION:
        errors.append(FieldError("document.apiVersion", _m("must be one of %(join)s", join=[API_VERSION])))
    if document.get("kind") != KIND:
        errors.append(FieldError("document.kind", _m("must be one of %(join)s", join=[KIND])))
    for path, part, known in (("metadata", metadata, _METADATA), ("spec", spec, _SPEC)):
        if not isinstance(part, dict):
            errors.append(FieldError(f"document.{path}", _m("must be an object with names and values")))
            continue
        words = _m("is not a known field; remove it or correct its name")
        errors += [FieldError(f"document.{path}.{name}", words, "unknown") for name in part if name not in known]
    return errors or _type_errors(metadata, spec)


def _type_errors(metadata: dict[str, Any], spec: dict[str, Any]) -> list[FieldError]:
    texts = {f"metadata.{name}": metadata.get(name, "") for name in ("name", "description")}
    texts |= {f"spec.{name}": spec.get(name, "") for name in ("adapter", "adapterVersions")}
    errors = [FieldError(f"document.{path}", _m("must be a text")) for path, value in texts.items() if not isinstance(value, str)]
    labels = metadata.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(item, str) for pair in labels.items() for item in pair):
        errors.append(FieldError("document.metadata.labels", _m("must be an object with names and texts")))
    return errors
