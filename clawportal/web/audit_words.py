"""What the audit has in the words of programs, as people read it: actions, fields and values."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from flask_babel import format_datetime
from flask_babel import lazy_gettext as _l
from sqlalchemy import select

from clawportal import redact
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import db
from clawportal.http.i18n import listed, translate_label
from clawportal.http.security import portal
from clawportal.models import AuditEntry, Cluster, Project, Tenant, User
from clawportal.services.audit.trail import action_of
from clawportal.web.words import gettext as _

_VERBS = {
    "create": _l("Create {thing}"), "update": _l("Change {thing}"), "change": _l("Change {thing}"),
    "delete": _l("Delete {thing}"),
    "remove": _l("Remove {thing}"), "revoke": _l("Revoke {thing}"), "import": _l("Import {thing}"),
    "export": _l("Export {thing}"), "test": _l("Test {thing}"), "start": _l("Start {thing}"),
    "stop": _l("Stop {thing}"), "restart": _l("Restart {thing}"), "kill": _l("Kill {thing}"),
    "adopt": _l("Adopt {thing}"), "forget": _l("Forget {thing}"), "move": _l("Move {thing}"),
    "share": _l("Share {thing}"), "chat": _l("Chat with {thing}"), "console": _l("Open a console of {thing}"),
    "upload": _l("Upload to {thing}"), "rename": _l("Rename {thing}"), "rekey": _l("Make new access tokens for {thing}"),
    "retry": _l("Try {thing} again"), "cancel": _l("Cancel {thing}"), "pause": _l("Pause {thing}"),
    "resume": _l("Resume {thing}"), "cordon": _l("Close {thing} to new instances"),
    "uncordon": _l("Open {thing} to new instances"), "password": _l("Change the password of {thing}"),
    "bulk": _l("Change several: {thing}"), "accept": _l("Accept {thing}"), "withdraw": _l("Withdraw {thing}"),
    "folder": _l("Make a folder in {thing}"),
    "reset": _l("Reset {thing}"), "unlock": _l("Unlock {thing}"), "link": _l("Link {thing}"),
    "enable": _l("Switch on {thing}"), "disable": _l("Switch off {thing}"), "leave": _l("Leave {thing}"),
}  # fmt: skip
FIELDS = {
    "spec.model.name": _l("Model"), "spec.model.provider": _l("Model provider"),
    "spec.model.base_url": _l("Address of the model"), "spec.model.credential": _l("Stored key"),
    "spec.persona": _l("Persona"), "spec.resources.cpu": _l("CPU"),
    "spec.resources.memory": _l("Memory"), "spec.resources.storage": _l("Storage"), "spec.restart": _l("Restart"),
    "name": _l("Name"), "title": _l("Title"),
    "version": _l("Version"), "desired": _l("Meant to be"), "role": _l("Role"), "description": _l("In plain words"),
    "permissions": _l("Rights"), "project_id": _l("Project"), "expires_at": _l("Ends"), "display_name": _l("Full name"),
    "note": _l("For whom"), "adapter": _l("Kind of claw"), "runtime": _l("Kind of place"), "labels": _l("Labels"),
    "cluster_id": _l("Cluster"), "user_id": _l("Account"), "value": _l("Value"), "password_hash": _l("Password"),
    "must_change_password": _l("Has to change the password"), "email": _l("Email"), "active": _l("Active"),
    "all_tenants": _l("For every organisation"), "cordoned": _l("Closed to new instances"), "paused_at": _l("Paused"),
    "enabled_at": _l("Switched on"), "addresses": _l("Only from these addresses"), "scopes": _l("Rights"),
    "kill_wanted": _l("End at once"), "keep_data": _l("Keep its data"), "managed": _l("Managed by the portal"),
    "spec.priority": _l("Priority"), "spec.expose": _l("Reachable from the network"), "tenant_id": _l("Organisation"),
    "language": _l("Language"), "theme": _l("Theme"), "sealed": _l("Secret"),
}  # fmt: skip
"""Names of fields in people's words, in the order in which they are shown."""

_OTHER_ROW = re.compile(r"^(\w+)\[([^\]]*)\]\.(.+)$")
_ENTRY = re.compile(r"\[(\w+)\]|\.(\d+)(?=\.|$)")
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


_NAMED: dict[str, Any] = {"user_id": User, "project_id": Project, "cluster_id": Cluster, "tenant_id": Tenant}


