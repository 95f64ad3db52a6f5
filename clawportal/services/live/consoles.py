"""Consoles for people: an interactive shell in a running claw, and the way to its ports.

What is typed and shown is kept nowhere but in a little scrollback in memory; who opened a console, on what, and for how long is
an event and stands in the audit.
"""

from __future__ import annotations

import secrets as random_words
import time
from functools import partial

from clawportal.contracts.core_permissions import INSTANCE_CONNECT, INSTANCE_CONSOLE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.runtimes import Runtime
from clawportal.db import db
from clawportal.engine.console_hub import Console
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, NotFound, Problem, Retry, Unavailable, Unsupported
from clawportal.lifecycle import Phase
from clawportal.messages import _m
from clawportal.models import Cluster, Instance
from clawportal.services.clusters import clusters
from clawportal.services.events import event_log
from clawportal.services.fleet import plans
from clawportal.services.rights import access


def open_console(portal: Portal, actor: Actor, instance_id: str, columns: int, rows: int) -> Console:
    """A new shell in a running claw."""
    instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_CONSOLE)
    if instance.phase != Phase.RUNNING:
        raise Conflict(_m("%(name)s is not running. Start it to open a console.", name=instance.name))
    portal.consoles.room(actor)
    runtime = _runtime(portal, instance)
    if "exec" not in runtime.capabilities:
        raise Unsupported(_m("The place where this claw runs has no console."))
    ref, name = plans.ref_of(instance), instance.name
    db.session.rollback()  # the place may take a while
    try:
        session = runtime.exec(ref, runtime.shell(ref), tty=True, columns=columns, rows=rows)
    except (OSError, Retry) as error:
        raise Unavailable(_m("No shell can be opened in %(name)s just now: %(error)s", name=name, error=error)) from error
    console = Console(random_words.token_urlsafe(18), instance_id, name, actor, session)
    try:
        _tell(
            portal, console, "instance.console_opened", _m("%(actor)s opened a console on %(name)s.", actor=actor.name, name=name)
        )
    except BaseException:
        session.close()
        raise
    portal.consoles.start(console, partial(_closed, portal))
    return console


def again(portal: Portal, actor: Actor, instance_id: str, console_id: str) -> Console:
    """The same console after a break: only for who opened it, and while they still may."""
    access.get_or_404(Instance, instance_id, actor, INSTANCE_CONSOLE)
    console = portal.consoles.get(console_id)
    if console is None or console.instance_id != instance_id or console.actor.id != actor.id:
        raise NotFound(_m("This console is no longer open. Open a new one."))
    return console


def still_allowed(actor: Actor, console: Console) -> None:
    """Raises when who sits in front of it may no longer."""
    access.get_or_404(Instance, console.instance_id, actor, INSTANCE_CONSOLE)


def _closed(portal: Portal, console: Console, code: int | None) -> None:
    lasted = time.monotonic() - console.opened
    words = _m(
        "The console of %(actor)s on %(name)s was closed after %(time)s.",
        actor=console.actor.name,
        name=console.instance_name,
        time=_spoken(lasted),
    )
    _tell(portal, console, "instance.console_closed", words, seconds=round(lasted), exit_code=code)


def _tell(portal: Portal, console: Console, kind: str, message: str, **data: int | None) -> None:
    instance = db.session.get(Instance, console.instance_id)
    if instance is not None:
        event_log.record(portal, kind, actor=console.actor, instance=instance, message=message, data=data)


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def port(portal: Portal, actor: Actor, instance_id: str, name: str) -> tuple[str, int]:
    """Where the portal reaches a port of a running claw, by its name or number; noted as an event."""
    instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_CONNECT)
    if instance.phase != Phase.RUNNING:
        raise Conflict(_m("%(name)s is not running. Start it to connect to it.", name=instance.name))
    given = plans.known_ports(instance)
    chosen = next((word for word, number in given.items() if name in (word, str(number))), None)
    if chosen is None:
        known = [f"{word} ({number})" for word, number in sorted(given.items())] or _m("none")
        raise NotFound(_m("%(name)s has no port %(name2)s. Known: %(known)s.", name=instance.name, name2=repr(name), known=known))
    runtime = _runtime(portal, instance)
    ref = plans.ref_of(instance)
    db.session.rollback()
    try:
        return runtime.open_port(ref, given[chosen])
    except (OSError, Retry, Problem) as error:
        raise Unavailable(_m("The port %(chosen)s cannot be reached just now: %(error)s", chosen=chosen, error=error)) from error


def port_allowed(actor: Actor, instance_id: str) -> None:
    """Raises when a connection that lasts may no longer."""
    access.get_or_404(Instance, instance_id, actor, INSTANCE_CONNECT)


def _runtime(portal: Portal, instance: Instance) -> Runtime:
    return clusters.connect(portal, db.session.get_one(Cluster, instance.cluster_id))
