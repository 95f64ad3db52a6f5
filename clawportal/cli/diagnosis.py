"""What `clawportal doctor` looks at: folders, keys, tables, plugins, ports, disk, and what plugins check themselves."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from clawportal import client_addresses, declarations, paths
from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.features import Feature
from clawportal.declarations import resolve
from clawportal.settings import Settings

if TYPE_CHECKING:
    from clawportal.pluginmanager import Registry

LOW_DISK = 2 * 1024**3


def examine(settings: Settings) -> list[DoctorResult]:
    """All findings; a check that fails by itself is a finding too."""
    from clawportal import pluginmanager

    try:
        registry = pluginmanager.load(settings.plugin_names, str(settings.data_dir), settings.plugin_folders)
        told = _plugins(registry, settings)
    except pluginmanager.PluginError as error:
        registry = pluginmanager.load((), str(settings.data_dir), core_only=True)
        told = [DoctorResult("plugins", False, str(error))]
    checks = ((feature, target) for feature in registry.features for target in feature.doctor)
    return [*(finding for feature, target in checks for finding in _found(feature, target, settings)), *told]


def _found(feature: Feature, target: str, settings: Settings) -> list[DoctorResult]:
    try:
        return list(resolve(target)(settings))
    except Exception as error:
        return [DoctorResult(feature.name, False, f"the check itself failed: {error}")]


def folder(settings: Settings) -> Iterator[DoctorResult]:
    folder = settings.data_dir
    if not folder.exists():
        yield DoctorResult("data folder", True, f"{folder} will be made at the first start")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    yield DoctorResult("data folder", os.access(folder, os.W_OK), str(folder), "Make it writable for the portal's user.")
    yield DoctorResult("data folder mode", not mode & 0o066, f"{mode:o}", f"Others can look inside; run: chmod 700 {folder}")


def disk(settings: Settings) -> Iterator[DoctorResult]:
    folder = settings.data_dir if settings.data_dir.exists() else settings.data_dir.parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield DoctorResult(
        "free disk", free > LOW_DISK, f"{free / 1024**3:.1f} GiB", "Free at least 2 GiB: a claw takes up to 1 GiB."
    )


def keys(settings: Settings) -> Iterator[DoctorResult]:
    from clawportal import keyring
    from clawportal.db import in_use

    file = settings.data_dir / paths.KEYRING_FILE
    if not file.exists():
        lost = in_use(settings.database_address)
        message = str(keyring.missing(file)) if lost else "will be made at the first start"
        yield DoctorResult("key ring", not lost, message)
        return
    try:
        ring = keyring.load(file)
        yield DoctorResult("key ring", True, f"key {ring.current} is in use")
    except keyring.KeyringError as error:
        yield DoctorResult("key ring", False, str(error))


def tables(settings: Settings) -> Iterator[DoctorResult]:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    from clawportal import histories
    from clawportal.cli import database
    from clawportal.services.system import legacy_tables, migrations

    if not settings.database_url and not settings.database_file.exists():
        yield DoctorResult("database", True, "will be made at the first start")
        return
    try:
        engine = create_engine(settings.database_address)
        with engine.connect() as connection:
            found, old = migrations.versions_in(connection), legacy_tables.present(connection)
        engine.dispose()
    except SQLAlchemyError as error:
        yield DoctorResult("database", False, str(error).splitlines()[0], "Start the server, or correct CLAWPORTAL_DATABASE_URL.")
        return
    known = histories.of(database.features_of(settings))
    states = migrations.states(known, found)
    told = ", ".join(f"{state.name} at {state.at or 'nothing'}" for state in states)
    fresh = not old and all(state.fresh for state in states)
    yield DoctorResult("database", fresh, f"tables of {told}", "Run: clawportal db upgrade")
    kept = migrations.absent(known, found)
    if kept:
        yield DoctorResult("tables of absent plugins", True, f"{', '.join(kept)}: kept as they are until the plugin is back")


def audit(settings: Settings) -> Iterator[DoctorResult]:
    """Only what the rows say by themselves; walking the whole chain is `clawportal audit verify`."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    if not settings.database_url and not (settings.data_dir / "clawportal.db").exists():
        return
    engine = create_engine(settings.database_address)
    try:
        with engine.connect() as connection:
            broken = connection.execute(text("SELECT broken_at FROM audit_head")).scalar()
            twins = (
                connection.execute(text("SELECT name FROM user_account WHERE folded LIKE '%#%' ORDER BY name")).scalars().all()
            )
            clock = connection.execute(text("SELECT value FROM portal_setting WHERE name = 'retention_clock'")).scalar()
    except SQLAlchemyError:
        return  # told by the look at the tables
    finally:
        engine.dispose()
    whole = "its head is the one that this portal signed" if broken is None else f"broken at entry {broken}"
    remedy = "Run: clawportal audit verify; look into it; then: clawportal audit acknowledge --why ..."
    yield DoctorResult("audit", broken is None, whole, remedy)
    if twins:
        told = f"these read the same as another account: {', '.join(twins[:20])}"
        yield DoctorResult("names", False, told, "Close the one of each pair that nobody uses; both work until then.")
    found = json.loads(clock) if isinstance(clock, str) else clock or {}
    hours = found.get("ahead", 0.0) / 3600
    went = f"{hours:.0f} hours further than this portal saw pass; nothing is deleted" if hours else "as this portal saw time pass"
    yield DoctorResult("clock", not hours, went, "Correct the clock; or, if it is right, run: clawportal audit confirm-clock")


