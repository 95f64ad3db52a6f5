"""Puts the portal together: `create_app` is a short list of named steps."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flask import Flask, current_app

from clawportal import declarations, keyring, log, paths, pluginmanager, sections
from clawportal.db import configure_engine, db, in_use
from clawportal.disk_reserve import DiskRoom
from clawportal.engine import current_settings
from clawportal.engine.connections import Connections
from clawportal.engine.portal import Portal
from clawportal.http import assets, audited, headers, hosts, i18n, problems, security, site, uploads
from clawportal.http.front import Front
from clawportal.jobs.runner import Runner
from clawportal.services.audit import chain
from clawportal.services.system import proxy_notice
from clawportal.settings import Settings, installer_environment

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from clawportal.api import Api
    from clawportal.contracts.features import Feature
    from clawportal.pluginmanager import Registry
    from clawportal.web.pages import Page


class UnfinishedRestore(Exception):
    """The data folder is only half there; the message says what to do."""


MAX_BODY = 4 * 1024 * 1024
KEYRING_FILE = paths.KEYRING_FILE


def create_app(settings: Settings | None = None, *, restoring: bool = False) -> Flask:
    """The portal as a WSGI application. Its tables must exist: `clawportal db upgrade` makes them, and `serve` sees to it.

    `restoring`: by the restore that is under way in its data folder, where nobody else may begin.
    """
    settings = settings or Settings()
    if not restoring and (unfinished := paths.unfinished_restore(settings.data_dir)):
        raise UnfinishedRestore(unfinished)
    log.configure(settings.log_level, settings.log_format)
    _private_folder(settings.data_dir)
    DiskRoom(settings.data_dir, settings.reserve_mib << 20).make_way()  # what was killed on a full disk starts all the same
    app = Flask(
        "clawportal",
        template_folder=str(paths.resource("templates")),
        static_folder=str(paths.resource("static")),
        root_path=str(Path(__file__).parent),
    )
    portal = _portal(settings)
    app.extensions["clawportal"] = portal
    operations, pages = _collected(portal.registry)  # before anything is made of what has to be left out
    _configure(app, portal)
    _database(app)
    _http(app, portal)
    _ways_in(app, operations, pages)
    _follow_changes(app, portal)
    hosts.init_app(app)
    _behind_proxies(app, settings)
    return app


def _private_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid == os.getuid():
        opened = folder.stat().st_mode & 0o777 == 0o711  # by a runtime whose claws have users of their own and have to pass
        folder.chmod(0o711 if opened else 0o700)


def _secret_files(settings: Settings) -> list[Path]:
    """What no claw may read, whatever folder it lies in."""
    database = settings.database_address
    files = [settings.data_dir / KEYRING_FILE, settings.data_dir / "clawportal.toml"]
    return [*files, Path(database.database)] if database.database and database.drivername.startswith("sqlite") else files


def _portal(settings: Settings) -> Portal:
    registry = pluginmanager.load(settings.plugin_names, str(settings.data_dir), settings.plugin_folders)
    ring = _ring(settings)
    _sections(settings, registry)
    connections = Connections(registry, settings.data_dir, installer_environment(settings), _secret_files(settings))
    return Portal(settings, registry, ring, connections)


def _sections(settings: Settings, registry: Registry) -> None:
    having = [feature for feature in registry.features if feature.settings]
    for name in sections.unknown(settings, [feature.name for feature in having]):
        logging.getLogger(__name__).warning("nothing reads the section [%s] of clawportal.toml", name)
    for feature in having:
        try:
            model = declarations.resolve(feature.settings)
        except declarations.Broken as error:
            registry.leave_out(registry.owners[feature.name], f"The settings of the feature {feature.name!r}: {error}.")
        else:
            registry.sections[model] = sections.read(settings, feature.name, model)


def _ring(settings: Settings) -> keyring.Keyring:
    """Made on the very first start only: beside a database that is in use, missing keys are a loss to be told."""
    file = settings.data_dir / KEYRING_FILE
    if not file.exists() and in_use(settings.database_address):
        raise keyring.missing(file)
    return keyring.load(file)


def _configure(app: Flask, portal: Portal) -> None:
    settings = portal.settings
    app.config.update(
        SECRET_KEY=portal.keyring.session_key,
        SQLALCHEMY_DATABASE_URI=settings.database_address,
        SQLALCHEMY_ENGINE_OPTIONS=_engine_options(settings.database),
        MAX_CONTENT_LENGTH=MAX_BODY,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=settings.session_hours),
        SESSION_COOKIE_NAME="clawportal",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.secure_cookies,
        REMEMBER_COOKIE_HTTPONLY=True,
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,
        RATELIMIT_STORAGE_URI=settings.rate_limit_storage,
        CLAWPORTAL_RATE_LIMIT=settings.rate_limit.replace(",", ";"),
        TEMPLATES_AUTO_RELOAD=False,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it


def _engine_options(url: str) -> dict[str, object]:
    common = {"hide_parameters": True}  # an error of the database must not carry what people wrote into the log
    if url.startswith("sqlite"):
        # a connection per thread in use is cheap on SQLite; a pool that runs dry would look like a hang
        return {**common, "pool_size": 20, "max_overflow": 200, "connect_args": {"check_same_thread": False, "timeout": 15}}
    return {**common, "pool_size": 10, "max_overflow": 30, "pool_pre_ping": True}


def _database(app: Flask) -> None:
    db.init_app(app)
    with app.app_context():
        configure_engine(db.engine)
        chain.use(db.engine, cast(Portal, app.extensions["clawportal"]).keyring)


def _follow_changes(app: Flask, portal: Portal) -> None:
    """Cookies are signed with what the key ring has now, and last as long as the settings say now, without a restart."""
    inner = app.wsgi_app

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        app.secret_key = portal.keyring.session_key
        app.permanent_session_lifetime = timedelta(hours=portal.settings.session_hours)
        return inner(environ, start_response)

    app.wsgi_app = answer  # type: ignore[method-assign]  # Flask's documented way


def _behind_proxies(app: Flask, settings: Settings) -> None:
    """Last, so that it is outermost."""
    noticed = proxy_notice.Noticed(settings.data_dir, settings.trusted_proxies)
    front = Front(app.wsgi_app, settings.trusted_proxies, settings.public_url, noticed.note)
    app.wsgi_app = front  # type: ignore[method-assign]  # Flask's documented way


def _http(app: Flask, portal: Portal) -> None:
    uploads.init_app(app)
    headers.init_app(app)
    site.init_app(app)
    audited.init_app(app)
    security.init_app(app)
    problems.init_app(app)
    i18n.init_app(app, portal.registry)
    features = cast(Portal, app.extensions["clawportal"]).registry.features
    assets.init_app(app, paths.resource("static"), {one.name: folder for one in features if (folder := declarations.folder(one))})


def _ways_in(app: Flask, operations: Api, pages: Iterable[Page]) -> None:
    from clawportal import api, realtime, web

    app.register_blueprint(api.blueprint(operations))
    app.register_blueprint(web.blueprint(pages))
    realtime.init_app(app)
    _every_view_declares_its_permission(app)


def _collected(registry: Registry) -> tuple[Api, list[Page]]:
    """Again when a plugin had to be left out: of it, nothing stays."""
    from clawportal import api, realtime, web

    features: tuple[Feature, ...] = ()
    while registry.features != features:
        features = registry.features
        operations, pages = api.collected(registry), web.collected(registry)
        realtime.collected(registry)
    return operations, pages


def _every_view_declares_its_permission(app: Flask) -> None:
    """A view that nobody thought about is a hole, also in a plugin: better no start than an open door."""
    bare = [
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static" and not hasattr(app.view_functions[rule.endpoint], security.MARK)
    ]
    if bare:
        raise pluginmanager.PluginError(
            f"These views declare no permission: {', '.join(sorted(bare))}. Put @requires(...) or @public(why) on each."
        )


def prepare_rows() -> None:
    """Rows that every portal has: the default tenant and project, and this machine. Can be called at every start."""
    portal = cast(Portal, current_app.extensions["clawportal"])
    for feature in portal.registry.features:
        _run(portal, feature, feature.prepare)


def _run(portal: Portal, feature: Feature, targets: Iterable[str]) -> None:
    """What fails of a plugin is named, and the portal goes on without it."""
    for target in targets:
        try:
            declarations.resolve(target)(portal)
        except Exception as error:
            owner = portal.registry.owners[feature.name]
            if portal.registry.bundled(owner):
                raise
            logging.getLogger(__name__).exception("%s of plugin %s failed", target, owner)
            portal.registry.report(owner, target, f"{target} failed: {error!r}.")


def start_jobs(app: Flask, *, exclusive: bool) -> Runner | None:
    """Begin background work in this process, if its settings want so."""
    portal = cast(Portal, app.extensions["clawportal"])
    with app.app_context():
        prepare_rows()
        current_settings.look(portal)
        for feature in portal.registry.features:
            _run(portal, feature, feature.on_start)
    app.extensions["settings_in_use"] = current_settings.follow(portal, app.app_context)
    if not portal.settings.jobs:
        return None
    runner = Runner(portal, app.app_context)
    runner.start(exclusive=exclusive)
    app.extensions["clawportal_runner"] = runner
    logging.getLogger(__name__).info("background work runs in this process")
    return runner


def stop_jobs(app: Flask) -> None:
    """End background work; claws keep running."""
    runner = app.extensions.pop("clawportal_runner", None)
    if runner is not None:
        runner.stop()
    portal = cast(Portal, app.extensions["clawportal"])
    portal.stopping.set()
    follower = app.extensions.pop("settings_in_use", None)
    if follower is not None:
        follower.join(timeout=3)
    portal.logs.close()
    for feature in reversed(portal.registry.features):
        try:
            with app.app_context():
                _run(portal, feature, feature.on_stop)
        except Exception:  # each feature for itself: the others end all the same
            logging.getLogger(__name__).exception("%s could not be ended in order", feature.name)
    portal.close_parts()
    portal.connections.close()
