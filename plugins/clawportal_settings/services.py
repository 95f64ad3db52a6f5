"""Settings that people change while the portal runs: what holds and why, changing it, and going back to the default.

The portal puts stored values below its environment and its file (`clawportal.sdk.settings`); here they are kept and judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from clawportal.sdk import _m
from clawportal.sdk.data import db, now, require, transaction
from clawportal.sdk.errors import Conflict, Invalid, NotFound, PreconditionFailed, PreconditionRequired
from clawportal.sdk.events import record
from clawportal.sdk.features import DoctorResult
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import PORTAL_ADMIN, PORTAL_READ, Actor, Scope
from clawportal.sdk.settings import Setting, look
from clawportal_settings.models import StoredSetting

_PORTAL = Scope()


@dataclass(frozen=True)
class Shown:
    """One setting, with all that people ask about it."""

    setting: Setting
    value: Any
    """What holds now; masked where it is a secret."""
    default: Any
    source: str
    """`default`, `environment`, `file`, `command` or `page`."""
    fixed: bool
    """The portal was started with it, so a stored value would not hold."""
    fault: str
    """Why the stored value does not hold."""
    row: StoredSetting | None

    @property
    def changeable(self) -> bool:
        return self.setting.changeable and not self.fixed

    @property
    def generation(self) -> int:
        return self.row.generation if self.row else 0

    @property
    def stored(self) -> bool:
        return self.row is not None and self.row.held

    @property
    def kind(self) -> str:
        """What a form shows for it: `boolean`, `integer`, `number` or `text`."""
        kinds: dict[Any, str] = {bool: "boolean", int: "integer", float: "number"}
        return kinds.get(self.setting.info.annotation, "text")

    def bound(self, name: str) -> Any:
        """A limit that its type has: `ge`, `gt` or `le`; of what is stored, `ge` is never less than what keeps people in."""
        if name == "ge" and self.setting.least is not None:
            return self.setting.least
        return next((getattr(one, name) for one in self.setting.info.metadata if hasattr(one, name)), None)


# ---- what the portal asks


def stored(_portal: Portal) -> dict[str, Any]:
    """For `STORED_SETTINGS`."""
    rows = db.session.execute(select(StoredSetting.name, StoredSetting.value).where(StoredSetting.held))
    return {row.name: row.value for row in rows}


def findings(portal: Portal) -> Iterable[DoctorResult]:
    """Stored values that do not hold, for the page of the portal's health."""
    for name, why in portal.current.faults.items():
        message = _m("The stored value of %(name)s is not used, its default holds: it %(why)s.", name=name, why=why)
        yield DoctorResult(_m("settings"), False, message, _m("Correct or reset it on the page of settings."))


# ---- reading


def everything(portal: Portal, actor: Actor) -> list[Shown]:
    require(actor, PORTAL_READ, _PORTAL)
    rows = {row.name: row for row in db.session.scalars(select(StoredSetting))}
    return [_shown(portal, setting, rows.get(setting.name)) for setting in portal.current.everything()]


def unread(portal: Portal, actor: Actor) -> list[StoredSetting]:
    """Stored values that no setting here has: of a plugin that is left out, or of another version."""
    require(actor, PORTAL_READ, _PORTAL)
    known = {setting.name for setting in portal.current.everything()}
    held = select(StoredSetting).where(StoredSetting.held).order_by(StoredSetting.name)
    return [row for row in db.session.scalars(held) if row.name not in known]


def get(portal: Portal, actor: Actor, name: str) -> Shown:
    require(actor, PORTAL_READ, _PORTAL)
    return _shown(portal, _known(portal, name), db.session.get(StoredSetting, name))


def _known(portal: Portal, name: str) -> Setting:
    setting = portal.current.find(name)
    if setting is None:
        raise NotFound(_m("There is no setting %(name)s. `GET /settings` tells which there are.", name=repr(name)))
    return setting


