"""Makes a backup while the portal runs: one moment of the database, the keys, the settings, and what lies on its disk.

It is written beside its final name and moved there when it is whole; a kill leaves a part that the next backup removes.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawportal import __version__, clock, paths
from clawportal.bounded import size_in_words
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.stores import KeepsInDataFolder
from clawportal.db import transaction
from clawportal.engine.portal import Portal
from clawportal.errors import NotFound
from clawportal.messages import _m
from clawportal.paths import CONFIG_FILE
from clawportal.services.audit import chain, trail
from clawportal.services.backup import archive, claw_files, postgres_copy, recovery, sqlite_copy
from clawportal.services.backup.archive import BackupError, Tell
from clawportal.services.system import disk_guard, portal_settings

if TYPE_CHECKING:
    from psycopg import Connection

LAST_BACKUP = "last_backup"
"""Setting: what is known of the newest backup."""
WORK = "backup-work"
KEYS, SETTINGS, PUBLIC, STORED, END = "keys", "settings", "recovery", "stored", "end"
VERSIONS = "alembic_version"
"""Part of the name of each table of versions."""
OLD = timedelta(days=7)
"""After so long without a backup, `doctor` calls it a fault."""


@dataclass(frozen=True)
class Made:
    """A backup that is in its place."""

    path: Path
    id: str
    size: int
    """Of the file, in bytes."""
    held: int
    seconds: float
    gaps: tuple[str, ...]
    """What is not in it, although it was asked for."""


@dataclass(frozen=True)
class _Snapshot:
    """One moment of the database."""

    kind: str
    heads: dict[str, list[str]]
    size: int
    """In bytes, about."""
    connection: Connection[Any] | None = None
    """To PostgreSQL, in the transaction that sees this moment."""
    copy: Path | None = None
    """A whole database of SQLite."""


@dataclass
class _Job:
    portal: Portal
    target: Path
    with_claws: bool
    tell: Tell
    gaps: list[str] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.portal.settings.data_dir


def create(portal: Portal, target: Path, *, claw_files: bool = False, tell: Tell = lambda *_: None) -> Made:
    """BackupError says why there is none; nothing is left of it then. A former backup of the same name is replaced."""
    begun = time.monotonic()
    public = recovery.read(portal.settings.data_dir)
    if public is None:
        raise BackupError("There is no recovery key yet: run `clawportal backup recovery-key`, and keep what it prints.")
    job = _Job(portal, _target(target), claw_files, tell)
    with _alone(job.data_dir) as work, ExitStack() as stack:
        # what is signed from now on is signed with a key that is in the backup; so the next one begins right after it
        chain.turn(at_once=True)
        ring = (job.data_dir / paths.KEYRING_FILE).read_bytes()
        snapshot = _snapshot(job, work, stack)
        if ring != (job.data_dir / paths.KEYRING_FILE).read_bytes():
            raise BackupError("The keys were changed at the same time. Make the backup again.")
        header, data_key = _header(job, snapshot, public)
        size, held = _written(job, snapshot, header, data_key, ring, work)
    _noted(job, header, size)
    return Made(job.target, header.id, size, held, time.monotonic() - begun, tuple(job.gaps))


def _target(target: Path) -> Path:
    target = target.expanduser().absolute()
    if target.is_dir():
        target = target / f"clawportal-{clock.now():%Y%m%dT%H%M%SZ}.backup"
    if not target.parent.is_dir():
        raise BackupError(f"The folder {target.parent} does not exist.")
    if target.exists():
        try:
            archive.Reader(target)
        except BackupError:
            raise BackupError(f"{target} exists and is no backup; it is left as it is. Choose another name.") from None
    return target


@contextmanager
def _alone(data_dir: Path) -> Iterator[Path]:
    """One backup at a time; a folder for it that is empty, and gone afterwards."""
    work = data_dir / WORK
    work.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(work / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupError("Another backup of this portal is being made.") from None
        _sweep(work)
        try:
            yield work
        finally:
            _sweep(work)
    finally:
        os.close(handle)


def _sweep(work: Path) -> None:
    """What a backup left that was killed, also beside the file that it meant to make."""
    note = work / "part"
    if note.exists():
        part = Path(os.fsdecode(note.read_bytes()))
        if part.name.endswith(".part"):
            part.unlink(missing_ok=True)
    for path in work.iterdir():
        if path.name != "lock":
            path.unlink()


def _snapshot(job: _Job, work: Path, stack: ExitStack) -> _Snapshot:
    """From here on the database is what it was at this moment."""
    address = job.portal.settings.database_address
    if address.get_backend_name() == "postgresql":
        connection = stack.enter_context(postgres_copy.snapshot(address))
        names = postgres_copy.tables(connection)
        heads = postgres_copy.versions(connection, [name for name in names if VERSIONS in name])
        return _Snapshot("postgresql", heads, postgres_copy.size(connection), connection=connection)
    source, copy = Path(str(address.database)).absolute(), work / "database"
    _enough(job, work, sqlite_copy.room_for(source), "A copy of the database")
    with _full_disk_told(work):
        sqlite_copy.snapshot(source, copy, lambda size: job.tell("database", size))
    heads = sqlite_copy.versions(copy, [name for name in sqlite_copy.tables(copy) if VERSIONS in name])
    return _Snapshot("sqlite", heads, copy.stat().st_size, copy=copy)


def _header(job: _Job, snapshot: _Snapshot, public: bytes) -> tuple[archive.Header, bytes]:
    """With the key of its contents, which only the recovery key gives back."""
    data_key, number = secrets.token_bytes(32), secrets.token_hex(16)
    sealed = recovery.seal(data_key, public, number)
    header = archive.Header(
        number, clock.now().isoformat(timespec="seconds"), __version__, snapshot.kind, snapshot.heads, job.with_claws,
        recovery.fingerprint(public), sealed.hex(),
    )  # fmt: skip
    return header, data_key


# ---- room


def _enough(job: _Job, folder: Path, needed: int, what: str) -> None:
    left = _left(job, folder)
    if left < needed:
        raise BackupError(
            f"{what} takes {size_in_words(needed)}, and the disk of {folder} has {size_in_words(max(0, left))} to give. "
            "Make room, or choose another folder."
        )


def _left(job: _Job, folder: Path) -> int:
    """What may be taken there, in bytes; the portal's own disk keeps its reserve."""
    if folder.stat().st_dev == job.data_dir.stat().st_dev:
        return job.portal.room.look(fresh=True).left
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _full(folder: Path) -> BackupError:
    return BackupError(f"The disk of {folder} is full, so there is no backup. Make room, or choose another folder.")


