"""The way to the files of an instance: what a path means, who may go there, what is not theirs to change, and what still fits.

`work` is shared by a claw and its people. `home` and `state` are the claw's own and may hold what it keeps secret, so that who
reads or writes there needs the right to a console, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from clawportal.contracts.core_permissions import INSTANCE_CONSOLE, INSTANCE_FILES_READ, INSTANCE_FILES_WRITE
from clawportal.contracts.permissions import Actor, Permission
from clawportal.contracts.runtimes import FileEntry, NoFolderYet, Ref, Runtime
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Forbidden, GiveUp, Invalid, NotFound, Problem, Retry, Unavailable, Unsupported
from clawportal.messages import _m, joined
from clawportal.models import Instance
from clawportal.redact import ByteMasker
from clawportal.services.clusters import clusters
from clawportal.services.configuration import layers
from clawportal.services.events import event_log
from clawportal.services.fleet import plans, storage
from clawportal.services.rights import access
from clawportal.services.system import disk_guard

SHARED = "work"
ROOTS = (SHARED, "state", "home")
_LONGEST_PATH = 4000


class Exists(Conflict):
    """Something has this name already, and nobody said that it may be replaced."""

    title, code = _m("There is a file of this name already"), "exists"


class TooLarge(Problem):
    status, title, code = 413, _m("The file is too large"), "too_large"


class LengthNeeded(Problem):
    status, title, code = 411, _m("Say how large the file is"), "length_required"


@dataclass(frozen=True)
class Spot:
    """A path, taken apart."""

    root: str
    inner: str
    """Below the root; empty for the root itself."""

    @property
    def path(self) -> str:
        return f"{self.root}/{self.inner}" if self.inner else self.root

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def above(self) -> str:
        """The folder that holds it, below the root."""
        return self.inner.rpartition("/")[0]


def spot(path: str) -> Spot | None:
    """None for what is above the roots. Whatever leads out, or might, is refused here before any place hears of it."""
    if path.startswith("/") or "\0" in path or len(path) > _LONGEST_PATH:
        raise Invalid.field("path", _m("must be a path such as work/notes.txt, without a slash at the beginning"), "unsafe")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Invalid.field("path", _m("must not lead out: leave out `..`"), "unsafe")
    if not parts:
        return None
    if parts[0] not in ROOTS:
        raise NotFound(_m("There is no %(parts)s in it. The folders of a claw are %(join)s.", parts=parts[0], join=[*ROOTS]))
    return Spot(parts[0], "/".join(parts[1:]))


# ---- who may go there


@dataclass(frozen=True)
class Reach:
    """The files of one instance, for somebody who may look there; holds no row, as the place may take a while."""

    instance_id: str
    name: str
    runtime: Runtime
    ref: Ref
    sees_secrets: bool
    """Has the right to a console."""
    writes: bool
    limit: int | None
    """Bytes that its files may take, where nothing else holds it to that."""
    planned: Mapping[tuple[str, str], str]
    """Policy of each file of its plan, by root and path."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Values that this person must not see."""

    def inside(self, place: Spot) -> bool:
        """Whether who asks may have the content of what is there."""
        return place.root == SHARED or self.sees_secrets

    def enter(self, place: Spot) -> None:
        """Forbidden where that needs a right that they lack."""
        if not self.inside(place):
            raise Forbidden(
                _m(
                    "The folder %(root)s may hold what the claw keeps secret. It needs the right to open a console as well.",
                    root=place.root,
                )
            )

    def owner(self, place: Spot) -> Literal["", "portal", "claw"]:
        """`portal`: it writes this file itself, again and again. `claw`: it was given once and is the claw's since."""
        policy = self.planned.get((place.root, place.inner))
        return "" if policy is None else "portal" if policy == "always" else "claw"

    def leave_alone(self, place: Spot) -> None:
        """Conflict for what the portal writes itself, or a folder with such a file: it would be there again, without a word."""
        for (root, path), policy in self.planned.items():
            if policy == "always" and root == place.root and f"{path}/".startswith(f"{place.inner}/" if place.inner else ""):
                raise Conflict(
                    _m(
                        "The portal writes %(path)s itself. Change the configuration of %(name)s instead.",
                        path=f"{root}/{path}",
                        name=self.name,
                    )
                )

    def hider(self) -> ByteMasker | None:
        """What goes over content on its way out; None for who may see all."""
        return None if self.sees_secrets else ByteMasker(self.secrets)

    def find(self, place: Spot) -> FileEntry | None:
        """What has this name. None for nothing, or where its folder is none."""
        with map_errors(self.name, place):
            try:
                there = self.runtime.list_files(self.ref, place.root, place.above)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return next((entry for entry in there if entry.name == place.name), None)


