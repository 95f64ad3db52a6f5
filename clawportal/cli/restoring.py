"""`clawportal restore`, with its ways to the portal that is being restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import backup, database, opening

if TYPE_CHECKING:
    from clawportal.settings import Settings


def register(cli: click.Group) -> None:
    """Add the command to `clawportal`."""
    cli.add_command(backup.restore_command(opening.settings, _restored, _known_revisions))


@contextmanager
def _restored(settings: Settings) -> Iterator[Any]:
    """The portal of a restore that is under way, with the tables of this version."""
    from clawportal import histories, origin
    from clawportal.app import create_app, stop_jobs
    from clawportal.services.system import migrations

    app = create_app(settings, restoring=True)
    portal = app.extensions["clawportal"]
    with app.app_context(), origin.during(origin.Origin("command", agent=f"clawportal, run by {opening.account()}")):
        migrations.upgrade(histories.of(portal.registry.features))
        try:
            yield portal
        finally:
            stop_jobs(app)


def _known_revisions() -> dict[str, set[str]]:
    from clawportal import histories
    from clawportal.services.system import migrations

    return migrations.known_revisions(histories.of(database.features_of(opening.settings())))
