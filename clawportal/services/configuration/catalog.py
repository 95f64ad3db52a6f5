"""What can be created: kinds of claw with their versions and schemas, and the check of what somebody asks for.

Checking is offline and complete: every problem of a document is told at once, with its path, and nothing is stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from clawportal import pasted, validation
from clawportal.contracts.adapters import Adapter, dialects_of
from clawportal.contracts.extensions import MODEL_SERVICES, ModelService
from clawportal.contracts.providers import ModelProvider
from clawportal.contracts.specs import InstanceSpec, ModelChoice
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError, Invalid
from clawportal.ids import looks_like_id
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.secret_settings import credentials_inside, long_secrets, secret_fields
from clawportal.services.configuration import model_keys, secrets

_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")
_SECRET = re.compile(r"^[a-z][a-z0-9_]{0,79}$")
MODEL_KEY = secrets.MODEL_KEY


@dataclass(frozen=True)
class Wanted:
    """An accepted request: the spec without secrets, and the secrets apart."""

    adapter: Adapter
    version: str
    spec: InstanceSpec
    secrets: dict[str, str]
    notes: tuple[str, ...] = ()
    """What was left out or put right of what was sent, for the person who sent it."""


def default_version(adapter: Adapter) -> str:
    versions = adapter.versions()
    return next((version.version for version in versions if version.default), versions[0].version)


def check_name(name: str) -> list[FieldError]:
    if not name:
        return [FieldError("name", _m("Give the instance a name."), "missing")]
    if not _NAME.fullmatch(name):
        rule = _m("A name has 1 to 63 small letters, digits or dashes, and begins and ends with a letter or digit.")
        return [FieldError("name", rule)]
    if looks_like_id(name):
        # things may be named by id or by name; nobody must catch what is meant for another one
        return [FieldError("name", _m("This looks like an id. Choose another name."))]
    return []


def check(
    portal: Portal,
    *,
    adapter: str,
    version: str | None,
    spec: Mapping[str, Any],
    secret_values: Mapping[str, str],
    known_secrets: Iterable[str] = (),
    lay: Callable[[Adapter, str, Mapping[str, Any]], Mapping[str, Any]] | None = None,
    where: model_keys.Where | None = None,
) -> tuple[Wanted | None, list[FieldError]]:
    """What is asked for in accepted form, and everything that is wrong with it. Not accepted while anything is wrong.

    `lay` puts over the spec what the organisation says. The result has to be good; what is kept is what was asked for. `where`:
    of which tenant and project it may use stored keys.
    """
    try:
        claw = portal.registry.adapter(adapter)
    except Invalid as problem:
        return None, list(problem.errors)
    version = version or default_version(claw)
    known = [entry.version for entry in claw.versions()]
    if version not in known:
        return None, [
            FieldError(
                "version",
                _m(
                    "%(title)s %(version)s is not offered. Known: %(join)s.",
                    title=claw.title,
                    version=version,
                    join=[*known],
                ),
                "unknown",
            )
        ]
    errors: list[FieldError] = []
    document, notes = dict(spec), list[str]()
    flaw = tidy_address(document, notes)
    taken = _take_secrets(claw.settings_model(version), document, dict(secret_values), errors, notes)
    accepted, found = validation.judge(InstanceSpec, document, "spec")
    if accepted is None:
        settings = document.get("settings")
        more = _check_settings(claw, version, settings) if isinstance(settings, Mapping) else []
        return None, errors + found + more
    errors += [FieldError("spec.model.base_url", flaw)] if flaw else []
    accepted = _with_provider(portal, accepted, where)
    names = frozenset((set(known_secrets) | {name for name, value in taken.items() if value}) - _emptied(taken))
    errors += _check_settings(claw, version, accepted.settings, partial=lay is not None)
    errors += credentials_inside("spec", accepted.model_dump(include={"model", "settings"}))
    whole = accepted
    if lay is not None and not errors:
        laid, errors = validation.judge(InstanceSpec, lay(claw, version, accepted.model_dump(mode="json")), "spec")
        whole = laid or accepted
        errors += _check_settings(claw, version, whole.settings)
    if not errors:
        names |= {MODEL_KEY} if whole.model.credential else set()
        errors += model_keys.flaws(portal, where, whole.model) if where else []
        errors += [*_check_model(claw, whole, portal), *key_missing(portal, claw, whole, names)] + [
            FieldError(
                finding.path if finding.path.startswith("secrets.") else f"spec.{finding.path}", finding.message, finding.code
            )
            for finding in validation.of_plugin(lambda: claw.validate(whole, names), "settings", claw.kind)
        ]
    return (None if errors else Wanted(claw, version, accepted, taken, tuple(notes))), errors


_noted: WeakKeyDictionary[Instance, tuple[str, ...]] = WeakKeyDictionary()


def note(instance: Instance, accepted: Wanted) -> None:
    """Remember for the answer to this change what was put right."""
    _noted[instance] = accepted.notes


def notes_of(instance: Instance) -> tuple[str, ...]:
    """What was put right of the change of this row just now."""
    return _noted.get(instance, ())


def tidy_address(document: dict[str, Any], notes: list[str]) -> str:
    """The model's address as it was meant: people paste that of a question, with quotes, or without its beginning.

    Answers what is wrong with it. Not a rule of `ModelChoice`: what was stored before stays good.
    """
    model = document.get("model")
    if not isinstance(model, Mapping) or not isinstance(model.get("base_url"), str):
        return ""
    try:
        found = pasted.address(model["base_url"])
    except ValueError as error:
        return str(error)
    notes += [found.note] if found.note else []
    document["model"] = {**model, "base_url": found.text}
    return ""


def _emptied(values: Mapping[str, str]) -> set[str]:
    return {name for name, value in values.items() if not value}


def _take_secrets(
    model: type[BaseModel], document: dict[str, Any], given: dict[str, str], errors: list[FieldError], notes: list[str]
) -> dict[str, str]:
    """Move secret settings out of the spec. They may stand in either place; the spec never keeps them."""
    known, long = (MODEL_KEY, *secret_fields(model)), long_secrets(model)
    settings = document.get("settings")
    if isinstance(settings, Mapping):
        document["settings"] = {key: value for key, value in settings.items() if key not in known}
        given = {key: str(value) for key, value in settings.items() if key in known and value is not None} | given
    for name, value in list(given.items()):
        if name not in known or not _SECRET.fullmatch(name):
            errors.append(
                FieldError(f"secrets.{name}", _m("is not a secret of this claw. Known: %(join)s.", join=[*known]), "unknown")
            )
        elif len(value.encode()) > secrets.MAX_BYTES:
            errors.append(
                FieldError(f"secrets.{name}", _m("may have %(MAX_BYTES)s bytes at most.", MAX_BYTES=f"{secrets.MAX_BYTES:,}"))
            )
        elif name in long:
            if any(ord(letter) < 32 and letter not in "\n\t" for letter in value):
                errors.append(FieldError(f"secrets.{name}", _m("has control characters; paste it again.")))
        else:
            tidied = pasted.key(value, _called(model, name))
            given[name] = tidied.text
            notes += [tidied.note] if tidied.note else []
            errors += [FieldError(f"secrets.{name}", flaw)] if (flaw := pasted.flaw_in_header(tidied.text)) else []
    return given


def _called(model: type[BaseModel], name: str) -> str:
    field = model.model_fields.get(name)
    return (field.title if field else "") or (_m("the API key") if name == MODEL_KEY else name)


def _check_settings(claw: Adapter, version: str, settings: Mapping[str, Any], *, partial: bool = False) -> list[FieldError]:
    """`partial`: what is missing may still come from the organisation."""
    _accepted, errors = validation.judge(claw.settings_model(version), settings, "spec.settings")
    return [item for item in errors if not (partial and item.code == "missing")]


def _with_provider(portal: Portal, spec: InstanceSpec, where: model_keys.Where | None) -> InstanceSpec:
    """Who chose no provider gets that of the stored key, or the one that needs nothing more; noted, so that it stays the same."""
    model = model_keys.completed(portal, where, spec.model) if where else spec.model
    if not model.provider and portal.registry.providers.usual:
        model = model.model_copy(update={"provider": portal.registry.providers.usual})
    return spec if model is spec.model else spec.model_copy(update={"model": model})


def as_stored(portal: Portal, document: Mapping[str, Any], where: model_keys.Where) -> dict[str, Any]:
    """A spec as an instance keeps it: whole, with what is put right and filled in. Where it is wrong, as it is."""
    found = dict(document)
    tidy_address(found, [])
    accepted, _errors = validation.judge(InstanceSpec, found, "spec")
    return _with_provider(portal, accepted, where).model_dump(mode="json") if accepted else found


def unknown_provider(portal: Portal, provider: str, path: str) -> FieldError:
    known = [*portal.registry.providers]
    if not provider:
        return FieldError(path, _m("Choose who serves its language model. Known: %(known)s.", known=known), "missing")
    words = _m("There is no model provider %(provider)s. Known: %(known)s.", provider=repr(provider), known=known)
    return FieldError(path, words, "unknown")


def address_needed(provider: ModelProvider) -> str:
    if provider.base_url_example:
        return _m("is needed for %(title)s, such as %(example)s", title=provider.title, example=provider.base_url_example)
    return _m("is needed for %(title)s", title=provider.title)


def key_missing(portal: Portal, claw: Adapter, spec: InstanceSpec, names: Collection[str]) -> list[FieldError]:
    """The finding that a provider which always wants a key has none."""
    provider = portal.registry.providers.get(spec.model.provider)
    if "model" not in claw.capabilities or provider is None or provider.key != "needed" or MODEL_KEY in names:
        return []
    return [FieldError(f"secrets.{MODEL_KEY}", _m("is needed: paste the API key of the provider."), "missing")]


def model_service(portal: Portal, provider: str) -> ModelService | None:
    """The service of this portal that a provider stands for, if it does."""
    found = (target(portal, provider) for target in portal.registry.targets(MODEL_SERVICES))
    return next((service for service in found if service is not None), None)


def _check_model(claw: Adapter, spec: InstanceSpec, portal: Portal) -> list[FieldError]:
    if "model" not in claw.capabilities:
        return []
    choice, provider = spec.model, portal.registry.providers.get(spec.model.provider)
    if provider is None:
        return [unknown_provider(portal, choice.provider, "spec.model.provider")]
    if provider.dialect not in dialects_of(claw):
        words = _m("%(title)s cannot talk to %(provider)s; choose another one.", title=claw.title, provider=provider.title)
        return [FieldError("spec.model.provider", words)]
    if provider.served:
        service = model_service(portal, provider.id)
        closed = service.closed if service else _m("%(title)s cannot be used just now.", title=provider.title)
        return [FieldError("spec.model.provider", closed)] if closed else []
    return list(_check_choice(claw, choice, provider))


def _check_choice(claw: Adapter, choice: ModelChoice, provider: ModelProvider) -> Iterator[FieldError]:
    query = choice.base_url.partition("?")[2]
    if query and "model-query" not in claw.capabilities:
        message = _m(
            "has a query (?%(query)s), which %(title)s does not send; leave it out, or put a gateway in between",
            query=query,
            title=claw.title,
        )
        yield FieldError("spec.model.base_url", message)
    if provider.needs_address and not choice.base_url:
        yield FieldError("spec.model.base_url", address_needed(provider), "missing")
    if not choice.name:
        yield FieldError("spec.model.name", _m("is needed: the model's name as the provider spells it"), "missing")
