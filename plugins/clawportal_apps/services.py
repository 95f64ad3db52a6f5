"""Use cases: which pages a claw has, opening one, and whether somebody may be where they are."""

from __future__ import annotations

from dataclasses import dataclass

from clawportal.sdk import _m, hosts
from clawportal.sdk.adapters import Adapter, HandsOver, HttpAnswer, PortSpec
from clawportal.sdk.data import db, get_or_404
from clawportal.sdk.errors import Conflict, GiveUp, NotFound, Problem, Retry, Unavailable
from clawportal.sdk.events import record
from clawportal.sdk.fleet import Instance, Phase, Portal, adapter_of, context_of, reach
from clawportal.sdk.hosts import Bearer, Place
from clawportal.sdk.permissions import Actor
from clawportal_apps import ports, proofs
from clawportal_apps.names import App, Names
from clawportal_apps.owners import owner
from clawportal_apps.permissions import APP_OPEN
from clawportal_apps.proofs import Pass
from clawportal_apps.settings import AppSettings

ENTER = "/.clawportal/enter"
LINK = "link "
"""Before the id of a link, where others are named by the id of an account."""


class SwitchedOff(Conflict):
    """The claw's own settings have its page switched off."""

    def __init__(self, instance: Instance, setting: str, folded: bool) -> None:
        words = _m("%(name)s has its own page switched off. Switch “%(setting)s” on in its configuration.", name=instance.name,
                   setting=setting)  # fmt: skip
        super().__init__(words)
        self.setting, self.folded = setting, folded


@dataclass(frozen=True)
class Opened:
    """A page that somebody may go to."""

    url: str
    """With the ticket in it."""
    origin: str


@dataclass(frozen=True)
class Way:
    """How the portal reaches a port."""

    address: tuple[str, int]
    number: int
    """Of the port, as the claw itself knows it."""
    spec: PortSpec
    secret: str
    handover: frozenset[str]
    """Paths that the portal answers in the claw's place."""


@dataclass(frozen=True)
class Admitted:
    """Somebody at a port of a claw, where they may be."""

    app: App
    actor: Actor
    person: str
    """As whom they are counted: whoever comes by a link takes nothing of what its maker may have open."""
    name: str
    way: Way


def names_of(portal: Portal) -> Names:
    return Names(portal.section(AppSettings).domain)


def origin_of(portal: Portal, instance: Instance, app: App, home: str) -> str:
    """Where a browser finds a page that finds the portal at `home`: at a host name, or at a port of the portal's own host."""
    names = names_of(portal)
    if hosts.origin_of(home) and not names.named(home) and portal.section(AppSettings).port_numbers:
        return ports.origin(portal, instance, app, home)
    return names.origin(app, home)


def ports_of(portal: Portal, instance: Instance) -> tuple[PortSpec, ...]:
    """Those that a browser can speak to, pages first."""
    try:
        specs = adapter_of(portal, instance).ports(instance.version)
    except GiveUp:
        return ()
    spoken = (spec for spec in specs if spec.protocol in ("http", "ws"))
    return tuple(sorted(spoken, key=lambda spec: not spec.page))


def port_of(portal: Portal, instance: Instance, name: str) -> PortSpec:
    found = next((spec for spec in ports_of(portal, instance) if spec.name == name), None)
    if found is None:
        known = ", ".join(spec.name for spec in ports_of(portal, instance)) or "none"
        raise NotFound(
            _m("%(name)s has no port %(port)s for browsers. Known: %(known)s.", name=instance.name, port=name, known=known)
        )
    return found


def page_is_on(portal: Portal, instance: Instance, spec: PortSpec) -> bool:
    """Whether the claw's own settings have its page switched on."""
    if not spec.page_needs:
        return True
    settings = context_of(portal, instance).settings
    return bool(getattr(settings, spec.page_needs, False))


def _setting(portal: Portal, instance: Instance, name: str) -> tuple[str, bool]:
    """The title of a setting of the claw, and whether the form has it folded away."""
    field = adapter_of(portal, instance).settings_model(instance.version).model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return field.title or name, bool(extra.get("x-advanced"))


