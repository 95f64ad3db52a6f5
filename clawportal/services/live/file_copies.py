"""The files of one instance as those of another: the work folder, as a stream, for a worker.

What the portal writes itself, and links, stay behind. Copying again writes the same files once more, so that a copy which was cut
begins anew.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from clawportal.contracts.runtimes import Ref, Runtime
from clawportal.contracts.specs import InstanceSpec
from clawportal.contracts.workloads import Workload
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp
from clawportal.messages import _m, _n
from clawportal.models import Instance
from clawportal.redact import ByteMasker
from clawportal.services.clusters import clusters
from clawportal.services.configuration import layers
from clawportal.services.fleet import plans, storage
from clawportal.services.live.file_access import SHARED
from clawportal.services.live.files import close, content_of, next_of, reading
from clawportal.services.system import disk_guard

MOST_COUNTED = 100_000
LOOK_AT_DISK = 4 * 1024**2
"""Bytes written between two looks whether there is room."""
_BLOCK = 512


@dataclass(frozen=True)
class End:
    """One side of a copy; holds no row, as copying takes long."""

    ref: Ref
    name: str
    runtime: Runtime
    owned: frozenset[str]
    """Paths in the work folder that the portal writes itself."""
    limit: int | None
    """Bytes that its files may take."""


@dataclass
class Copied:
    files: int = 0
    size: int = 0
    left_out: int = 0


Tell = Callable[[float | None, Copied], None]
"""Called with how far it is (0..1), or None where nobody knows, now and then."""
Step = Callable[[Copied], None]
"""Called before each piece is written and after each entry; raises where it must not go on."""


def end_of(portal: Portal, instance: Instance) -> End:
    """Retry where its cluster does not answer."""
    runtime = clusters.connect(portal, plans.cluster_of(instance))
    owned = (file for file in (instance.workload or {}).get("files", ()) if file["policy"] == "always" and file["root"] == SHARED)
    spec = InstanceSpec.model_validate(layers.of_instance(portal, instance).spec)
    return End(
        plans.ref_of(instance), instance.name, runtime, frozenset(file["path"] for file in owned), storage.limit_of(spec, runtime)
    )


def masker(portal: Portal, instance: Instance) -> ByteMasker:
    """Over what is copied for somebody who may not see the secrets of the source."""
    return ByteMasker(layers.open_secrets(portal, instance).values())


def copy(portal: Portal, source: End, target: End, hide: ByteMasker | None, tell: Tell) -> Copied:
    """FileNotFoundError where the target has no folder yet; a source without one has nothing to copy."""
    db.session.rollback()
    total, done = _size(source), Copied()
    _ensure_room(portal, target, total)
    step = _stepper(portal, target, total, tell)
    if disk_guard.on_portals_disk(target.runtime):
        target.runtime.write_files(target.ref, Workload())  # the folders of the claw, with nothing in them
    try:
        stream = source.runtime.pull(source.ref, SHARED)
        tar = reading(stream)
        first = next_of(tar)
    except FileNotFoundError:
        return done
    try:
        target.runtime.push(target.ref, SHARED, "", _anew(tar, first, source.owned | target.owned, hide, done, step))
    finally:
        close(stream)
    return done


def _size(source: End) -> int | None:
    """Bytes in its work folder; None where its place cannot tell, or not of all."""
    if "files.change" not in source.runtime.capabilities:
        return None
    try:
        found = source.runtime.find_files(source.ref, SHARED, "", "", MOST_COUNTED)
    except FileNotFoundError:
        return 0
    return None if found.cut else sum(entry.size for entry in found if entry.kind == "file")


def _ensure_room(portal: Portal, target: End, total: int | None) -> None:
    _ensure_limit(target, total or 0)
    if disk_guard.on_portals_disk(target.runtime):
        disk_guard.ensure(portal, total or 0)


def _ensure_limit(target: End, size: int) -> None:
    if target.limit is not None and size > target.limit:
        raise GiveUp(
            _n("StorageExceeded"),
            _m(
                "The files take %(size)s, and %(name)s may have %(limit)s.",
                size=storage.readable(size), name=target.name, limit=storage.readable(target.limit),
            ),
            _m("Raise its storage limit and try again."),
        )  # fmt: skip


def _stepper(portal: Portal, target: End, total: int | None, tell: Tell) -> Step:
    """Holds what is copied to its bounds: a source that runs grows meanwhile, and some places cannot tell how large it is."""
    own_disk, looked_at = disk_guard.on_portals_disk(target.runtime), 0

    def step(done: Copied) -> None:
        nonlocal looked_at
        _ensure_limit(target, done.size)
        if own_disk and done.size - looked_at >= LOOK_AT_DISK:
            looked_at = done.size
            disk_guard.ensure(portal, LOOK_AT_DISK)
        tell(min(1.0, done.size / total) if total else None, done)

    return step


def _anew(
    tar: tarfile.TarFile, info: tarfile.TarInfo | None, owned: Collection[str], hide: ByteMasker | None, done: Copied,
    step: Step,
) -> Iterator[bytes]:  # fmt: skip
    """The same files and folders, without owners, links and what the portal writes."""
    while info is not None:
        name = info.name.removeprefix("./").rstrip("/")
        if name in ("", "."):
            pass
        elif info.isdir():
            yield _header(name, info, tarfile.DIRTYPE)
        elif info.isreg() and name not in owned:
            yield _header(name, info, tarfile.REGTYPE, info.size)
            for piece in _content(tar, info, hide):
                done.size += len(piece)
                step(done)
                yield piece
            yield bytes(-info.size % _BLOCK)
            done.files += 1
        else:
            done.left_out += not info.isreg()
        step(done)
        info = next_of(tar)
    yield bytes(2 * _BLOCK)


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo, hide: ByteMasker | None) -> Iterator[bytes]:
    pieces = content_of(tar, info)
    return hide(pieces) if hide is not None else pieces


def _header(name: str, info: tarfile.TarInfo, kind: bytes, size: int = 0) -> bytes:
    fresh = tarfile.TarInfo(name)
    fresh.type, fresh.size, fresh.mode, fresh.mtime = kind, size, info.mode & 0o777, int(info.mtime)
    return fresh.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
