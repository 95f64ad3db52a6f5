"""The built-in practice model: lets a claw answer without any provider or key, clearly labelled as practice."""

from __future__ import annotations

import logging

from clawportal.db import transaction
from clawportal.permissions import Actor
from clawportal.services import ledger, portal_settings
from clawportal.services.portal import Portal
from clawportal.testing.practice_model import PracticeModel

log = logging.getLogger(__name__)


def enabled() -> bool:
    return bool(portal_settings.read(portal_settings.PRACTICE_MODEL, False))


def switch(portal: Portal, actor: Actor, on: bool) -> None:
    """Remember the choice, and start or stop the model in this process."""
    with transaction():
        portal_settings.write(portal_settings.PRACTICE_MODEL, on)
        words = "on" if on else "off"
        ledger.record(portal, "portal.practice_model", actor=actor, message=f"The practice model was switched {words}.")
    if on:
        start(portal)
    else:
        stop(portal)


def start(portal: Portal) -> None:
    """Listen, on loopback unless set otherwise. A taken port is told in the log and by the doctor; everything else goes on."""
    if portal.practice is not None:
        return
    server = PracticeModel(portal.settings.practice_model_host, portal.settings.practice_model_port)
    try:
        server.start()
    except OSError as error:
        log.error(
            "the practice model cannot listen on port %s: %s. Set CLAWPORTAL_PRACTICE_MODEL_PORT to a free port.",
            portal.settings.practice_model_port, error,
        )  # fmt: skip
        return
    portal.practice, portal.practice_url = server, f"http://{_near(server.host)}:{server.port}/v1"


def _near(host: str) -> str:
    """By which address this machine itself reaches it."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)


def stop(portal: Portal) -> None:
    server, portal.practice, portal.practice_url = portal.practice, None, ""
    if server is not None:
        server.stop()
