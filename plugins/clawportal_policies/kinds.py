"""The kinds of rule: what each needs to know, and what it says about a change. Pure: no tables, no request.

A kind is a pydantic model of its parameters with one function, `hit`, that says what is wrong or nothing. The model gives the
check on saving, the JSON Schema and the form. Whatever cannot be decided is a hit: rules fail closed.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import Field, field_validator, model_validator

from clawportal.sdk import Message, _m, _n
from clawportal.sdk.adapters import Strict, parse_quantity

_WORDS: dict[str, str] = {
    "create": _m("Create"), "update": _m("Change the configuration"), "version": _m("Change the version"), "start": _m("Start"),
    "restart": _m("Restart"), "move": _m("Move to another project"), "stop": _m("Stop"), "delete": _m("Delete"),
}  # fmt: skip
ACTIONS = _WORDS
"""What rules can look at. Killing is an emergency brake, and no rule holds it back."""
_STATE = ("create", "update", "version", "start", "restart", "move")
"""What leaves an instance that is meant to go on. Stopping and deleting what breaks a rule must stay possible."""
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LONGEST_EXPRESSION = 2000


@dataclass(frozen=True)
class Facts:
    """One change as rules see it. Amounts as Kubernetes quantities; empty where nothing is set."""

    action: str
    now: datetime
    name: str = ""
    adapter: str = ""
    version: str = ""
    uses_model: bool = True
    served: tuple[str, ...] = ()
    """Providers whose model the portal serves itself."""
    cluster: str = ""
    runtime: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    """With the defaults of the claw's own settings filled in."""
    cpu: str = ""
    memory: str = ""
    """What holds: the adapter's suggestion where the spec names none."""
    storage: str = ""
    actor: Mapping[str, str] = field(default_factory=dict)
    tenant: Mapping[str, str] = field(default_factory=dict)
    project: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    """What features tell about the instance, by the name of the fact."""


@dataclass(frozen=True)
class Hit:
    """What a rule found: a sentence, and the field of the instance that it is about."""

    reason: str
    path: str = ""


class Kind(Strict):
    """Base of the parameters of a kind of rule."""

    title: ClassVar[str]
    description: ClassVar[str]
    actions: ClassVar[tuple[str, ...]] = _STATE
    """What it looks at unless the rule says otherwise."""

    def hit(self, facts: Facts) -> Hit | None:
        raise NotImplementedError


def _cleaned(values: list[str]) -> list[str]:
    found = list(dict.fromkeys(value.strip() for value in values if value.strip()))
    if any(len(value) > 200 for value in found):
        raise ValueError(_m("an entry may have 200 characters at most"))
    if values and not found:
        raise ValueError(_m("name at least one"))
    return found


