"""What one running portal consists of: the parts that use cases need and that live as long as the process."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from clawportal.contracts.bus import CLUSTERS, DUE, FACTS, EventBus, News
from clawportal.contracts.events import Event
from clawportal.contracts.permissions import PermissionRegistry
from clawportal.disk_reserve import DiskRoom
from clawportal.engine import event_bus
from clawportal.engine.connections import Connections
from clawportal.engine.console_hub import ConsoleHub
from clawportal.engine.current_settings import CurrentSettings
from clawportal.engine.dispatcher import Dispatcher
from clawportal.engine.live_samples import LiveSamples
from clawportal.engine.log_hub import LogHub
from clawportal.engine.metric_history import Recorder
from clawportal.engine.recent_uploads import Taken
from clawportal.keyring import Keyring
from clawportal.pluginmanager import Registry
from clawportal.settings import Settings

P = TypeVar("P")


def _holder() -> str:
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass
class Portal:
    """Made once by `create_app`; passed to use cases instead of globals."""

    settings: Settings
    """As they hold now; ask each time, as some of them may change while the portal runs."""
    registry: Registry
    keyring: Keyring
    connections: Connections
    dispatcher: Dispatcher = field(default_factory=Dispatcher)
    samples: LiveSamples = field(default_factory=LiveSamples)
    recorder: Recorder = field(default_factory=Recorder)
    consoles: ConsoleHub = field(default_factory=ConsoleHub)
    logs: LogHub = field(default_factory=LogHub)
    taken: Taken = field(default_factory=Taken)
    room: DiskRoom = field(init=False)
    current: CurrentSettings = field(init=False)
    """Where each setting comes from."""
    holder: str = field(default_factory=_holder)
    """Names this process in leases."""
    bus: EventBus = field(init=False)
    """Tells the parts of all replicas what happened."""
    _parts: dict[type[Any], Any] = field(default_factory=dict)
    _parts_lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)
    clusters_news: threading.Event = field(default_factory=threading.Event)
    """Set when the table of clusters was changed, so that background work need not wait for its next look."""

    def __post_init__(self) -> None:
        self.current = CurrentSettings(self.settings, self.registry)
        self.bus = event_bus.chosen(self.registry, self)
        self.bus.subscribe(DUE, self._hint)
        self.bus.subscribe(CLUSTERS, lambda _news: self.clusters_news.set())
        self.samples.listeners.append(self.recorder.add)
        self.room = DiskRoom(self.settings.data_dir, self.settings.reserve_mib << 20)

    def part(self, kind: type[P]) -> P:
        """The one object of a kind that lives as long as this process, such as open connections; made when first asked for."""
        with self._parts_lock:
            if kind not in self._parts:
                self._parts[kind] = kind()
            return cast(P, self._parts[kind])

    def section(self, kind: type[P]) -> P:
        """A feature's section of the settings, by its model."""
        return cast(P, self.registry.sections[kind])

    def put(self, kind: type[P], part: P) -> None:
        """Use another object of a kind from now on."""
        with self._parts_lock:
            self._parts[kind] = part

    def close_parts(self) -> None:
        """At the end of the process: `close()` of each part that has one."""
        with self._parts_lock:
            closing = [part.close for part in self._parts.values() if hasattr(part, "close")]
        for close in closing:
            close()

    @property
    def permissions(self) -> PermissionRegistry:
        """Those of the features that are loaded here."""
        return self.registry.permissions

    def clusters_changed(self) -> None:
        self.bus.publish(CLUSTERS, {})

    def _hint(self, news: News) -> None:
        self.dispatcher.hint(news["instance"], cluster=news["cluster"], tenant=news["tenant"])

    def due(self, instance_id: str, *, cluster: str = "", tenant: str = "") -> None:
        """Somebody asked something of this instance: the next free worker of any replica looks at it."""
        self.bus.publish(DUE, {"instance": instance_id, "cluster": cluster, "tenant": tenant})

    def publish(self, event: Event) -> None:
        """Tell live pages of all replicas and the plugins of this one, after the commit."""
        self.bus.publish(FACTS, event.news())
        self.registry.call("on_event", portal=self, event=event)