@contextmanager
def _full_disk_told(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if disk_guard.is_full(error):
            raise _full(folder) from error
        raise


# ---- writing


def _written(job: _Job, snapshot: _Snapshot, header: archive.Header, data_key: bytes, ring: bytes, work: Path) -> tuple[int, int]:
    """Bytes of the file, and bytes that it holds."""
    folders = claw_files.folders(job.portal, job.gaps) if job.with_claws else []
    # about what compression leaves; while it is written, room is looked at again and again
    _enough(job, job.target.parent, (snapshot.size + claw_files.known_size(folders)) // 3 + archive.PIECE, "A backup")
    part = job.target.with_name(f".{job.target.name}.part")
    (work / "part").write_bytes(os.fsencode(part))
    part.unlink(missing_ok=True)
    try:
        with _full_disk_told(part.parent), open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            writer = archive.Writer(file, header, data_key, job.tell, lambda size: _room(job, part.parent, size))
            _fill(writer, job, snapshot, ring, folders)
            writer.finish()
        part.replace(job.target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    durable(part.parent)
    return writer.size, writer.held


def _room(job: _Job, folder: Path, size: int) -> None:
    if _left(job, folder) < size:
        raise _full(folder)


def _fill(writer: archive.Writer, job: _Job, snapshot: _Snapshot, ring: bytes, folders: Sequence[claw_files.Folder]) -> None:
    config = job.data_dir / CONFIG_FILE
    writer.add(SETTINGS, [config.read_bytes()] if config.exists() else [], there=config.exists())
    writer.add(KEYS, [ring])
    writer.add(PUBLIC, [(job.data_dir / recovery.PUBLIC_FILE).read_bytes()])
    if snapshot.connection is not None:
        _fill_postgres(writer, snapshot.connection)
    if snapshot.copy is not None:
        writer.add(sqlite_copy.STREAM, sqlite_copy.read(snapshot.copy))
    for kind, store in job.portal.registry.stores.items():
        for key in store.keys() if isinstance(store, KeepsInDataFolder) else ():
            try:
                writer.add(STORED, store.open(key), store=kind, key=key)
            except NotFound:  # it was deleted meanwhile
                continue
    for folder in folders:
        writer.add(claw_files.STREAM, claw_files.pieces(folder, job.gaps), **folder.about)
    writer.add(END, [json.dumps(job.gaps).encode()])


def _fill_postgres(writer: archive.Writer, connection: Connection[Any]) -> None:
    before, after = postgres_copy.statements(connection)
    writer.add(postgres_copy.BEFORE, [before])
    for table in postgres_copy.tables(connection):
        columns = postgres_copy.columns(connection, table)
        writer.add(postgres_copy.TABLE, postgres_copy.rows(connection, table, columns), table=table, columns=columns)
    writer.add(postgres_copy.AFTER, [after])


def durable(folder: Path) -> None:
    """See that what was renamed in a folder survives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- afterwards


def _noted(job: _Job, header: archive.Header, size: int) -> None:
    """In the audit, and for `doctor`. The keys that the backup holds sign nothing of this."""
    chain.turn(at_once=True)
    summary = _m("Made a backup of the portal, %(size)s.", size=size_in_words(size))
    if job.gaps:
        summary = _m("Made a backup of the portal; %(n)s parts could not be read.", n=len(job.gaps))
    about = {"at": header.made_at, "id": header.id, "file": str(job.target), "bytes": size, "gaps": len(job.gaps)}
    with transaction():
        portal_settings.write(LAST_BACKUP, about)
        trail.note(
            trail.Pending("backup.create", SYSTEM, "backup", object_id=header.id, object_name=job.target.name, summary=summary)
        )


def judged(last: dict[str, Any] | None) -> tuple[bool, str, str]:
    """What `doctor` says of the newest backup: whether it is well, in words, and what to do."""
    remedy = _m("Run: clawportal backup FILE, best once a day; see docs/backup.md.")
    if not last:
        return True, _m("None was made yet: run `clawportal backup recovery-key`, then `clawportal backup FILE`."), remedy
    age = clock.now() - datetime.fromisoformat(last["at"])
    about = {"at": last["at"], "file": last["file"], "size": size_in_words(last["bytes"])}
    if last["gaps"]:
        words = _m("The newest is of %(at)s, in %(file)s, %(size)s; %(n)s parts could not be read.", n=last["gaps"], **about)
    else:
        words = _m("The newest is of %(at)s, in %(file)s, %(size)s.", **about)
    return age < OLD and not last["gaps"], words, remedy