def _matches(text: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


class Adapters(Kind):
    title = _m("Kinds of claw")
    description = _m("Only these kinds of claw may be used.")

    allowed: list[str] = Field(
        title=_m("Allowed kinds of claw"),
        description=_m("Names such as nanobot. * stands for any text."),
        min_length=1,
        max_length=100,
    )

    _clean = field_validator("allowed")(_cleaned)

    def hit(self, facts: Facts) -> Hit | None:
        if _matches(facts.adapter, self.allowed):
            return None
        return Hit(
            _m("%(adapter)s is not allowed. Allowed: %(_listed)s.", adapter=facts.adapter, _listed=self.allowed),
            "adapter",
        )


class Versions(Kind):
    title = _m("Versions")
    description = _m("Only these versions of a kind of claw may be used.")

    adapter: str = Field("", title=_m("Kind of claw"), description=_m("Empty: of every kind."), max_length=100)
    allowed: list[str] = Field(
        title=_m("Allowed versions"),
        description=_m("A version, a pattern such as 2026.9.*, or a range such as >=0.3,<0.5."),
        min_length=1,
        max_length=100,
    )

    @field_validator("allowed")
    @classmethod
    def _ranges(cls, values: list[str]) -> list[str]:
        for text in _cleaned(values):
            if _is_range(text):
                try:
                    SpecifierSet(text)
                except InvalidSpecifier:
                    raise ValueError(
                        _m("%(text)s is no range of versions; write for example >=0.3,<0.5", text=repr(text))
                    ) from None
        return _cleaned(values)

    def hit(self, facts: Facts) -> Hit | None:
        if self.adapter and not fnmatch.fnmatchcase(facts.adapter, self.adapter):
            return None
        if any(_fits(facts.version, text) for text in self.allowed):
            return None
        return Hit(
            _m(
                "Version %(version)s of %(adapter)s is not allowed. Allowed: %(_listed)s.",
                version=facts.version,
                adapter=facts.adapter,
                _listed=self.allowed,
            ),
            "version",
        )


def _is_range(text: str) -> bool:
    return text[:1] in "<>=!~"


def _fits(version: str, wanted: str) -> bool:
    if not _is_range(wanted):
        return fnmatch.fnmatchcase(version, wanted)
    try:
        return SpecifierSet(wanted).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False  # what cannot be compared is in no range


class Models(Kind):
    title = _m("Models and providers")
    description = _m("Only these language models may be used.")

    providers: list[str] = Field(
        default_factory=list, title=_m("Allowed providers"),
        description=_m("Ids of model providers, such as openai. Empty: every provider."), max_length=100,
    )  # fmt: skip
    models: list[str] = Field(
        default_factory=list, title=_m("Allowed models"),
        description=_m("Names as the provider spells them, such as gpt-5*. Empty: every model."), max_length=100,
    )  # fmt: skip

    _clean = field_validator("providers", "models")(_cleaned)

    @model_validator(mode="after")
    def _something(self) -> Models:
        if not self.providers and not self.models:
            raise ValueError(_m("name at least one provider or model"))
        return self

    def hit(self, facts: Facts) -> Hit | None:
        if not facts.uses_model:
            return None
        choice = facts.spec.get("model") or {}
        provider, name = str(choice.get("provider", "")), str(choice.get("name", ""))
        if self.providers and not _matches(provider, self.providers):
            return Hit(
                _m(
                    "The provider %(provider)s is not allowed. Allowed: %(_listed)s.",
                    provider=provider,
                    _listed=self.providers,
                ),
                "spec.model.provider",
            )
        # what the portal serves itself is one model, whatever it is called: a rule about names leaves it to one about providers
        if self.models and provider not in facts.served and not _matches(name, self.models):
            return Hit(
                _m(
                    "The model %(name)s is not allowed. Allowed: %(_listed)s.",
                    name=name or "(none)",
                    _listed=self.models,
                ),
                "spec.model.name",
            )
        return None


class Runtimes(Kind):
    title = _m("Kinds of place")
    description = _m("Claws may run only in these kinds of place.")

    allowed: list[str] = Field(
        title=_m("Allowed kinds of place"), description=_m("Names of runtimes, such as process."), min_length=1, max_length=100
    )

    _clean = field_validator("allowed")(_cleaned)

    def hit(self, facts: Facts) -> Hit | None:
        if _matches(facts.runtime, self.allowed):
            return None
        return Hit(
            _m(
                "Running in %(runtime)s is not allowed. Allowed: %(_listed)s.",
                runtime=facts.runtime or "(nothing)",
                _listed=self.allowed,
            ),
            "cluster",
        )


class Clusters(Kind):
    title = _m("Places")
    description = _m("Claws may run only in these places.")

    allowed: list[str] = Field(
        title=_m("Allowed places"), description=_m("Names of clusters, such as local. * stands for any text."),
        min_length=1, max_length=100,
    )  # fmt: skip

    _clean = field_validator("allowed")(_cleaned)

    def hit(self, facts: Facts) -> Hit | None:
        if _matches(facts.cluster, self.allowed):
            return None
        return Hit(
            _m(
                "The place %(cluster)s is not allowed. Allowed: %(_listed)s.",
                cluster=facts.cluster or "(none)",
                _listed=self.allowed,
            ),
            "cluster",
        )


class Size(Kind):
    title = _m("Largest size")
    description = _m("No claw may be larger than this.")

    cpu: str = Field(
        "", title=_m("Most CPU"), description=_m("Cores of one claw, such as 500m or 2. Empty: no limit."), max_length=40
    )
    memory: str = Field("", title=_m("Most memory"), description=_m("Of one claw, such as 2Gi. Empty: no limit."), max_length=40)
    storage: str = Field(
        "", title=_m("Most storage"), description=_m("Of one claw, such as 5Gi. Empty: no limit."), max_length=40
    )

    @field_validator("cpu", "memory", "storage")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if value and parse_quantity(value) <= 0:
            raise ValueError(_m("must be greater than zero"))
        return value

    @model_validator(mode="after")
    def _something(self) -> Size:
        if not (self.cpu or self.memory or self.storage):
            raise ValueError(_m("say how much CPU, memory or storage is the most"))
        return self

    def hit(self, facts: Facts) -> Hit | None:
        for name, (much, unlimited) in _SIZES.items():
            most, wanted = getattr(self, name), getattr(facts, name)
            if most and _too_much(wanted, most):
                said = Message(much, {"wanted": wanted, "most": most}) if wanted else Message(unlimited)
                return Hit(_m("%(said)s. The most is %(most)s.", said=said, most=most), f"spec.resources.{name}")
        return None


_SIZES = {
    "cpu": (_n("%(wanted)s CPU is more than %(most)s"), _n("It has no CPU limit")),
    "memory": (_n("%(wanted)s memory is more than %(most)s"), _n("It has no memory limit")),
    "storage": (_n("%(wanted)s storage is more than %(most)s"), _n("It has no storage limit")),
}


def _too_much(wanted: str, most: str) -> bool:
    """Without a limit it may take everything."""
    if not wanted:
        return True
    try:
        return parse_quantity(wanted) > parse_quantity(most)
    except ValueError:
        return True


class Labels(Kind):
    title = _m("Required labels")
    description = _m("Every claw has to carry these labels.")

    required: dict[str, str] = Field(
        title=_m("Required labels"), description=_m("The value may have * for any text; an empty value means: any value."),
        min_length=1, max_length=50,
    )  # fmt: skip

    @field_validator("required")
    @classmethod
    def _keys(cls, values: dict[str, str]) -> dict[str, str]:
        for key, value in values.items():
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?", key) or len(value) > 200:
                raise ValueError(
                    _m("%(key)s cannot be a label; labels have letters, digits and . _ / - inside, 63 at most", key=repr(key))
                )
        return values

    def hit(self, facts: Facts) -> Hit | None:
        for key, pattern in self.required.items():
            value = facts.labels.get(key)
            if value is None:
                return Hit(_m("The label %(key)s is missing.", key=key), f"labels.{key}")
            if pattern and not fnmatch.fnmatchcase(value, pattern):
                return Hit(
                    _m(
                        "The label %(key)s is %(value)s; it has to be %(pattern)s.",
                        key=key,
                        value=value or "(empty)",
                        pattern=pattern,
                    ),
                    f"labels.{key}",
                )
        return None


class Settings(Kind):
    title = _m("Forbidden settings")
    description = _m("These settings must not be switched on or filled in.")

    forbidden: list[str] = Field(
        title=_m("Forbidden settings"),
        description=_m("Paths such as expose or settings.exec.enabled; with a value, as in restart=never, only that value."),
        min_length=1, max_length=100,
    )  # fmt: skip

    @field_validator("forbidden")
    @classmethod
    def _paths(cls, values: list[str]) -> list[str]:
        found = _cleaned(values)
        for text in found:
            if not re.fullmatch(r"[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+){0,9}(=.*)?", text):
                raise ValueError(
                    _m("%(text)s is no path of a setting; write for example expose or settings.exec.enabled", text=repr(text))
                )
        return found

    def hit(self, facts: Facts) -> Hit | None:
        for text in self.forbidden:
            path, equals, wanted = text.partition("=")
            for place, value in _values(facts.spec, path.removeprefix("spec.").split(".")):
                if (fnmatch.fnmatchcase(_as_text(value), wanted)) if equals else _is_set(value):
                    return Hit(
                        _m("The setting %(place)s must not be %(_short)s.", place=place, _short=_short(value)), f"spec.{place}"
                    )
        return None


def _values(document: Any, path: list[str], done: str = "") -> Iterator[tuple[str, Any]]:
    """Everything under a dotted path in which a part may be a pattern."""
    if not path:
        yield done, document
    elif isinstance(document, Mapping):
        for key, value in document.items():
            if fnmatch.fnmatchcase(str(key), path[0]):
                yield from _values(value, path[1:], f"{done}.{key}".lstrip("."))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            if path[0] in ("*", str(number)):
                yield from _values(value, path[1:], f"{done}.{number}".lstrip("."))


def _is_set(value: Any) -> bool:
    """Neither off nor empty. Zero counts as set: it is a value like any other number."""
    return value is not None and value is not False and value not in ("", [], {})


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _short(value: Any) -> str:
    text = "on" if value is True else "set" if isinstance(value, Mapping | list) else _as_text(value) or "empty"
    return text if len(text) <= 60 else "set"


class Hours(Kind):
    title = _m("Allowed hours")
    description = _m("Changes may be made only at these times.")
    actions = ("create", "update", "version", "start", "restart", "move", "stop", "delete")

    weekdays: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        default_factory=lambda: list(WEEKDAYS[:5]), title=_m("Weekdays"), min_length=1, max_length=7  # type: ignore[arg-type]
    )  # fmt: skip
    start: str = Field("08:00", title=_m("From"), description=_m("In 24 hours, such as 08:00."), alias="from", max_length=5)
    end: str = Field(
        "18:00",
        title=_m("To"),
        description=_m("24:00 is the end of the day. Earlier than the beginning: on the next day."),
        alias="to",
        max_length=5,
    )
    timezone: str = Field("UTC", title=_m("Time zone"), description=_m("Such as Europe/Berlin."), max_length=60)

    @field_validator("start", "end")
    @classmethod
    def _clock(cls, value: str) -> str:
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", value):
            raise ValueError(_m("must be a time of the day in 24 hours, such as 08:00"))
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                _m("%(value)s is no known time zone; write for example Europe/Berlin or UTC", value=repr(value))
            ) from None
        return value

    def hit(self, facts: Facts) -> Hit | None:
        local = facts.now.astimezone(ZoneInfo(self.timezone))
        if self._open(local):
            return None
        return Hit(
            _m(
                "It is %(local)s in %(timezone)s; allowed is %(join)s %(start)s-%(end)s.",
                local=f"{local:%a %H:%M}",
                timezone=self.timezone,
                join=[*self.weekdays],
                start=self.start,
                end=self.end,
            )
        )

    def _open(self, local: datetime) -> bool:
        today, before = WEEKDAYS[local.weekday()], WEEKDAYS[(local - timedelta(days=1)).weekday()]
        now, start, end = local.time().replace(tzinfo=None), _minutes(self.start), _minutes(self.end)
        passed = now.hour * 60 + now.minute
        if start < end:
            return today in self.weekdays and start <= passed < end
        # over midnight; the same time twice is a whole day
        return (today in self.weekdays and passed >= start) or (before in self.weekdays and passed < end)


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