def _shown(portal: Portal, setting: Setting, row: StoredSetting | None) -> Shown:
    current = portal.current
    default = _plain(setting.default) if not setting.secret else None
    return Shown(
        setting, _plain(current.shown(setting)), default, current.source(setting), current.fixed(setting),
        current.faults.get(setting.name, ""), row,
    )  # fmt: skip


def _plain(value: Any) -> Any:
    """As JSON has it; what is none of its types, such as a folder, as text."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


# ---- changing


def change(portal: Portal, actor: Actor, name: str, value: Any, *, generation: int | None) -> Shown:
    """Let a value hold from now on, if nobody else changed the setting since the caller read `generation`."""
    require(actor, PORTAL_ADMIN, _PORTAL)
    setting = _known(portal, name)
    _refuse_fixed(portal, setting)
    made, errors = portal.current.judge(setting, value)
    if errors:
        raise Invalid(_m("The value of %(name)s cannot be used.", name=name), errors=tuple(errors))
    with transaction() as after_commit:
        row = _agreed(name, generation)
        before = row.value if row and row.held and name not in portal.current.faults else setting.default
        if row is None:
            row = StoredSetting(name=name, value=made, before=before, changed_by=actor.name, changed_at=now(), generation=0)
            db.session.add(row)
        _note(row, actor, value=made, before=before, held=True)
        said = _m("The setting %(name)s is %(value)s now; it was %(before)s.", name=name, value=_text(made), before=_text(before))
        record(portal, "settings.changed", actor=actor, message=said, data=_told(name, before, made))
        after_commit(look, portal)
    return get(portal, actor, name)


def reset(portal: Portal, actor: Actor, name: str, *, generation: int | None) -> None:
    """Let the default hold again; also for what nothing here reads any more."""
    require(actor, PORTAL_ADMIN, _PORTAL)
    with transaction() as after_commit:
        row = _agreed(name, generation)
        if row is None or not row.held:
            _known(portal, name)
            raise Conflict(_m("No value is stored for %(name)s; there is nothing to reset.", name=name))
        before, setting = row.value, portal.current.find(name)
        after = setting.default if setting else None
        _note(row, actor, value=row.value, before=before, held=False)
        said = _m("The setting %(name)s was reset; it was %(before)s.", name=name, before=_text(before))
        record(portal, "settings.reset", actor=actor, message=said, data=_told(name, before, after))
        after_commit(look, portal)


def _refuse_fixed(portal: Portal, setting: Setting) -> None:
    if not setting.changeable:
        raise Conflict(
            _m(
                "%(name)s does not change while the portal runs. Set %(variable)s in the environment, or %(name)s in "
                "clawportal.toml, and start the portal again.",
                name=setting.name,
                variable=setting.variable,
            )
        )
    if portal.current.fixed(setting):
        raise Conflict(
            _m(
                "%(name)s is fixed by what the portal was started with: %(variable)s in the environment, or clawportal.toml. "
                "Take it out there and start the portal again; then it can be changed here.",
                name=setting.name,
                variable=setting.variable,
            )
        )


def _agreed(name: str, generation: int | None) -> StoredSetting | None:
    """The row as whoever asks has read it."""
    if generation is None:
        raise PreconditionRequired(_m("Send If-Match with the ETag (the generation) that you read, so that no change gets lost."))
    row = db.session.get(StoredSetting, name, with_for_update=True, populate_existing=True)
    there = row.generation if row else 0
    if there != generation:
        raise PreconditionFailed(
            _m(
                "%(name)s is at generation %(there)s now, you changed %(generation)s. Read it again and repeat.",
                name=name,
                there=there,
                generation=generation,
            )
        )
    return row


def _note(row: StoredSetting, actor: Actor, *, value: Any, before: Any, held: bool) -> None:
    row.value, row.before, row.held = value, before, held
    row.changed_by, row.changed_at, row.generation = actor.name, now(), row.generation + 1


def _text(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _told(name: str, before: Any, after: Any) -> Mapping[str, Any]:
    return {"settings_id": name, "before": before, "after": after}
