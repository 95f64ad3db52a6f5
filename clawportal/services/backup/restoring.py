"""Puts a backup on an empty machine.

Everything in it is checked first. Then a note in the data folder says that a restore is under way, and goes as the last thing:
after a kill no portal starts there, and the next restore clears the folder and begins anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawportal import paths
from clawportal.bounded import size_in_words
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import transaction
from clawportal.engine.portal import Portal
from clawportal.messages import _m
from clawportal.paths import CONFIG_FILE
from clawportal.services.audit import chain, trail
from clawportal.services.backup import claw_files, making, postgres_copy, recovery, sqlite_copy
from clawportal.services.backup.archive import BackupError, Reader, Stream, Summary, Tell
from clawportal.services.system import portal_settings
from clawportal.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

MARKER = paths.UNFINISHED_RESTORE
RESTORING = "restoring"
"""Setting in the database: which restore it comes from, until that one is done."""
FROM_BACKUP = "clawportal.toml.from-backup"
_KEPT = (MARKER, f"{MARKER}.new", "portal.lock", "lost+found", CONFIG_FILE)
_DATABASE = re.compile(r"^[ \t]*database_url[ \t]*=[^\n]*$", re.MULTILINE)


@dataclass
class Restore:
    """One restore under way."""

    reader: Reader
    settings: Settings
    """Of the portal that is made: what this machine says, then what the backup says."""
    own_file: bool
    """Whether this machine has its own clawportal.toml, which stays."""
    number: str = field(default_factory=lambda: secrets.token_hex(8))
    gaps: list[str] = field(default_factory=list)
    """What could not be put back."""
    notes: list[str] = field(default_factory=list)
    """What an operator should know."""

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir


# ---- what is looked at before anything is written


def prepare(reader: Reader, here: Settings, summary: Summary, known: Mapping[str, set[str]]) -> Restore:
    """`here`: the settings of this machine, before. `known`: revisions that this portal can go on from, by table of versions."""
    streams = reader.streams()
    text = b"".join(next(streams).pieces).decode("utf-8-sig")
    theirs = tomllib.loads(text).get("database_url", "") if text else ""
    given = "database_url" in here.model_fields_set
    settings = here if given else here.model_copy(update={"database_url": Settings(database_url=theirs).database_url})
    found = Restore(reader, settings, (here.data_dir / CONFIG_FILE).exists())
    _right_kind(found)
    _known_versions(reader, known)
    _enough(found, summary)
    return found


def _right_kind(restore: Restore) -> None:
    made, wanted = restore.reader.header.database, restore.settings.database_address.get_backend_name()
    if made == "postgresql" != wanted:
        raise BackupError(
            "This is the backup of a portal on PostgreSQL: set CLAWPORTAL_DATABASE_URL to an empty database of PostgreSQL."
        )
    if made != wanted:
        raise BackupError(
            "This is the backup of a portal on SQLite: restore it into the data folder, without CLAWPORTAL_DATABASE_URL."
        )


def _known_versions(reader: Reader, known: Mapping[str, set[str]]) -> None:
    """Those of a plugin that is not loaded here are kept as they are."""
    for table, revisions in reader.header.heads.items():
        strange = [revision for revision in revisions if revision not in known.get(table, revisions)]
        if strange:
            raise BackupError(
                f"This backup was made by clawportal {reader.header.portal}, whose tables are at {', '.join(strange)}; "
                "this portal does not know that version. Use the clawportal that made it, or a newer one."
            )


def _enough(restore: Restore, summary: Summary) -> None:
    folder = restore.data_dir
    while not folder.exists():
        folder = folder.parent
    disk = os.statvfs(folder)
    free, needed = disk.f_bavail * disk.f_frsize, summary.held + (restore.settings.reserve_mib << 20)
    if free < needed:
        raise BackupError(
            f"The backup holds {size_in_words(summary.held)}, and {size_in_words(restore.settings.reserve_mib << 20)} are to be "
            f"kept free; the disk of {folder} has {size_in_words(free)}. Make room, or choose another folder with --data-dir."
        )


# ---- alone, and from the beginning


@contextmanager
def under_way(restore: Restore) -> Iterator[None]:
    """Around all that writes. Refuses a folder or a database that is in use; what an interrupted restore left is cleared."""
    folder = restore.data_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder / "portal.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupError(f"A portal uses {folder}. Stop it, or choose another folder with --data-dir.") from None
        before = _marked(folder)
        _refuse_what_is_used(restore, before)
        restore.own_file = restore.own_file and not (before and before.get("took_settings"))
        if before is not None:
            _clear(restore)
        _mark(restore)
        yield
        os.sync()  # all of it before the note goes
        (folder / MARKER).unlink()
        making.durable(folder)
    finally:
        os.close(handle)


def _marked(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / MARKER).read_bytes() or b"{}")
        return found
    except FileNotFoundError:
        return None
    except ValueError:  # killed while it was written: nothing else was, then
        return {}


def _refuse_what_is_used(restore: Restore, before: dict[str, Any] | None) -> None:
    folder = restore.data_dir
    found = sorted(path.name for path in folder.iterdir() if path.name not in _KEPT)
    if found and before is None:
        raise BackupError(
            f"{folder} is in use: it holds {', '.join(found[:5])}. Restore into an empty folder; choose one with --data-dir."
        )
    address = restore.settings.database_address
    if address.get_backend_name() == "postgresql":
        with postgres_copy.connected(address) as connection:
            count = len(postgres_copy.objects(connection))
            if count and not _ours(connection, before):
                raise BackupError(f"The database is in use: {count} tables and functions are in it. Restore into an empty one.")
    elif Path(str(address.database)).exists() and before is None:
        raise BackupError(f"{address.database} is in use. Move it away, or restore into another place.")


def _ours(connection: Connection[Any], before: dict[str, Any] | None) -> bool:
    """Whether it comes from the restore that was interrupted, and nobody used it since."""
    if not before or "portal_setting" not in postgres_copy.tables(connection):
        return False
    row = connection.execute("SELECT value FROM portal_setting WHERE name = %s", [RESTORING]).fetchone()
    return row is not None and row[0] == before.get("number")


def _mark(restore: Restore) -> None:
    """Over the former note, whose number the database had, once that is empty: there is no moment without a note."""
    about = {"number": restore.number, "backup": restore.reader.header.id, "took_settings": not restore.own_file}
    scratch = restore.data_dir / f"{MARKER}.new"
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(about, file)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(restore.data_dir / MARKER)
    making.durable(restore.data_dir)


def _clear(restore: Restore) -> None:
    for path in restore.data_dir.iterdir():
        if path.name in _KEPT and not (path.name == CONFIG_FILE and not restore.own_file):
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    address = restore.settings.database_address
    if address.get_backend_name() == "postgresql":
        with postgres_copy.connected(address) as connection:
            postgres_copy.clear(connection)
    else:
        sqlite_copy.remove(Path(str(address.database)))


# ---- what is put where


def place(restore: Restore, tell: Tell) -> None:
    """Keys, settings and database. Nothing of it is used before `under_way` ends."""
    held = 0

    def told(stream: Stream) -> None:
        nonlocal held
        stream.pieces = _counted(stream.pieces, lambda size: tell(stream.name, held + size))

    with ExitStack() as stack:
        connection: Connection[Any] | None = None
        if restore.settings.database_address.get_backend_name() == "postgresql":
            connection = stack.enter_context(postgres_copy.connected(restore.settings.database_address))
            postgres_copy.begin(connection)
        for stream in restore.reader.streams():
            told(stream)
            if stream.name in _FILES:
                _FILES[stream.name](restore, stream)
            elif stream.name == sqlite_copy.STREAM:
                _place_sqlite(restore, stream)
            elif connection is not None and stream.name.startswith("postgres/"):
                postgres_copy.take(connection, stream)
        if connection is not None:
            _note_in(restore, connection)


def _counted(pieces: Iterator[bytes], tell: Any) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        tell(size)
        yield piece


def _note_in(restore: Restore, connection: Connection[Any]) -> None:
    """With the rows, so that the next restore knows them for those of this one."""
    connection.execute(
        "INSERT INTO portal_setting (name, value, updated_at) VALUES (%s, %s, now() AT TIME ZONE 'UTC')",
        [RESTORING, json.dumps(restore.number)],
    )


def _place_sqlite(restore: Restore, stream: Stream) -> None:
    sqlite_copy.restore(Path(str(restore.settings.database_address.database)), stream.pieces)


def _place_keys(restore: Restore, stream: Stream) -> None:
    _write(restore.data_dir / paths.KEYRING_FILE, b"".join(stream.pieces))


def _place_public(restore: Restore, stream: Stream) -> None:
    _write(restore.data_dir / recovery.PUBLIC_FILE, b"".join(stream.pieces))


def _place_settings(restore: Restore, stream: Stream) -> None:
    if not stream.about.get("there"):
        return
    content = b"".join(stream.pieces)
    if restore.own_file:
        _write(restore.data_dir / FROM_BACKUP, content)
    else:
        _write(restore.data_dir / CONFIG_FILE, _for_here(restore, content))


def _for_here(restore: Restore, content: bytes) -> bytes:
    """A portal that is restored beside the first one must not begin to work on the first one's database."""
    text = content.decode("utf-8-sig")
    theirs = tomllib.loads(text).get("database_url", "")
    if not theirs or Settings(database_url=theirs).database_url == restore.settings.database_url:
        return content
    changed = _DATABASE.sub("# database_url was taken out when this was restored into another database", text, count=1)
    if "database_url" in tomllib.loads(changed):
        raise BackupError(f"database_url in the {CONFIG_FILE} of this backup cannot be taken out; restore into {theirs}.")
    restore.notes.append(
        f"{CONFIG_FILE} named another database; that line was taken out. Where the database is set in the environment, go on "
        "setting it there."
    )
    return changed.encode()