class Expression(Kind):
    title = _m("Expression")
    description = _m("A condition in CEL that has to be true.")

    expression: str = Field(
        title=_m("Expression"),
        description=_m("Has to be true for the change to pass."),
        min_length=1,
        max_length=LONGEST_EXPRESSION,
        json_schema_extra={"x-widget": "textarea"},
    )

    def hit(self, facts: Facts) -> Hit | None:
        raise TypeError("expressions are evaluated together, outside of this process; see clawportal_policies.expressions")


KINDS: dict[str, type[Kind]] = {
    "adapters": Adapters, "versions": Versions, "models": Models, "runtimes": Runtimes, "clusters": Clusters, "size": Size,
    "labels": Labels, "settings": Settings, "hours": Hours, "expression": Expression,
}  # fmt: skip


def applies(kind: str, actions: list[str], action: str) -> bool:
    """Whether a rule looks at an action. A change of the version is also a change of the configuration."""
    looked_at = actions or KINDS[kind].actions
    return action in looked_at or (action == "version" and "update" in looked_at)


def variables(facts: Facts) -> dict[str, Any]:
    """What expressions see; documented in docs/policies.md."""
    return {
        "action": facts.action,
        "actor": dict(facts.actor),
        "tenant": dict(facts.tenant),
        "project": dict(facts.project),
        "instance": {
            "name": facts.name, "adapter": facts.adapter, "version": facts.version, "cluster": facts.cluster,
            "runtime": facts.runtime, "labels": dict(facts.labels), "spec": facts.spec,
            "cpu": float(_amount(facts.cpu)), "memory": int(_amount(facts.memory)), "storage": int(_amount(facts.storage)),
        },
        "now": facts.now.isoformat(),
        "facts": dict(facts.told),
    }  # fmt: skip


