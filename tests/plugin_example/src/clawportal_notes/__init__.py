"""Notes about claws: what people wrote down, for everybody who looks after them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import ApiTag, EventKind, Feature, InstanceFact, Job, Metric, NavLink, Tab
from clawportal_notes.permissions import NOTE, NOTES_READ, NOTES_WRITE

if TYPE_CHECKING:
    from clawportal.sdk.notifiers import Notifier

FEATURE = Feature(
    name="notes",
    title=_m("Notes"),
    package="clawportal_notes",
    requires=("instances",),
    permissions=(NOTES_READ, NOTES_WRITE),
    resources=(NOTE,),
    models=("clawportal_notes.models",),
    migrations="migrations",
    events=(
        EventKind("note.created", _m("A note was written.")),
        EventKind("note.closed", _m("A note was closed."), action=_m("Close {thing}")),
        EventKind("note.deleted", _m("A note was deleted.")),
    ),
    settings="clawportal_notes.settings:NoteSettings",
    api_tags=(ApiTag(_m("Notes"), _m("What people wrote down about their claws."), 200),),
    api=("clawportal_notes.api",),
    pages=("clawportal_notes.pages",),
    nav=(NavLink(_m("Notes"), "web.notes", icon="book", permission=NOTES_READ),),
    instance_tabs=(Tab("notes", _m("Notes"), "web.instance_notes", "book", NOTES_READ),),
    jobs=(Job("close", "clawportal_notes.jobs:close_once", every=1),),
    metrics=(Metric("clawportal_notes_open", "gauge", "Notes that are open.", "clawportal_notes.figures:open_notes"),),
    instance_facts=(
        InstanceFact("notes_urgent", _m("How many urgent notes are open."), "clawportal_notes.figures:urgent_notes", "int"),
    ),
    commands=("clawportal_notes.cli:server",),
    client_commands=("clawportal_notes.cli:client",),
    doctor=("clawportal_notes.settings:look",),
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)


@hookimpl
def register_notifiers() -> Iterable[Notifier]:
    from clawportal_notes.notebook import Notebook

    return (Notebook(),)
