"""Logs of instances for people: the last lines, the whole as text, and live."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from clawportal import bounded, clock
from clawportal.contracts.adapters import LogRecord
from clawportal.contracts.core_permissions import INSTANCE_LOGS
from clawportal.contracts.permissions import Actor
from clawportal.contracts.runtimes import LogLine
from clawportal.db import db
from clawportal.engine.log_hub import RING_LINES, Line, Subscription, Upstream, dress, stamp
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Invalid, NotFound, Unsupported
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.redact import Masker
from clawportal.services.clusters import clusters
from clawportal.services.configuration import layers
from clawportal.services.fleet import plans
from clawportal.services.rights import access

MAX_TAIL = 10_000
MAX_READ, MAX_LINE = 4 * bounded.MIB, 256 * bounded.KIB
"""Characters of one answer and of one line in it; the download has all."""
DEFAULT_TAIL = 500
LEVELS = {"debug": 0, "info": 1, "warning": 2, "error": 3}
"""Rank of each level; a line without one counts as `info`."""

_AGO = re.compile(r"([0-9]{1,8})([smhd])")
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def read(
    portal: Portal, actor: Actor, instance_id: str, *, tail: int = DEFAULT_TAIL, since: datetime | None = None, level: str = ""
) -> list[Line]:
    """The last `tail` lines, oldest first; of these, with `level`, only those at least so grave."""
    _check(tail, level)
    upstream = _upstream(portal, _readable(actor, instance_id))
    db.session.rollback()  # the read may take long, and needs no connection
    mask = Masker(upstream.secrets.values())
    found = upstream.follow(tail=tail, since=since, follow=False, stop=portal.stopping.is_set)
    lines = (dress(line, upstream.parse, mask, MAX_LINE) for line in found if line is not None)
    return list(bounded.last((line for line in lines if grave(line, level)), None, MAX_READ, lambda line: len(line.text)))


def grave(line: Line, level: str) -> bool:
    return not level or LEVELS.get(line.level, 1) >= LEVELS[level]


def _check(tail: int, level: str) -> None:
    if not 0 <= tail <= MAX_TAIL:
        raise Invalid.field(
            "tail", _m("must be a whole number from 0 to %(MAX_TAIL)s; download the log for more", MAX_TAIL=f"{MAX_TAIL:,}")
        )
    if level and level not in LEVELS:
        raise Invalid.field("level", _m("must be one of %(join)s", join=[*LEVELS]))


def download(portal: Portal, actor: Actor, instance_id: str, *, since: datetime | None = None) -> Iterator[str]:
    """All that is kept, as text, piece by piece. What is refused is refused at the call, not at the first piece."""
    upstream = _upstream(portal, _readable(actor, instance_id))
    db.session.rollback()
    return _texts(upstream, since, portal.stopping.is_set)


def _texts(upstream: Upstream, since: datetime | None, stop: Callable[[], bool]) -> Iterator[str]:
    mask = Masker(upstream.secrets.values())
    piece: list[str] = []
    size = 0
    for line in upstream.follow(tail=None, since=since, follow=False, stop=stop):
        if line is None:
            continue
        piece.append(f"{stamp(line.at)} {line.stream} {line.source} {mask(line.text)}\n")
        size += len(piece[-1])
        if size > 64 * 1024:
            yield "".join(piece)
            piece, size = [], 0
    yield "".join(piece)


def watch(
    portal: Portal, actor: Actor, instance_id: str, *, tail: int = DEFAULT_TAIL, since: datetime | None = None
) -> Subscription:
    """Follow the log; the caller takes lines from the subscription and closes it. All viewers share one reader."""
    if not 0 <= tail <= MAX_TAIL:
        raise Invalid.field("tail", _m("must be a whole number from 0 to %(MAX_TAIL)s", MAX_TAIL=f"{MAX_TAIL:,}"))
    instance = _readable(actor, instance_id)
    if instance.destroyed_at is not None:
        raise NotFound(_m("There is no instance with this id, or it is not yours."))
    _upstream(portal, instance)  # what cannot be followed is refused now and not in the reader
    db.session.rollback()
    return portal.logs.subscribe(
        instance_id, lambda: _upstream(portal, db.session.get_one(Instance, instance_id)), tail=min(tail, RING_LINES), since=since
    )


def still_allowed(actor: Actor, instance_id: str) -> None:
    """For streams that last: raises as the first time when the actor may not read on, or the instance is gone."""
    _readable(actor, instance_id)


def _readable(actor: Actor, instance_id: str) -> Instance:
    return access.get_or_404(Instance, instance_id, actor, INSTANCE_LOGS)


def _upstream(portal: Portal, instance: Instance) -> Upstream:
    runtime = clusters.connect(portal, plans.cluster_of(instance))
    if "logs" not in runtime.capabilities:
        raise Unsupported(_m("The place where this instance runs keeps no logs that the portal could read."))
    ref = plans.ref_of(instance)

    def follow(*, tail: int | None, since: datetime | None, follow: bool, stop: Callable[[], bool]) -> Iterator[LogLine | None]:
        return runtime.logs(ref, tail=tail, since=since, follow=follow, stop=stop)

    return Upstream(follow, _parser(portal, instance), layers.open_secrets(portal, instance))


def _parser(portal: Portal, instance: Instance) -> Callable[[str], LogRecord]:
    """How its adapter reads a line; the log of a claw whose plugin is gone can still be read."""
    with contextlib.suppress(GiveUp):
        return plans.adapter_of(portal, instance).parse_log
    return lambda line: LogRecord("", line)


def parse_since(text: str, path: str = "since") -> datetime | None:
    """A time as people and programs write it: RFC 3339, or how long ago: `90s`, `10m`, `2h`, `1d`."""
    if not text:
        return None
    ago = _AGO.fullmatch(text)
    try:
        # a plus sign in a query string arrives as a space
        at = clock.now() - _UNITS[ago[2]] * int(ago[1]) if ago else datetime.fromisoformat(_with_plus(text))
    except (ValueError, OverflowError):
        raise Invalid.field(
            path, _m("must be a time such as 2026-11-23T08:30:00Z, or how long ago, such as 90s, 10m, 2h or 1d")
        ) from None
    if at.tzinfo is None:
        raise Invalid.field(path, _m("must say its time zone, such as 2026-11-23T08:30:00Z"))
    return at


def _with_plus(text: str) -> str:
    return text.replace(" ", "+") if "T" in text else text
