"""`clawportal backup` and `clawportal restore`: keep what people cannot make again, and put it on an empty machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import opening
from clawportal.cli.startup_errors import Unusable

if TYPE_CHECKING:
    from clawportal.services.backup.archive import Reader, Summary, Tell
    from clawportal.settings import Settings

OpenPortal = Callable[[], AbstractContextManager[Any]]
INCOMPLETE = 3
"""Exit code where it was done, and something that was asked for could not be read or put back."""
_SHOWN_EVERY = 0.5


class WithFile(click.Group):
    """`backup FILE` beside `backup verify FILE`: what names no command makes a backup."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["create", *args]
        return super().parse_args(ctx, args)


secret_file = click.option(
    "--recovery-key-file", type=click.Path(dir_okay=False, path_type=Path),
    help="File with the recovery key; - for standard input. Without it you are asked.",
)  # fmt: skip


def register(cli: click.Group) -> None:
    """Add the commands to `clawportal`."""
    cli.add_command(commands(opening.portal, lambda: opening.existing().data_dir))


def commands(portal: OpenPortal, data_dir: Callable[[], Path]) -> click.Group:
    """The group, with a way to open the portal, and one to its data folder."""

    @click.group(cls=WithFile, subcommand_metavar="FILE | COMMAND [ARGS]...")
    def backup() -> None:
        """Make a backup of the portal in FILE (or in a folder, under a name with the time), while it runs.

        It holds the database, the keys, the settings and stored files, all sealed to the recovery key. With --files also the
        files of claws on this machine. Exits with 3 when some of those could not be read.
        """

    @backup.command(hidden=True)
    @click.argument("file", type=click.Path(path_type=Path))
    @click.option("--files", is_flag=True, help="Also the files of claws that run on this machine.")
    @click.option("--quiet", is_flag=True, help="Say nothing when all went well.")
    def create(file: Path, files: bool, quiet: bool) -> None:
        """Make a backup."""
        from clawportal.services.backup import making

        with portal() as opened, _refused(), _progress(quiet) as tell:
            made = making.create(opened, file, claw_files=files, tell=tell)
        _gaps("is not in the backup", made.gaps)
        if not quiet:
            click.echo(f"{made.path}: {_size(made.size)}, made in {made.seconds:.1f} s.")
        sys.exit(INCOMPLETE if made.gaps else 0)

    @backup.command("recovery-key")
    @click.option("--use", "public", help="Take this public key, which another portal or person made, instead of a new one.")
    @click.option("--replace", is_flag=True, help="Although there is one; former backups still need the former one.")
    def recovery_key(public: str | None, replace: bool) -> None:
        """Make the key that opens backups. It is printed once and stored nowhere: without it a backup is lost."""
        from clawportal.services.backup import recovery

        with _refused():
            there = recovery.read(data_dir())
            if there is not None and not replace:
                raise click.ClickException(
                    f"There is a recovery key, with the fingerprint {recovery.fingerprint(there)}. To make another: --replace. "
                    "Backups that were made before still need the former one."
                )
            text, secret = (public, "") if public else recovery.make()
            found = recovery.public_of(text)
            recovery.write(data_dir(), found)
        click.echo(f"Public half, kept in {data_dir() / recovery.PUBLIC_FILE}:\n  {recovery.public_text(found)}")
        click.echo(f"Fingerprint: {recovery.fingerprint(found)}")
        if secret:
            click.echo(f"\nRecovery key, shown this once. Keep it away from this machine and from the backups:\n\n  {secret}\n")

    @backup.command()
    @click.argument("file", type=click.Path(path_type=Path))
    @click.option("--sums-only", is_flag=True, help="Without the recovery key: only whether the file is whole.")
    @secret_file
    def verify(file: Path, sums_only: bool, recovery_key_file: Path | None) -> None:
        """Read a whole backup and check it, without restoring it."""
        with _refused():
            reader, summary = _checked(file, None if sums_only else _secret(recovery_key_file))
        click.echo(_told(reader, summary))
        if sums_only:
            click.echo("Its sums are right. Whether it opens was not tried: that needs the recovery key.")
        else:
            click.echo("It is whole, and opens with this recovery key.")

    return backup