def reach(portal: Portal, actor: Actor, instance_id: str, permission: Permission = INSTANCE_FILES_READ) -> Reach:
    instance = access.get_or_404(Instance, instance_id, actor, permission)
    scope = access.scope_of(instance)
    sees = actor.allows(INSTANCE_CONSOLE, scope)
    runtime = clusters.connect(portal, plans.cluster_of(instance))
    if "files" not in runtime.capabilities:
        raise Unsupported(_m("The place where this claw runs hands out no files."))
    found = Reach(
        instance_id, instance.name, runtime, plans.ref_of(instance), sees, actor.allows(INSTANCE_FILES_WRITE, scope),
        _storage_limit(portal, instance, runtime),
        {(file["root"], file["path"]): file["policy"] for file in (instance.workload or {}).get("files", ())},
        () if sees else tuple(layers.open_secrets(portal, instance).values()),
    )  # fmt: skip
    db.session.rollback()
    return found


def _storage_limit(portal: Portal, instance: Instance, runtime: Runtime) -> int | None:
    if instance.foreign_id:
        return None
    return storage.limit_of(InstanceSpec.model_validate(layers.of_instance(portal, instance).spec), runtime)


@contextmanager
def map_errors(name: str, place: Spot) -> Iterator[None]:
    """What a place says about a path, in words for who asked."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        if not place.inner or isinstance(error, NoFolderYet):
            raise Conflict(_m("%(name)s has no files yet. Start it once.", name=name)) from error
        raise NotFound(_m("There is no %(path)s in %(name)s.", path=place.path, name=name)) from error
    except FileExistsError as error:
        raise Exists(_m("There is a %(path)s already. Choose another name.", path=place.path)) from error
    except PermissionError as error:
        raise _unsafe() from error
    except GiveUp as verdict:
        if verdict.reason == "UnsafePath":
            raise _unsafe() from verdict
        raise Conflict(joined(filter(None, (str(verdict), verdict.remedy)))) from verdict
    except (OSError, Retry) as error:
        if disk_guard.is_full(error):
            raise disk_guard.full() from error
        raise Unavailable(_m("The files of %(name)s cannot be reached just now: %(error)s", name=name, error=error)) from error


def _unsafe() -> Invalid:
    return Invalid.field(
        "path", _m("leads over a link, or over a file where a folder should be; links are not followed"), "unsafe"
    )


# ---- what still fits


def limit(portal: Portal) -> int:
    """Bytes that one upload may have."""
    return portal.settings.upload_mib << 20


def fits(portal: Portal, size: int | None) -> int:
    """The size; a problem where it is not said, or too much for one upload."""
    if size is None:
        raise LengthNeeded(_m("Send the size of the file as Content-Length."))
    if size > limit(portal):
        raise TooLarge(_m("Files of at most %(upload_mib)s MiB can be uploaded here.", upload_mib=portal.settings.upload_mib))
    return size


@contextmanager
def counted_in(portal: Portal, reach: Reach, size: int) -> Iterator[None]:
    """Within the storage limit of the claw, before the first byte is taken."""
    most, instance_id = reach.limit, reach.instance_id
    if most is None:
        yield
        return
    found = storage.use(portal, instance_id, most)
    used = portal.taken.take(instance_id, found.used if found else 0, size, most)
    if used is not None:
        held, limit, more = (storage.readable(number) for number in (used, most, size))
        raise disk_guard.NoRoom(
            _m(
                "Its files take %(held)s of %(limit)s, and this is %(more)s more. Delete some of them, or "
                "raise its storage limit.",
                held=held,
                limit=limit,
                more=more,
            )
        )
    try:
        yield
    except BaseException:
        portal.taken.give_back(instance_id, size)
        raise


def tell(portal: Portal, actor: Actor, instance_id: str, verb: str, place: Spot, *, message: str, **data: Any) -> None:
    """An event, which stands in the audit as well."""
    instance = db.session.get_one(Instance, instance_id)
    data = {"path": place.path, **data}
    event_log.record(portal, f"instance.file_{verb}", actor=actor, instance=instance, message=message, data=data)
