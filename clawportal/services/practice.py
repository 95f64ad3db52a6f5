"""The built-in practice model: lets a claw answer without any provider or key, clearly labelled as practice."""

from __future__ import annotations

import logging

from clawportal.contracts.extensions import ModelService
from clawportal.contracts.permissions import Actor
from clawportal.db import transaction
from clawportal.engine.portal import Portal
from clawportal.messages import _m
from clawportal.services.events import event_log
from clawportal.services.system import portal_settings
from clawportal.testing.practice_model import MODEL, PracticeModel

log = logging.getLogger(__name__)

PROVIDER = "practice"
"""By which a spec chooses it."""


CLOSED = _m("The practice model is switched off. Choose a provider, or have it switched on.")
FAR = _m(
    "Choose a real provider; or set the host name of the portal in the settings of the cluster, and "
    "CLAWPORTAL_PRACTICE_MODEL_HOST so that the practice model listens on more than this machine."
)


def enabled() -> bool:
    return bool(portal_settings.read(portal_settings.PRACTICE_MODEL, False))


def resume(portal: Portal) -> None:
    """Listen again, where it was switched on before."""
    if enabled():
        start(portal)


def switch(portal: Portal, actor: Actor, on: bool) -> None:
    """Remember the choice, and start or stop the model in this process."""
    with transaction():
        portal_settings.write(portal_settings.PRACTICE_MODEL, on)
        words = "on" if on else "off"
        event_log.record(
            portal, "portal.practice_model", actor=actor, message=_m("The practice model was switched %(words)s.", words=words)
        )
    if on:
        start(portal)
    else:
        stop(portal)


def start(portal: Portal) -> None:
    """Listen, on loopback unless set otherwise. Where the port is taken, on another one, which is kept for the next start."""
    if portal.practice is not None:
        return
    wanted = portal.settings.practice_model_port
    server = None
    for port in dict.fromkeys((_chosen(wanted) or wanted, wanted, 0)):
        server = server or _listening(portal.settings.practice_model_host, port)
    if server is None:
        return
    if wanted and server.port != wanted:
        log.warning("port %s is taken, so the practice model listens on port %s", wanted, server.port)
    if wanted:
        _remember(wanted, server.port)
    portal.practice, portal.practice_url = server, f"http://{_near(server.host)}:{server.port}/v1"


def _listening(host: str, port: int) -> PracticeModel | None:
    server = PracticeModel(host, port)
    try:
        return server.start()
    except OSError as error:
        log.info("the practice model cannot listen on port %s: %s", port, error)
        return None


def _chosen(wanted: int) -> int:
    """The port that took the place of this one before: claws know it, and need no restart for another."""
    kept = portal_settings.read(portal_settings.PRACTICE_PORT, {})
    return int(kept.get("chosen", 0)) if isinstance(kept, dict) and kept.get("wanted") == wanted else 0


def _remember(wanted: int, chosen: int) -> None:
    kept = {"wanted": wanted, "chosen": chosen}
    if portal_settings.read(portal_settings.PRACTICE_PORT, {"wanted": wanted, "chosen": wanted}) != kept:
        portal_settings.write(portal_settings.PRACTICE_PORT, kept)


def expected_url(portal: Portal) -> str:
    """Where it is or will be; the same whether it listens just now or not. Empty: nobody knows yet."""
    wanted = portal.settings.practice_model_port
    port = _chosen(wanted) or wanted
    return portal.practice_url or (f"http://127.0.0.1:{port}/v1" if port else "")


def model_service(portal: Portal, provider: str) -> ModelService | None:
    if provider != PROVIDER:
        return None
    closed = "" if portal.practice_url else CLOSED
    return ModelService(PROVIDER, expected_url(portal), MODEL, closed, FAR)


def moved(portal: Portal) -> bool:
    """Whether it listens on another port than its setting says."""
    wanted = portal.settings.practice_model_port
    return bool(wanted and portal.practice_url and portal.practice is not None and portal.practice.port != wanted)


def _near(host: str) -> str:
    """By which address this machine itself reaches it."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)


def stop(portal: Portal) -> None:
    server, portal.practice, portal.practice_url = portal.practice, None, ""
    if server is not None:
        server.stop()