def restore_command(
    settings: Callable[[], Settings],
    upgraded: Callable[[Settings], AbstractContextManager[Any]],
    known: Callable[[], Mapping[str, set[str]]],
) -> click.Command:
    """With ways to the settings, to a portal whose tables have been brought up to this version, and to the versions it knows."""

    @click.command()
    @click.argument("file", type=click.Path(path_type=Path))
    @secret_file
    def restore(file: Path, recovery_key_file: Path | None) -> None:
        """Restore the portal from FILE on an empty machine: into an empty data folder, and an empty database.

        Everything in it is checked before anything is written. When this is interrupted, run it again: it begins anew.
        """
        from clawportal.services.backup import restoring

        with _refused():
            reader, summary = _checked(file, _secret(recovery_key_file))
            found = restoring.prepare(reader, settings(), summary, known())
            with _progress() as tell, restoring.under_way(found):
                restoring.place(found, tell)
                with upgraded(found.settings) as portal:
                    verdict = restoring.complete(portal, found, tell)
        click.echo(f"The portal of {reader.header.made_at} is restored in {found.data_dir}. Start it with: clawportal serve")
        for note in found.notes:
            click.echo(note)
        _gaps("was not restored", found.gaps)
        if verdict.broken is not None:
            click.echo(f"The audit was broken at entry {verdict.broken} when the backup was made: {verdict.reason}.", err=True)
        else:
            click.echo(f"The audit is right: {verdict.entries} entries, to {verdict.end}")
        sys.exit(INCOMPLETE if found.gaps else 0)

    return restore


# ---- what both need


@contextmanager
def _refused() -> Iterator[None]:
    from clawportal.services.backup.archive import BackupError
    from clawportal.services.backup.recovery import RecoveryError

    try:
        yield
    except (BackupError, RecoveryError) as error:
        raise click.ClickException(str(error)) from error


def _secret(file: Path | None) -> str:
    """Never from an argument, which everybody on the machine can read."""
    if file is None and sys.stdin.isatty():
        return str(click.prompt("Recovery key", hide_input=True))
    if file is None:
        raise Unusable("Give the recovery key with --recovery-key-file FILE, or - for standard input.")
    try:
        return sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{file} cannot be read: {getattr(error, 'strerror', 'it is no text')}.") from error


def _checked(file: Path, secret: str | None) -> tuple[Reader, Summary]:
    from clawportal.services.backup.archive import Reader

    reader = Reader(file)
    if secret is not None:
        reader.unlock(secret)
    with _progress() as tell:
        return reader, reader.verify(tell)


def _told(reader: Reader, summary: Summary) -> str:
    header = reader.header
    claws = "with the files of claws" if header.claw_files else "without the files of claws"
    return (
        f"Backup {header.id} of {header.made_at}, by clawportal {header.portal}, database {header.database}, {claws}.\n"
        f"{_size(summary.size)} that hold {_size(summary.held)} in {summary.pieces} pieces; recovery key {header.recipient}."
    )


def _gaps(what: str, gaps: Any) -> None:
    for gap in gaps:
        click.echo(f"{click.style('missing', fg='red')}  {gap} {what}", err=True)


def _size(size: int) -> str:
    from clawportal.bounded import size_in_words

    return size_in_words(size)


@contextmanager
def _progress(quiet: bool = False) -> Iterator[Tell]:
    """One line that changes, for who looks at a terminal; nothing in the mails of cron."""
    shown = 0.0
    wanted = sys.stderr.isatty() and not quiet and os.environ.get("TERM") != "dumb"

    def tell(what: str, size: int) -> None:
        nonlocal shown
        if wanted and time.monotonic() - shown > _SHOWN_EVERY:
            shown = time.monotonic()
            click.echo(f"\r\033[K{what.partition('/')[0]}: {_size(size)}", nl=False, err=True)

    try:
        yield tell
    finally:
        if wanted and shown:
            click.echo("\r\033[K", nl=False, err=True)
