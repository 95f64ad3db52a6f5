"""Whether a template is good: what no value can mend is refused when it is saved, and `validate` tells the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from clawportal import validation
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.layers import NOTHING
from clawportal.contracts.specs import InstanceSpec
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError, Invalid
from clawportal.labels import check_labels
from clawportal.messages import _m, joined
from clawportal.secret_settings import credentials_inside, secret_fields
from clawportal.services.configuration import catalog, layers, rendering
from clawportal.services.configuration.catalog import MODEL_KEY
from clawportal.services.configuration.placeholders import names_in
from clawportal.services.configuration.rendering import Content, Rendered


@dataclass(frozen=True)
class Verdict:
    """What a template comes to with some values, and what is wrong with that."""

    version: str
    """Of the claw, against which it was held."""
    rendered: Rendered = field(default_factory=Rendered)
    errors: tuple[FieldError, ...] = ()


def refuse(errors: Collection[FieldError]) -> None:
    """Invalid where there are any."""
    if errors:
        told = joined((joined((item.path or _m("document"), item.message), ": ") for item in [*errors][:3]), "; ")
        raise Invalid(told, errors=errors)


def accepted(portal: Portal, adapter: str, adapter_versions: str, body: Any, variables: Any) -> Content:
    """The content as it is stored; Invalid with everything that no value of a variable can mend."""
    claw = portal.registry.adapter(adapter)
    content, errors = rendering.content_of(body, variables)
    errors += range_errors(claw, adapter_versions)
    refuse(errors)
    assert content is not None
    refuse(lasting(claw, adapter_versions, content))
    return content


def range_errors(claw: Adapter, adapter_versions: str) -> list[FieldError]:
    if flaw := rendering.range_flaw(adapter_versions):
        return [FieldError("adapter_versions", flaw)]
    if not fitting(claw, adapter_versions):
        known = [entry.version for entry in claw.versions()]
        words = _m("There is no version of %(title)s in this range. Known: %(known)s.", title=claw.title, known=known)
        return [FieldError("adapter_versions", words)]
    return []


def fitting(claw: Adapter, adapter_versions: str) -> list[str]:
    """The versions that are offered and lie in the range."""
    return [entry.version for entry in claw.versions() if rendering.fits(adapter_versions, entry.version)]


def usual_version(claw: Adapter, adapter_versions: str) -> str:
    """The default of the claw where it lies in the range, else the first that does; empty where none does."""
    known = fitting(claw, adapter_versions)
    usual = catalog.default_version(claw)
    return usual if usual in known else next(iter(known), "")


def secret_settings(claw: Adapter, versions: Collection[str]) -> frozenset[str]:
    """Names of the settings that are secrets in any of these versions, and the key of the model, which is one everywhere."""
    return frozenset({MODEL_KEY, *(name for version in versions for name in secret_fields(claw.settings_model(version)))})


def lasting(claw: Adapter, adapter_versions: str, content: Content) -> list[FieldError]:
    """What is wrong whatever is entered for the variables."""
    rendered = rendering.render(content, {}, secret_settings(claw, fitting(claw, adapter_versions)))
    errors = [error for error in rendered.errors if error.code != "missing"]
    if errors:
        return errors
    version = usual_version(claw, adapter_versions)
    _spec, found = validation.judge(InstanceSpec, rendered.spec, "body.spec")
    settings = rendered.spec.get("settings")
    if isinstance(settings, Mapping):
        found += _settings_errors(claw, version, settings)
    found += credentials_inside("body.spec", {name: rendered.spec.get(name) for name in ("model", "settings")})
    found += [replace(error, path=f"body.{error.path}") for error in check_labels(rendered.labels)]
    lasting = [error for error in found if error.code == "unknown" or not _waits(error.path, rendered.waiting)]
    return [error for error in lasting if error.code != "missing"]


def _settings_errors(claw: Adapter, version: str, settings: Mapping[str, Any]) -> list[FieldError]:
    model = claw.settings_model(version)
    hidden = {MODEL_KEY, *secret_fields(model)}
    open_ones = {name: value for name, value in settings.items() if name not in hidden}
    return validation.judge(model, open_ones, "body.spec.settings")[1]


def _waits(path: str, waiting: Collection[str]) -> bool:
    """Whether what is wrong may be so only because a variable has no value yet."""
    own = path.removeprefix("body.")
    return any(own == one or own.startswith(f"{one}.") or one.startswith(f"{own}.") for one in waiting)


# ---- with values


def validate(
    portal: Portal, content: Content, where: tuple[str, str | None], adapter: str, version: str, given: Mapping[str, Any],
    kept: Collection[str] = (),
) -> Verdict:  # fmt: skip
    """As an instance of it would be judged, in a tenant and a project. `version`: of the claw. `kept`: secret variables that
    are stored already."""
    claw = portal.registry.adapters.get(adapter)
    if claw is None:
        return Verdict(version, errors=tuple(_unknown_adapter(portal, adapter)))
    if version not in [entry.version for entry in claw.versions()]:
        words = _m("%(title)s %(version)s is not offered. Known: %(join)s.", title=claw.title, version=version,
                   join=[entry.version for entry in claw.versions()])  # fmt: skip
        return Verdict(version, errors=(FieldError("adapter_version", words, "unknown"),))
    rendered = rendering.render(content, given, secret_settings(claw, [version]), kept)
    errors = [*rendered.errors]
    if not errors:
        errors = _as_instance(portal, where, claw, version, rendered, [*kept_targets(claw, version, content, kept)])
    return Verdict(version, rendered, tuple(errors))


def _unknown_adapter(portal: Portal, adapter: str) -> list[FieldError]:
    try:
        portal.registry.adapter(adapter)
    except Invalid as problem:
        return list(problem.errors)
    return []


def kept_targets(claw: Adapter, version: str, content: Content, kept: Collection[str]) -> dict[str, str]:
    """Secrets of an instance that stored values of these variables fill, each with its text."""
    texts = rendering.secret_texts(content, secret_settings(claw, [version]))
    return {name: text for name, text in texts.items() if set(names_in(text)) <= set(kept)}


def _as_instance(
    portal: Portal, where: tuple[str, str | None], claw: Adapter, version: str, rendered: Rendered, known: list[str]
) -> list[FieldError]:
    layer = layers.of(where[0])
    lay: Callable[[Adapter, str, Mapping[str, Any]], Mapping[str, Any]] | None = None
    if layer != NOTHING:
        providers = portal.registry.providers
        known = [*known, *([MODEL_KEY] if layers.keeps_key(where[0]) else [])]
        lay = lambda adapter, version, spec: layers.effective(providers, layer, adapter, version, spec).spec  # noqa: E731  # as placement has it
    _wanted, errors = catalog.check(
        portal, adapter=claw.kind, version=version, spec=rendered.spec, secret_values=rendered.secrets, known_secrets=known,
        lay=lay, where=where,
    )  # fmt: skip
    errors += check_labels(rendered.labels)
    return [replace(error, path=f"body.{error.path}") if error.path else error for error in errors]
