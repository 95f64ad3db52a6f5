"""Use cases: which pages a claw has, opening one, and whether somebody may be where they are."""

from __future__ import annotations

from dataclasses import dataclass

from clawportal.sdk import _m
from clawportal.sdk.adapters import PortProof, PortSpec
from clawportal.sdk.data import db, get_or_404
from clawportal.sdk.errors import Conflict, GiveUp, NotFound, Problem, Retry, Unauthenticated, Unavailable
from clawportal.sdk.events import record
from clawportal.sdk.fleet import Instance, Phase, Portal, adapter_of, reach
from clawportal.sdk.hosts import Bearer, Place, behind
from clawportal.sdk.permissions import Actor
from clawportal_apps import proofs
from clawportal_apps.names import App, Names
from clawportal_apps.permissions import APP_OPEN
from clawportal_apps.proofs import Pass
from clawportal_apps.settings import AppSettings

ENTER = "/.clawportal/enter"


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
    secret: str = ""


@dataclass(frozen=True)
class Admitted:
    """Somebody at a port of a claw, where they may be."""

    app: App
    actor: Actor
    name: str
    way: Way


def names_of(portal: Portal) -> Names:
    return Names(portal.section(AppSettings).domain)


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


def open_page(portal: Portal, actor: Actor, instance_id: str, port: str, bearer: Bearer, home: str) -> Opened:
    """A way in for whoever may open the page; `home`: where their browser finds the portal."""
    instance = get_or_404(Instance, instance_id, actor, APP_OPEN)
    spec = port_of(portal, instance, port)
    _must_run(instance)
    app = App(instance.id, spec.name)
    origin = names_of(portal).origin(app, home)
    ticket = proofs.ticket_for(portal, instance, Pass(app, home, bearer))
    return Opened(f"{origin}{ENTER}?ticket={ticket}", origin)


def enter(portal: Portal, app: App, ticket: str, came: Place) -> Pass:
    """Trade a ticket for a pass, which is told in the audit."""
    given = proofs.used(portal, app, ticket)
    actor = _actor(portal, given, came)
    instance = get_or_404(Instance, app.instance_id, actor, APP_OPEN)
    words = _m("%(actor)s opened the page %(port)s of %(name)s.", actor=actor.name, port=app.port, name=instance.name)
    record(portal, "instance.app_opened", actor=actor, instance=instance, message=words, data={"port": app.port})
    return given


def admit(portal: Portal, given: Pass, came: Place) -> Admitted:
    """Whether whoever has this pass may be where it leads, just now, and the way there; a Problem where not."""
    actor = _actor(portal, given, came)
    instance = get_or_404(Instance, given.app.instance_id, actor, APP_OPEN)
    spec = port_of(portal, instance, given.app.port)
    _must_run(instance)
    name = instance.name
    way = _way(portal, instance, spec)
    db.session.rollback()
    return Admitted(given.app, actor, name, way)


def _actor(portal: Portal, given: Pass, came: Place) -> Actor:
    found = behind(given.bearer, came)
    if found is None:
        raise Unauthenticated(_m("You are no longer signed in. Open the page from the portal again."))
    return found


def _must_run(instance: Instance) -> None:
    if instance.phase != Phase.RUNNING:
        raise Conflict(_m("%(name)s is not running. Start it to open its page.", name=instance.name))


def _way(portal: Portal, instance: Instance, spec: PortSpec) -> Way:
    io = reach(portal, instance)
    try:
        address = io.address(spec.name)
    except (OSError, KeyError, Retry, GiveUp, Problem) as error:
        raise Unavailable(
            _m("The port %(port)s of %(name)s cannot be reached just now.", port=spec.name, name=instance.name)
        ) from error
    proof: PortProof | None = spec.proof
    return Way(address, io.number(spec.name), spec, io.secret(proof.secret) if proof else "")
