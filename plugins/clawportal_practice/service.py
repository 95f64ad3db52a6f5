"""Switches the practice model on and off, and says where it listens."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from clawportal.sdk import _m
from clawportal.sdk.data import portal_setting, set_portal_setting, transaction
from clawportal.sdk.events import record
from clawportal.sdk.features import ModelService, SetupChoice
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import Actor
from clawportal.sdk.runtimes import DoctorResult
from clawportal_practice.server import MODEL, PracticeModel
from clawportal_practice.settings import PracticeSettings

log = logging.getLogger(__name__)

PROVIDER = "practice"
"""By which a spec chooses it."""
CLOSED = _m("The practice model is switched off. Choose a provider, or have it switched on.")
FAR = _m(
    "Choose a real provider; or set the host name of the portal in the settings of the cluster, and "
    "CLAWPORTAL_PRACTICE_MODEL_HOST so that the practice model listens on more than this machine."
)
_ON, _PORT = "practice_model", "practice_port"
"""Names of what is remembered."""


@dataclass
class Listening:
    """The server of this process, and where claws on this machine reach it; empty while it is off."""

    server: PracticeModel | None = None
    url: str = ""


def listening(portal: Portal) -> Listening:
    return portal.part(Listening)


def enabled() -> bool:
    return bool(portal_setting(_ON, False))


def resume(portal: Portal) -> None:
    """Listen again, where it was switched on before."""
    if enabled():
        start(portal)


def switch(portal: Portal, actor: Actor, on: bool) -> None:
    """Remember the choice, and start or stop the model in this process."""
    with transaction():
        set_portal_setting(_ON, on)
        words = "on" if on else "off"
        message = _m("The practice model was switched %(words)s.", words=words)
        record(portal, "portal.practice_model", actor=actor, message=message)
    (start if on else stop)(portal)


def start(portal: Portal) -> None:
    """Listen, on loopback unless set otherwise. Where the port is taken, on another one, which is kept for the next start."""
    here, settings = listening(portal), portal.section(PracticeSettings)
    if here.server is not None:
        return
    wanted, server = settings.port, None
    for port in dict.fromkeys((_chosen(wanted) or wanted, wanted, 0)):
        server = server or _served(settings.host, port)
    if server is None:
        return
    if wanted and server.port != wanted:
        log.warning("port %s is taken, so the practice model listens on port %s", wanted, server.port)
    if wanted:
        _remember(wanted, server.port)
    here.server, here.url = server, f"http://{_near(server.host)}:{server.port}/v1"


def _served(host: str, port: int) -> PracticeModel | None:
    server = PracticeModel(host, port)
    try:
        return server.start()
    except OSError as error:
        log.info("the practice model cannot listen on port %s: %s", port, error)
        return None


def _chosen(wanted: int) -> int:
    """The port that took the place of this one before: claws know it, and need no restart for another."""
    kept = portal_setting(_PORT, {})
    return int(kept.get("chosen", 0)) if isinstance(kept, dict) and kept.get("wanted") == wanted else 0


def _remember(wanted: int, chosen: int) -> None:
    kept = {"wanted": wanted, "chosen": chosen}
    if portal_setting(_PORT, {"wanted": wanted, "chosen": wanted}) != kept:
        set_portal_setting(_PORT, kept)


def expected_url(portal: Portal) -> str:
    """Where it is or will be; the same whether it listens just now or not. Empty: nobody knows yet."""
    wanted = portal.section(PracticeSettings).port
    port = _chosen(wanted) or wanted
    return listening(portal).url or (f"http://127.0.0.1:{port}/v1" if port else "")


def moved(portal: Portal) -> bool:
    """Whether it listens on another port than its setting says."""
    wanted, server = portal.section(PracticeSettings).port, listening(portal).server
    return bool(wanted and server is not None and server.port != wanted)


def _near(host: str) -> str:
    """By which address this machine itself reaches it."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)


def stop(portal: Portal) -> None:
    here = listening(portal)
    server, here.server, here.url = here.server, None, ""
    if server is not None:
        server.stop()


# ---- what the core asks


def model_service(portal: Portal, provider: str) -> ModelService | None:
    if provider != PROVIDER:
        return None
    return ModelService(PROVIDER, expected_url(portal), MODEL, "" if listening(portal).url else CLOSED, FAR)


def setup_choice(_portal: Portal) -> SetupChoice:
    return SetupChoice(
        "practice", _m("Something to talk to"), _m("Switch on the practice model"),
        _m(
            "Lets a claw answer at once, without any provider, key or cost. It is not intelligent: its answers are made up by "
            "the portal itself, and it is marked as practice wherever it is used. Choose a real model for each claw when you "
            "are ready."
        ),
        switch, note=_m("Practice"),
    )  # fmt: skip


def findings(portal: Portal) -> list[DoctorResult]:
    name, url = _m("practice model"), listening(portal).url
    if not enabled():
        return [DoctorResult(name, True, _m("It is switched off."))]
    if moved(portal):
        taken = portal.section(PracticeSettings).port
        words = _m("Port %(taken)s is taken, so it listens at %(practice_url)s.", taken=taken, practice_url=url)
        return [DoctorResult(name, True, words)]
    if url:
        return [DoctorResult(name, True, _m("It listens at %(practice_url)s.", practice_url=url))]
    remedy = _m("Set CLAWPORTAL_PRACTICE_MODEL_PORT to a free port and restart the portal.")
    return [DoctorResult(name, False, _m("It is switched on, but cannot listen on its port."), remedy)]
