"""Commands of `claw`, the client, and of `clawportal`, on the server: a plugin names a function in `Feature.client_commands`, or
in `Feature.commands`, that adds to the click group.

    def register(cli: click.Group) -> None:
        cli.add_command(note)

    @click.command()
    @TENANT
    @JSON
    def note(tenant: str | None, output: str) -> None:
        portal = remote()
        found = portal.everything("/notes", {"tenant": tenant_of(portal, tenant)})

`remote()` is the portal that one is signed in to. What it refuses ends the program with a sentence and the fitting exit code;
`Failure(sentence, code)` is for one's own refusals. `told` shows a list as table or JSON, `done` what a change answered. What a
token alone must not do is done in `with as_person(password_stdin, otp) as portal:`, with the options of `proving`. Loads neither
Flask nor SQLAlchemy.

`claw files put` sends a file by the function in `Files.send`, `at_once` if no plugin has put another one there.

A command of `clawportal` works inside of `with open_portal() as portal:`, as `SYSTEM`, and imports services only there; problems
end it with their sentence.
"""

from __future__ import annotations

from clawportal.cli.files import Files, Sent, at_once
from clawportal.cli.opening import portal as open_portal
from clawportal.cli.people import JSON, TENANT, done, remote, tenant_of, told
from clawportal.cli.remote import NOT_FOUND, REFUSED, UNREACHABLE, Failure, Remote, clean
from clawportal.cli.sessions import as_person, proving
from clawportal.cli.show import age, as_json, table

__all__ = [
    "JSON",
    "NOT_FOUND",
    "REFUSED",
    "TENANT",
    "UNREACHABLE",
    "Failure",
    "Files",
    "Remote",
    "Sent",
    "age",
    "as_json",
    "as_person",
    "at_once",
    "clean",
    "done",
    "open_portal",
    "proving",
    "remote",
    "table",
    "tenant_of",
    "told",
]
