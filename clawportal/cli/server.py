"""`clawportal`: start the portal, look after its database, its users and its keys."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from clawportal.cli import opening, startup_errors
from clawportal.cli.extending import Extended

EPILOG = "Settings come from the environment (CLAWPORTAL_*) and <data-dir>/clawportal.toml; see `clawportal settings`."


@click.group(
    cls=Extended,
    program="commands",
    plugins=opening.plugins,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Folder of this portal [CLAWPORTAL_DATA_DIR].")
@click.version_option(package_name="clawportal", prog_name="clawportal")
def cli(data_dir: Path | None) -> None:
    """Run a portal for agent gateways: create, start, watch and share claws."""
    if data_dir is not None:
        os.environ["CLAWPORTAL_DATA_DIR"] = str(data_dir)


@cli.command()
@click.option("--host", help="Address to listen on [CLAWPORTAL_HOST].")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on [CLAWPORTAL_PORT].")
def serve(host: str | None, port: int | None) -> None:
    """Start the portal: pages, API and background work, in one process behind gunicorn."""
    from clawportal.cli import serving

    for name, value in (("HOST", host), ("PORT", port)):
        if value is not None:
            os.environ[f"CLAWPORTAL_{name}"] = str(value)
    serving.serve(opening.settings())


@cli.command()
def worker() -> None:
    """Run only background work, beside `serve` processes that share a PostgreSQL database."""
    import signal
    import threading

    from clawportal.app import start_jobs, stop_jobs

    settings = opening.settings()
    if settings.database.startswith("sqlite"):
        raise click.ClickException(
            "A separate worker needs PostgreSQL: set CLAWPORTAL_DATABASE_URL. With SQLite, `serve` works by itself."
        )
    app = opening.app(settings)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    start_jobs(app, exclusive=False)
    done.wait()
    stop_jobs(app)


@cli.group()
def user() -> None:
    """Look after people."""


@user.command()
@click.argument("name")
@click.option(
    "--role", default="portal-admin", show_default=True, help="viewer, developer, operator, tenant-admin or portal-admin."
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@click.option("--hash-stdin", is_flag=True, help="Read a hash that another system made (bcrypt, argon2id) from standard input.")
def create(name: str, role: str, password_stdin: bool, hash_stdin: bool) -> None:
    """Create a user. Roles other than portal-admin hold in the default organisation."""
    from clawportal.contracts.permissions import ROLE_WORDS, SYSTEM
    from clawportal.errors import Invalid
    from clawportal.models import Tenant
    from clawportal.services.identity import identity
    from clawportal.services.tenancy import tenancy

    password = _read_password(password_stdin or hash_stdin)
    with opening.portal() as portal:
        from clawportal.db import db as database

        if role not in ROLE_WORDS:
            raise Invalid.field("role", f"must be one of {', '.join(ROLE_WORDS)}")
        tenant = None if role == "portal-admin" else database.session.get_one(Tenant, tenancy.ensure_default().tenant_id)
        identity.create_user(portal, SYSTEM, name, password, role=role, tenant=tenant, hashed=hash_stdin)
    click.echo(f"User {name} was created with the role {role}.")


@user.command("set-password")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@click.option("--end-tokens", is_flag=True, help="Also revoke all their API tokens.")
def set_password(name: str, password_stdin: bool, end_tokens: bool) -> None:
    """Give a user a new password; all their sessions end."""
    from clawportal.contracts.permissions import SYSTEM
    from clawportal.services.identity import identity

    password = _read_password(password_stdin)
    with opening.portal() as portal:
        identity.set_password(portal, SYSTEM, identity.find_user(name).id, password, end_tokens=end_tokens)
    click.echo(f"The password of {name} was changed.")


@user.command("reset-otp")
@click.argument("name")
def reset_otp(name: str) -> None:
    """Take the second factor from a user who lost app and backup codes; all their sessions end."""
    from clawportal.contracts.permissions import SYSTEM
    from clawportal.services.identity import otp

    with opening.portal() as portal:
        done = otp.reset(portal, SYSTEM, name)
    click.echo(f"{name} signs in with the password alone now." if done else f"{name} has no second factor.")


@user.command()
@click.argument("name")
def unlock(name: str) -> None:
    """Let a user try again at once who has to wait after wrong sign-ins."""
    from clawportal.services.identity import identity, throttle

    with opening.portal() as portal:
        waiting = throttle.unlock(portal, identity.find_user(name).name)
    click.echo(f"{name} can try again." if waiting else f"{name} did not have to wait; the wrong tries were forgotten.")


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


@cli.command()
def plugins() -> None:
    """List the plugins that load, and what each brings."""
    from clawportal import pluginmanager

    settings = opening.settings()
    for plugin in pluginmanager.load(settings.plugin_names, str(settings.data_dir), settings.plugin_folders).plugins:
        origin = "bundled" if plugin.bundled else "installed"
        click.echo(f"{plugin.name:28} {plugin.version:10} {origin:10} {', '.join(plugin.hooks)}")


@cli.command()
def doctor() -> None:
    """Look for what is wrong on this machine. Exits with 1 when something is."""
    from clawportal.cli import diagnosis

    findings = diagnosis.examine(opening.settings())
    for finding in findings:
        mark = click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red")
        click.echo(f"{mark}  {finding.name}: {finding.message}")
        if not finding.ok and finding.remedy:
            click.echo(f"      {finding.remedy}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


@cli.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def settings(output: str) -> None:
    """Show every setting, its value here, where that comes from, and what it means."""
    from clawportal.cli import shown_settings

    shown_settings.show(opening.settings(), output)


def main() -> None:
    try:
        with startup_errors.told():
            cli()
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)


if __name__ == "__main__":
    main()