_FILES = {making.KEYS: _place_keys, making.PUBLIC: _place_public, making.SETTINGS: _place_settings}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


# ---- with the portal, whose tables are those of this version by now


def complete(portal: Portal, restore: Restore, tell: Tell) -> chain.Verdict:
    """Files of the store and of claws, and an entry in the audit. Answers what a walk along the audit found before that."""
    verdict = chain.verify()
    for stream in restore.reader.streams():
        tell(stream.name, 0)
        if stream.name == making.STORED:
            store = portal.registry.stores.get(stream.about["store"])
            if store is None:
                restore.gaps.append(f"{stream.about['key']}: no loaded plugin brings the store {stream.about['store']}")
            else:
                store.put(stream.about["key"], stream.pieces)
        elif stream.name == claw_files.STREAM:
            claw_files.put_back(portal, stream, restore.gaps)
        elif stream.name == making.END:
            restore.gaps += [f"{gap} (when the backup was made)" for gap in json.loads(b"".join(stream.pieces))]
    _noted(restore)
    return verdict


def _noted(restore: Restore) -> None:
    """The key that signs from now on is not in the backup."""
    chain.turn(at_once=True)
    header = restore.reader.header
    summary = _m("Restored the portal from the backup of %(at)s.", at=header.made_at)
    with transaction():
        portal_settings.forget(RESTORING)
        trail.note(
            trail.Pending(
                "backup.restore", SYSTEM, "backup", object_id=header.id, object_name=restore.reader.path.name, summary=summary
            )
        )