def _amount(text: str) -> Decimal:
    try:
        return parse_quantity(text) if text else Decimal(0)
    except ValueError:
        return Decimal(0)


def _example(kind: str, parameters: dict[str, Any], *, title: str, remedy: str, actions: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"kind": kind, "parameters": parameters, "title": title, "remedy": remedy, "actions": list(actions)}


EXAMPLES: dict[str, dict[str, Any]] = {
    "no-exposed-claws": _example(
        "settings", {"forbidden": ["expose"]}, title=_m("Nothing is reachable from the network"),
        remedy=_m("Leave it switched off, or ask the security team."),
    ),
    "own-models": _example(
        "models", {"providers": ["openai-compatible"], "models": []}, title=_m("Only our own models"),
        remedy=_m("Choose the model server of the company."),
    ),
    "every-claw-has-a-team": _example(
        "labels", {"required": {"team": ""}}, title=_m("Every claw has a team"),
        remedy=_m("Add the label team with the name of your team."),
    ),
    "small-claws": _example(
        "size", {"cpu": "", "memory": "2Gi"}, title=_m("No claw takes more than 2 GiB"), remedy=_m("Set a smaller memory limit."),
    ),
    "working-hours": _example(
        "hours", {"weekdays": list(WEEKDAYS[:5]), "from": "08:00", "to": "18:00", "timezone": "UTC"},
        title=_m("Deleting only in working hours"), remedy=_m("Wait until somebody is there who can help."), actions=("delete",),
    ),
    "models-by-project": _example(
        "expression", {"expression": 'project.name != "production" || instance.spec.model.name != ""'},
        title=_m("Production names its models"), remedy=_m("Choose a provider and name a model, or take another project."),
    ),
}  # fmt: skip
"""What a new rule can start from."""
