"""`clawportal keys`: new keys to seal with, after a time or because others may know the old ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from clawportal.cli import opening

OpenPortal = Callable[[], AbstractContextManager[Any]]


def register(cli: click.Group) -> None:
    """Add the commands to `clawportal`."""
    cli.add_command(commands(opening.portal, opening.keyring_file))


def commands(portal: OpenPortal, file: Callable[[], Path]) -> click.Group:
    """The group, with a way to open the portal, and one to the file of its keys."""

    @click.group()
    def keys() -> None:
        """Look after the keys that secrets are sealed with."""

    @keys.command()
    @click.option(
        "--compromised", is_flag=True,
        help="Others may know the keys: also end every session, token and API token, and let the old keys open nothing any more.",
    )  # fmt: skip
    def rotate(compromised: bool) -> None:
        """Make a new key, and seal every stored secret with it. Running portals take it up by themselves."""
        from clawportal import keyring

        keyring.rotate(file(), compromised=compromised)
        with portal() as opened:
            moved = _resealed(opened)
            said = f"A new key is in use; {moved} secrets were sealed with it."
            said += f" {_all_ended(opened)}" if compromised else ""
            left = _left_behind(opened)
            _tell(said)
        if compromised:
            keyring.retire(file())
        click.echo(said)
        if compromised:
            click.echo(
                "The old keys open nothing any more. Whoever had them together with the database also knows the secrets in it: "
                "renew API keys, kubeconfigs, secrets of plugins, second factors and passwords at their sources."
            )
        if compromised and left:
            click.echo(
                f"Not loaded just now: {', '.join(left)}. Secrets that these keep were not moved and open no more: enter them "
                "again once the plugin is back."
            )

    @keys.command()
    def new() -> None:
        """Make keys where they are lost for good. What is stored sealed has to be entered again."""
        from clawportal import keyring

        if file().exists():
            raise click.ClickException(f"{file()} is there. To change keys, run: clawportal keys rotate")
        keyring.load(file())
        click.echo(
            f"New keys are in {file()}. Enter again what was sealed with the lost ones: API keys of models, connections of "
            "clusters, secrets of plugins; `clawportal user reset-otp` for second factors. `clawportal audit acknowledge` lets "
            "the audit go on."
        )

    return keys


def _resealed(portal: Any) -> int:
    from clawportal import origin
    from clawportal.contracts.extensions import RESEAL
    from clawportal.services.audit import chain

    with origin.during(None):  # the same secrets under another key: one entry for all of them
        moved: int = sum(target(portal) for target in portal.registry.targets(RESEAL))
        chain.turn(at_once=True)
    return moved


def _left_behind(portal: Any) -> list[str]:
    """Features with tables whose plugin is not loaded: what they keep sealed was not moved."""
    from clawportal import histories
    from clawportal.services.system import migrations

    return sorted(migrations.absent(histories.of(portal.registry.features)))


def _all_ended(portal: Any) -> str:
    from clawportal.services.identity import sessions

    ended, revoked = sessions.end_everything(portal)
    return f"{ended} sessions and {revoked} API tokens were ended."


def _tell(summary: str) -> None:
    from clawportal.contracts.permissions import SYSTEM
    from clawportal.services.audit import trail

    trail.note(trail.Pending("keys.rotate", SYSTEM, "keys", summary=summary))
