"""Takes along the files of claws that lie on the portal's own disk, and puts them back before the claws start."""

from __future__ import annotations

import io
import logging
import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import select

from clawportal.contracts.runtimes import Ref, Runtime
from clawportal.contracts.workloads import Workload
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Problem, Retry
from clawportal.models import Cluster, Instance
from clawportal.services.backup.archive import Stream
from clawportal.services.clusters import clusters
from clawportal.services.fleet import plans
from clawportal.services.system import disk_guard

log = logging.getLogger(__name__)

STREAM = "claw"
ROOTS = ("home", "state", "work")
_BLOCK = 512
_PIECE = 256 * 1024


@dataclass(frozen=True)
class Folder:
    """One root of one claw."""

    ref: Ref
    root: str
    runtime: Runtime

    @property
    def about(self) -> dict[str, str]:
        return {"instance": self.ref.instance_id, "root": self.root}

    def __str__(self) -> str:
        return f"{self.root} of {self.ref}"


def folders(portal: Portal, gaps: list[str]) -> list[Folder]:
    """Of all claws whose files are on this disk. What cannot be reached is added to `gaps`."""
    found = []
    for cluster_id, name in db.session.execute(select(Cluster.id, Cluster.name).order_by(Cluster.name)).all():
        runtime = _runtime(portal, cluster_id, name, gaps)
        if runtime is not None:
            found += [Folder(ref, root, runtime) for ref in _refs(cluster_id) for root in ROOTS]
    db.session.rollback()  # what follows takes long
    return found


def _runtime(portal: Portal, cluster_id: str, name: str, gaps: list[str]) -> Runtime | None:
    """None for a place whose claws keep their files elsewhere."""
    try:
        runtime = portal.connections.get(clusters.target_of(portal, db.session.get_one(Cluster, cluster_id)))
    except (Retry, GiveUp, Problem) as error:
        gaps.append(f"cluster {name}: {error}")
        return None
    return runtime if disk_guard.on_portals_disk(runtime) and "files" in runtime.capabilities else None


def _refs(cluster_id: str) -> list[Ref]:
    query = select(Instance).where(
        Instance.cluster_id == cluster_id, Instance.destroyed_at.is_(None), Instance.foreign_id == "", Instance.managed
    )
    return [plans.ref_of(instance) for instance in db.session.scalars(query.order_by(Instance.id))]


def known_size(found: Iterable[Folder]) -> int:
    """Bytes, as far as their place has measured them."""
    runtimes = {id(folder.runtime): folder.runtime for folder in found}
    return sum(sample.disk_bytes or 0 for runtime in runtimes.values() for sample in runtime.sample())


def pieces(folder: Folder, gaps: list[str]) -> Iterator[bytes]:
    """A tar stream; empty for a claw that never ran. One that cannot be read to its end is added to `gaps`, and ends early."""
    try:
        yield from folder.runtime.pull(folder.ref, folder.root)
    except FileNotFoundError:
        return
    except (OSError, GiveUp, Retry, Problem) as error:
        log.warning("the files in %s could not all be read: %s", folder, error)
        gaps.append(f"{folder}: {error}")


# ---- back again


def put_back(portal: Portal, stream: Stream, gaps: list[str]) -> None:
    """The folder that a stream holds, where its claw still exists."""
    instance = db.session.get(Instance, stream.about["instance"])
    if instance is None or instance.destroyed_at is not None or stream.about["root"] not in ROOTS:
        return
    cluster, ref = db.session.get_one(Cluster, instance.cluster_id), plans.ref_of(instance)
    runtime = _runtime(portal, cluster.id, cluster.name, gaps)
    db.session.rollback()
    first = next(stream.pieces, b"")
    if runtime is None or not first:
        return
    left: list[str] = []
    try:
        runtime.write_files(ref, Workload())  # the folders of the claw, with nothing in them
        runtime.push(ref, stream.about["root"], "", _inside(_Joined(first, stream.pieces), left))
    except (OSError, GiveUp, Retry, Problem, tarfile.TarError) as error:
        gaps.append(f"{stream.about['root']} of {ref}: {error}")
    if left:
        gaps.append(f"{stream.about['root']} of {ref}: {len(left)} links lead out of it and were left out, such as {left[0]}")


class _Joined(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._held, self._rest = memoryview(first), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # narrower than any buffer
        while not self._held:
            piece = next(self._rest, None)
            if piece is None:
                return 0
            self._held = memoryview(piece)
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size


def _inside(source: _Joined, left: list[str]) -> Iterator[bytes]:
    """The same archive without links that lead out of the folder: no place takes those from outside."""
    with tarfile.open(fileobj=io.BufferedReader(source, _PIECE), mode="r|") as tar:
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
            if info.issym() and _leads_out(info):
                left.append(info.name[:200])
                continue
            yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            file = tar.extractfile(info) if info.isreg() else None
            while file is not None and (piece := file.read(_PIECE)):
                yield piece
            yield bytes(-info.size % _BLOCK) if file is not None else b""
    yield bytes(2 * _BLOCK)


def _leads_out(info: tarfile.TarInfo) -> bool:
    if info.linkname.startswith("/"):
        return True
    return posixpath.normpath(posixpath.join(posixpath.dirname(info.name), info.linkname)).split("/")[0] == ".."