def backups(settings: Settings) -> Iterator[DoctorResult]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    from clawportal.services.backup import making

    if not settings.database_url and not (settings.data_dir / "clawportal.db").exists():
        return
    engine = create_engine(settings.database_address)
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT value FROM portal_setting WHERE name = :name"), {"name": making.LAST_BACKUP})
            value = found.scalar()
    except SQLAlchemyError:
        return  # told by the look at the tables
    finally:
        engine.dispose()
    yield DoctorResult("backup", *making.judged(json.loads(value) if isinstance(value, str) else value))


def address(settings: Settings) -> Iterator[DoctorResult]:
    shown = f"{client_addresses.bracketed(settings.host)}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
            yield DoctorResult("address", True, f"{shown} is free")
        except OSError:
            yield DoctorResult("address", True, f"{shown} is in use, by this portal if it runs")


def proxies(settings: Settings) -> Iterator[DoctorResult]:
    from clawportal.services.system import proxy_notice

    seen = proxy_notice.seen(settings.data_dir)
    if settings.trusted_proxies or not seen:
        yield DoctorResult("proxies in front", True, f"{settings.trusted_proxies} are believed")
        return
    yield DoctorResult(
        "proxies in front", False, f"one at {seen} is not believed: everybody seems to come from there",
        "Set CLAWPORTAL_TRUSTED_PROXIES to the number of proxies in front, then start the portal again.",
    )  # fmt: skip


def _plugins(registry: Registry, settings: Settings) -> list[DoctorResult]:
    from clawportal import sections

    loaded = DoctorResult("plugins", True, ", ".join(plugin.name for plugin in registry.plugins))
    unread = sections.unknown(settings, [feature.name for feature in registry.features if feature.settings])
    remedy = "Correct the name, or load the plugin that it belongs to."
    unknown = [
        DoctorResult("settings", False, f"nothing reads the section [{name}] of clawportal.toml", remedy) for name in unread
    ]
    asked = registry.items("doctor_checks", data_dir=str(settings.data_dir))
    return [loaded, *unknown, *asked, *registry.findings(), *_missing(registry)]


def _missing(registry: Registry) -> Iterator[DoctorResult]:
    """What third-party features name and is not there; that of the portal is tested."""
    from clawportal.pluginmanager import REMEDY

    for feature in registry.features:
        owner = registry.owners[feature.name]
        for field, target in () if registry.bundled(owner) else declarations.targets(feature):
            try:
                resolve(target)
            except Exception as error:
                yield DoctorResult(f"plugin {owner}", False, f"{field} of the feature {feature.name!r}: {error}", REMEDY)


def clusters(settings: Settings) -> Iterator[DoctorResult]:
    """What stands between the claws of each cluster, as the running portal measured it last."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.orm import Session

    if not settings.database_url and not (settings.data_dir / "clawportal.db").exists():
        return
    engine = create_engine(settings.database_address)
    try:
        with Session(engine) as session:
            yield from _separations(session)
    except SQLAlchemyError:
        return  # "database" says why
    finally:
        engine.dispose()


def _separations(session: Any) -> Iterator[DoctorResult]:
    from sqlalchemy import select

    from clawportal.models import Cluster
    from clawportal.services.clusters import separation

    for row in session.scalars(select(Cluster).order_by(Cluster.name)):
        yield separation.finding(row, session)
