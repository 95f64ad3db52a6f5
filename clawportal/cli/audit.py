"""`clawportal audit`: prove that nobody touched the audit, and take it along as a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from clawportal.cli import opening

if TYPE_CHECKING:
    from clawportal.services.audit.chain import End

OpenPortal = Callable[[], AbstractContextManager[Any]]


def register(cli: click.Group) -> None:
    """Add the commands to `clawportal`."""
    cli.add_command(commands(opening.portal))


def commands(portal: OpenPortal) -> click.Group:
    """The group, with a way to open the portal."""

    @click.group()
    def audit() -> None:
        """Who did what: verify that nothing was changed since, and export it."""

    @audit.command()
    @click.option("--head", help="An end that was noted earlier, as this command printed it (NUMBER:HASH).")
    def verify(head: str | None) -> None:
        """Walk the whole chain. Exits with 1 and names the first entry that is wrong.

        Note the end that it prints where the portal cannot reach it: with --head you can show later that nothing was cut off.
        """
        from clawportal.services.audit import chain

        known = _end(head) if head else None
        with portal():
            verdict = chain.verify(known)
        if verdict.broken is not None:
            click.echo(f"BROKEN at entry {verdict.broken}: {verdict.reason}. {verdict.entries} entries before it are right.")
            sys.exit(1)
        for broken, why in verdict.acknowledged:
            click.echo(f"It was broken at entry {broken}, and somebody went on in spite of that: {why}")
        click.echo(f"{verdict.entries} entries are right, from number {verdict.first} on. The chain ends at {verdict.end}")

    @audit.command()
    @click.option("--why", required=True, help="What was found out about the break; it stands in the audit.")
    def acknowledge(why: str) -> None:
        """Go on after a break that somebody looked into. It stays told, and this is itself an entry."""
        from clawportal.contracts.permissions import SYSTEM
        from clawportal.services.audit import trail as service

        with portal():
            verdict = service.acknowledge(SYSTEM, why)
        click.echo(f"The break at entry {verdict.broken} is acknowledged. What follows verifies again.")

    @audit.command("confirm-clock")
    def confirm_clock() -> None:
        """Say that the clock of this machine is right, although it went further than the portal saw pass.

        Until then nothing is deleted for its age: by a wrong clock, everything would be old.
        """
        from clawportal.contracts.permissions import SYSTEM
        from clawportal.services.audit import trail as service
        from clawportal.services.system import trusted_clock

        with portal():
            ahead = trusted_clock.believe()
            if ahead:
                hours = ahead.total_seconds() / 3600
                summary = f"The clock was found right; it had gone {hours:.0f} hours further than expected."
                service.note(service.Pending("audit.confirm_clock", SYSTEM, "audit", summary=summary))
        counts = "The clock counts again; old things are deleted as the settings say."
        click.echo(counts if ahead else "The clock was not doubted.")

    @audit.command()
    @click.option("--format", "form", type=click.Choice(("jsonl", "csv")), default="jsonl", show_default=True)
    @click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default: standard output.")
    @click.option("--actor", default="", help="Only what this person did, by id or name.")
    @click.option("--action", default="", help="Only this action, such as instance.update; `instance` stands for all of them.")
    @click.option("--object", "wanted", default="", help="Only what was done to this, by id or part of the name.")
    @click.option("--result", type=click.Choice(("ok", "refused")), help="Only what was done, or only what was refused.")
    @click.option("--since", type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S")), help="Not before this time (UTC).")
    @click.option("--until", type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S")), help="Before this time (UTC).")
    def export(
        form: str, output: Path | None, actor: str, action: str, wanted: str, result: str | None, since: datetime | None,
        until: datetime | None,
    ) -> None:  # fmt: skip
        """Write the audit as JSON lines or CSV, oldest first."""
        from clawportal.contracts.permissions import SYSTEM
        from clawportal.services.audit import exports
        from clawportal.services.audit import trail as service

        with portal():
            filters = service.check(
                service.Filters(
                    actor=actor, action=action, object=wanted, result=result or "", since=_utc(since), until=_utc(until)
                )
            )
            service.exported(SYSTEM, filters, form)
            text = exports.lines(service.export(SYSTEM, filters), form)
            count = _write(text, output)
        if output is not None:
            click.echo(f"{count - (form == 'csv')} entries were written to {output}.")

    return audit


def _end(text: str) -> End:
    from clawportal.services.audit.chain import End

    seq, _, last = text.partition(":")
    if not seq.isdigit() or len(last) != 64:
        raise click.UsageError("--head is what `clawportal audit verify` printed: a number, a colon, and 64 letters and digits.")
    return End(int(seq), last)


def _utc(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value else None


def _write(lines: Iterable[str], output: Path | None) -> int:
    if output is None:
        return sum(1 for _ in _echoed(lines, sys.stdout))
    with output.open("w", encoding="utf-8", newline="") as stream:
        output.chmod(0o600)
        return sum(1 for _ in _echoed(lines, stream))


def _echoed(lines: Iterable[str], stream: TextIO) -> Iterator[None]:
    for line in lines:
        stream.write(line)
        yield