def names_in(entries: Iterable[AuditEntry]) -> dict[str, str]:
    """What the ids in some entries stand for; a query for each kind of thing that is there."""
    ids: dict[str, set[str]] = {}
    for entry in entries:
        for fields in (entry.before, entry.after):
            for path in _NAMED.keys() & fields.keys():
                ids.setdefault(path, set()).add(str(fields[path]))
    found: dict[str, str] = {}
    for path, wanted in ids.items():
        model = _NAMED[path]
        found |= {row.id: row.name for row in db.session.execute(select(model.id, model.name).where(model.id.in_(wanted)))}
    return found


def action(name: str, thing: str) -> str:
    """`cluster.create` and `edge` as "Create cluster edge"; empty where nobody gave the verb words."""
    noun, _dot, verb = name.partition(".")
    words = _VERBS.get(verb) or _declared(name)
    if not words:
        return ""
    return str(words).replace("{thing}", _thing(noun, thing))


def _declared(action: str) -> str:
    """What the feature that tells of it says, in the language of whoever reads."""
    kinds = portal().registry.event_kinds()
    return next((translate_label(kind.action) for kind in kinds if kind.action and action_of(kind.name) == action), "")


def _thing(noun: str, name: str) -> str:
    shown = f"“{_as_words(name)}”" if noun == "setting" and name else name  # settings are named by programs
    return " ".join(filter(None, (translate_label(portal().registry.nouns.get(noun) or _as_words(noun)), shown)))


def _declared_title(column: str, noun: str = "") -> str:
    """What a resource calls its column; that of this noun, or any for none."""
    every = (one for feature in portal().registry.features for one in feature.resources)
    resources = (one for one in every if noun in ("", one.subject))
    return next((translate_label(one.titles[column]) for one in resources if column in one.titles), "")


def field(path: str, noun: str = "") -> str:
    """`spec.settings.exec_enabled` as its label in the form, or at least as words. `noun`: of what it is a field; the same name
    may mean something else elsewhere."""
    other = _OTHER_ROW.match(path)
    if other:
        noun, name, rest = other.groups()
        whole = f"{_thing(noun, name)} · {field(rest, noun)}"
        return whole[:1].upper() + whole[1:]
    if noun and (own := _declared_title(path, noun)):
        return own
    known = FIELDS.get(path)
    if known is not None:
        return str(known)
    if path.startswith("labels."):
        return f"{FIELDS['labels']}: {path.removeprefix('labels.')}"
    if declared := _declared_title(path):
        return declared
    found = _titles(portal().settings.data_dir.as_posix()).get(path)
    return translate_label(found) if found else _as_words(_ENTRY.sub(r" \1\2", path.rpartition("settings.")[2] or path))


def _as_words(key: str) -> str:
    """`blocked_networks` as "Blocked networks"."""
    text = re.sub(r"[_.]+", " ", key.removeprefix("spec.").removeprefix("policy.")).strip()
    return text[:1].upper() + text[1:]


@functools.lru_cache(maxsize=4)
def _titles(_portal: str) -> dict[str, str]:
    """Titles of fields by path, out of every schema that people fill in here. The first plugin that has one wins."""
    registry, found = portal().registry, dict(_of(InstanceSpec.model_json_schema(), "spec"))
    for adapter in registry.adapters.values():
        version = next((known.version for known in adapter.versions() if known.default), "")
        found = dict(_of(adapter.settings_model(version).model_json_schema(), "spec.settings")) | found
    for driver in registry.runtimes.values():
        found = dict(_of(driver.settings_model().model_json_schema(), "settings")) | found
    return found


def _of(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, prop in schema.get("properties", {}).items():
        if prop.get("title"):
            yield f"{prefix}.{key}", str(prop["title"])


def value(raw: Any, names: Mapping[str, str] | None = None) -> str:
    """As people read it: times in their zone, yes and no, and an id as the name of what it stands for, where `names` has it."""
    if raw is None or raw in ("", [], {}):
        return ""
    if isinstance(raw, bool):
        return _("yes") if raw else _("no")
    if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
        return listed(raw)
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False)
    if names and text in names:
        return names[text]
    if _TIME.match(text):
        return str(format_datetime(datetime.fromisoformat(text), "medium"))
    if text in (redact.MASK, redact.CHANGED):
        return _("another one") if text == redact.CHANGED else _("hidden")
    return text