def open_page(portal: Portal, actor: Actor, instance_id: str, port: str, bearer: Bearer, home: str) -> Opened:
    """A way in for whoever may open the page; `home`: where their browser finds the portal."""
    instance = get_or_404(Instance, instance_id, actor, APP_OPEN)
    spec = port_of(portal, instance, port)
    _must_run(instance)
    if not page_is_on(portal, instance, spec):
        raise SwitchedOff(instance, *_setting(portal, instance, spec.page_needs))
    app = App(instance.id, spec.name)
    origin = origin_of(portal, instance, app, home)
    ticket = proofs.ticket_for(portal, instance, Pass(app, home, bearer))
    return Opened(f"{origin}{ENTER}?ticket={ticket}", origin)


def enter(portal: Portal, app: App, ticket: str, came: Place) -> Pass:
    """Trade a ticket for a pass, which is told in the audit."""
    given = proofs.used(portal, app, ticket)
    actor = owner(portal, given, came)
    instance = get_or_404(Instance, app.instance_id, actor, APP_OPEN)
    words = _m("%(actor)s opened the page %(port)s of %(name)s.", actor=actor.name, port=app.port, name=instance.name)
    record(portal, "instance.app_opened", actor=actor, instance=instance, message=words, data={"port": app.port})
    return given


def admit(portal: Portal, given: Pass, came: Place) -> Admitted:
    """Whether whoever has this pass may be where it leads, just now, and the way there; a Problem where not."""
    actor, instance, spec = allowed(portal, given, came)
    _must_run(instance)
    person = f"{LINK}{given.share_id}" if given.share_id else actor.id
    return Admitted(given.app, actor, person, instance.name, _way(portal, instance, spec))


def allowed(portal: Portal, given: Pass, came: Place) -> tuple[Actor, Instance, PortSpec]:
    """As far as rights say; neither the claw nor its place are asked."""
    actor = owner(portal, given, came)
    instance = get_or_404(Instance, given.app.instance_id, actor, APP_OPEN)
    return actor, instance, port_of(portal, instance, given.app.port)


def _must_run(instance: Instance) -> None:
    if instance.phase != Phase.RUNNING:
        raise Conflict(_m("%(name)s is not running. Start it to open its page.", name=instance.name))


def _way(portal: Portal, instance: Instance, spec: PortSpec) -> Way:
    name, handover = instance.name, _handover_paths(adapter_of(portal, instance))
    try:
        io = reach(portal, instance)
        secret = io.secret(spec.proof.secret) if spec.proof else ""
        db.session.rollback()  # the place may take a while
        return Way(io.address(spec.name), io.number(spec.name), spec, secret, handover)
    except (OSError, KeyError, Retry, GiveUp, Problem) as error:
        raise Unavailable(_m("The port %(port)s of %(name)s cannot be reached just now.", port=spec.name, name=name)) from error


def hands_over(portal: Portal, given: Pass, came: Place) -> bool:
    """Whether the page asks for something that only the portal can give it. No place is asked: the ticket is used up by now."""
    _, instance, _ = allowed(portal, given, came)
    return bool(_handover_paths(adapter_of(portal, instance)))


def _handover_paths(adapter: Adapter) -> frozenset[str]:
    return frozenset(adapter.handover_paths) if isinstance(adapter, HandsOver) else frozenset()


def fragment_for(portal: Portal, admitted: Admitted, origin: str) -> str:
    """What the address of a page gets behind its # where a browser opens it for the first time without TLS."""
    if not admitted.way.handover:
        return ""
    adapter = adapter_of(portal, _instance(admitted))
    told = handed_over(portal, admitted, min(admitted.way.handover))
    return adapter.fragment(told, origin) if isinstance(adapter, HandsOver) else ""


def handed_over(portal: Portal, admitted: Admitted, path: str) -> HttpAnswer:
    """What the portal answers in the claw's place."""
    instance = _instance(admitted)
    adapter = adapter_of(portal, instance)
    assert isinstance(adapter, HandsOver)
    try:
        io, context = reach(portal, instance), context_of(portal, instance)
        io.secret("")  # read while there is a session
        db.session.rollback()  # the claw may take a while
        return adapter.handover(io, context, admitted.app.port, path)
    except (OSError, KeyError, Retry, GiveUp, Unavailable) as error:
        raise Unavailable(_m("%(name)s cannot let its page in just now: %(error)s", name=admitted.name, error=error)) from error


def _instance(admitted: Admitted) -> Instance:
    return get_or_404(Instance, admitted.app.instance_id, admitted.actor, APP_OPEN)
