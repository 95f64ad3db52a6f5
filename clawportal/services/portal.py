"""What one running portal consists of: the parts that use cases need and that live as long as the process."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from clawportal.diskroom import DiskRoom
from clawportal.events import Event
from clawportal.keyring import Keyring
from clawportal.pluginmanager import Registry
from clawportal.services.audit_refusals import Refusals
from clawportal.services.connections import Connections
from clawportal.services.consolehub import ConsoleHub
from clawportal.services.dispatch import Dispatcher
from clawportal.services.loghub import LogHub
from clawportal.services.oidc_calls import ProviderCalls
from clawportal.services.samples import LiveSamples
from clawportal.services.series import Recorder
from clawportal.services.taken import Taken
from clawportal.settings import Settings
from clawportal.testing.practice_model import PracticeModel


def _holder() -> str:
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass
class Portal:
    """Made once by `create_app`; passed to use cases instead of globals."""

    settings: Settings
    registry: Registry
    keyring: Keyring
    connections: Connections
    dispatcher: Dispatcher = field(default_factory=Dispatcher)
    samples: LiveSamples = field(default_factory=LiveSamples)
    recorder: Recorder = field(default_factory=Recorder)
    consoles: ConsoleHub = field(default_factory=ConsoleHub)
    logs: LogHub = field(default_factory=LogHub)
    refusals: Refusals = field(default_factory=Refusals)
    oidc: ProviderCalls = field(default_factory=ProviderCalls)
    taken: Taken = field(default_factory=Taken)
    room: DiskRoom = field(init=False)
    holder: str = field(default_factory=_holder)
    """Names this process in leases."""
    listeners: list[Callable[[Event], None]] = field(default_factory=list)
    """Called after the commit with each event; quick, and from any thread."""
    practice_url: str = ""
    """Where the practice model listens, empty while it is off."""
    practice: PracticeModel | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    clusters_news: threading.Event = field(default_factory=threading.Event)
    """Set when the table of clusters was changed here, so that background work need not wait for its next look."""

    def __post_init__(self) -> None:
        self.samples.listeners.append(self.recorder.add)
        self.room = DiskRoom(self.settings.data_dir, self.settings.reserve_mib << 20)

    def clusters_changed(self) -> None:
        self.clusters_news.set()

    def publish(self, event: Event) -> None:
        for listener in tuple(self.listeners):
            listener(event)
        self.registry.emit(event)
