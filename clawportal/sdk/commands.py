"""Commands of `claw`, the client: a plugin names a function in `Feature.client_commands` that adds to its click group.

    def register(cli: click.Group) -> None:
        cli.add_command(note)

    @click.command()
    @TENANT
    @JSON
    def note(tenant: str | None, output: str) -> None:
        portal = remote()
        found = portal.everything("/notes", {"tenant": tenant_of(portal, tenant)})

`remote()` is the portal that one is signed in to. What it refuses ends the program with a sentence and the fitting exit code;
`Failure(sentence, code)` is for one's own refusals. Loads neither Flask nor SQLAlchemy.
"""

from __future__ import annotations

from clawportal.cli.people import JSON, TENANT, remote, tenant_of
from clawportal.cli.remote import NOT_FOUND, REFUSED, Failure, Remote
from clawportal.cli.show import as_json, table

__all__ = [
    "JSON",
    "NOT_FOUND",
    "REFUSED",
    "TENANT",
    "Failure",
    "Remote",
    "as_json",
    "remote",
    "table",
    "tenant_of",
]
