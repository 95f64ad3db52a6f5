"""`clawportal db`: bring the tables of each feature up, take them back, and say where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import opening, startup_errors, tables_ready

if TYPE_CHECKING:
    from flask import Flask

    from clawportal.contracts.features import Feature
    from clawportal.histories import History
    from clawportal.services.system.migrations import State
    from clawportal.settings import Settings

_FEATURE = click.option("--feature", "name", default="", metavar="NAME", help="Only the tables of this feature.")


def register(cli: click.Group) -> None:
    """Add the commands to `clawportal`."""
    cli.add_command(commands(opening.app, opening.existing))


def commands(open_app: Callable[..., Flask], existing: Callable[[], Settings]) -> click.Group:
    """The group, with a way to make the app, and to see that a portal is there."""

    @contextmanager
    def opened(settings: Settings | None = None) -> Iterator[tuple[Any, tuple[History, ...]]]:
        from clawportal import histories

        app = open_app(settings)
        with startup_errors.told(), app.app_context():
            portal = app.extensions["clawportal"]
            yield portal, histories.of(portal.registry.features)

    @click.group()
    def db() -> None:
        """Look after the tables. Each feature has migrations of its own; the core's come first."""

    @db.command()
    @click.option("--first-start", is_flag=True, hidden=True, help="Also make the first user, and print the password.")
    @_FEATURE
    def upgrade(first_start: bool, name: str) -> None:
        """Bring the tables up to this version; makes them when there are none. SQLite is copied first."""
        from clawportal.services.system import migrations

        with opened() as (portal, histories):
            for state in migrations.upgrade(histories, name):
                click.echo(f"{state.name}: the tables are at {state.at} now", err=True)
            _tell_absent(migrations.absent(histories))
            if first_start:
                _first_start(portal)
            if not name:
                tables_ready.note(portal.settings, portal.registry, migrations.versions())

    @db.command(context_settings={"ignore_unknown_options": True})  # `-1` is no option
    @click.argument("revision", default="-1")
    @_FEATURE
    def downgrade(revision: str, name: str) -> None:
        """Take the tables of a feature back to an earlier revision (default: the one before); of all to `base`."""
        from clawportal.services.system import migrations

        settings = existing()
        if not name and revision != "base":
            raise click.UsageError("Say with --feature whose tables go back. Only `base` can be said of all.")
        with opened(settings) as (_, histories):
            migrations.downgrade(histories, name, revision)

    @db.command()
    @_FEATURE
    def check(name: str) -> None:
        """Say whether the tables are as this version wants them. Exits with 1 when they are not."""
        from clawportal.services.system import migrations

        with opened(existing()) as (_, histories):
            states = migrations.check(_chosen(histories, name))
            _tell_absent(migrations.absent(histories))
        for state in states:
            _tell_state(state)
        if not all(state.fresh for state in states):
            raise SystemExit(1)

    @db.command()
    @_FEATURE
    def history(name: str) -> None:
        """List the revisions of each feature, oldest first."""
        from clawportal.services.system import migrations

        with opened(existing()) as (_, histories):
            for revision in migrations.revisions(_chosen(histories, name)):
                mark = "  <- the tables are here" if revision.here else ""
                click.echo(f"{revision.history:20} {revision.id:8} {revision.title}{mark}")
            _tell_absent(migrations.absent(histories))

    @db.command()
    def current() -> None:
        """Show at which revision the tables of each feature are."""
        from clawportal.services.system import migrations

        with opened(existing()) as (_, histories):
            for state in migrations.states(histories):
                click.echo(f"{state.name:20} {state.at or '(no tables)'}")
            _tell_absent(migrations.absent(histories))

    @db.command()
    @click.argument("message")
    @click.option("--feature", "name", required=True, metavar="NAME", help="Whose models changed.")
    def revision(message: str, name: str) -> None:
        """For developers: write a migration of what the models of a feature say and its tables do not have yet."""
        from clawportal.services.system import migrations

        with opened(existing()) as (_, histories):
            click.echo(migrations.write_revision(_chosen(histories, name)[0], message))

    return db


def features_of(settings: Settings) -> Iterable[Feature]:
    """Of all plugins; where one of them cannot be loaded, which is a finding of its own, those of the core."""
    from clawportal import features, pluginmanager

    try:
        return pluginmanager.load(settings.plugin_names, str(settings.data_dir), settings.plugin_folders).features
    except pluginmanager.PluginError:
        return features.register_features()


def _chosen(histories: tuple[History, ...], name: str) -> tuple[History, ...]:
    from clawportal.services.system import migrations

    return (migrations.named(histories, name),) if name else histories


def _tell_state(state: State) -> None:
    if not state.at:
        words = f"has no tables yet, {state.newest} is wanted; run: clawportal db upgrade"
    elif state.at != state.newest:
        words = f"at {state.at}, {state.newest} is wanted; run: clawportal db upgrade"
    else:
        words = f"at {state.at}" + ("" if state.differences else ", as the models say")
    click.echo(f"{state.name}: {words}")
    for difference in state.differences:
        click.echo(f"  differs from the models: {difference}")


def _tell_absent(found: dict[str, str]) -> None:
    for name, version in found.items():
        click.echo(f"{name}: at {version}; its plugin is not loaded, its tables are kept as they are", err=True)


def _first_start(portal: Any) -> None:
    """One at a time: of two replicas that begin together, one makes the first user."""
    from clawportal.app import prepare_rows
    from clawportal.db import db
    from clawportal.services.identity import identity
    from clawportal.services.system.upgrade_lock import alone

    with alone(db.engine):
        prepare_rows()
        password = identity.first_start(portal)
    if password is not None:
        rule = "=" * 72
        words = f"  Sign in as      admin\n  with password   {password}\n  It is shown this once. You will be asked to change it."
        click.echo(f"\n{rule}\n{words}\n{rule}\n")
