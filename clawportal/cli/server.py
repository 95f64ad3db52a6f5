"""`clawportal`: start the portal, look after its database, its users and its keys."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clawportal.cli import opening, startup_errors
from clawportal.cli.extending import Extended

if TYPE_CHECKING:
    from pydantic import BaseModel

    from clawportal.contracts.features import Feature
    from clawportal.settings import Settings


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
def settings() -> None:
    """Show every setting, its value here, and what it means."""
    from clawportal import sections
    from clawportal.secret_settings import secret_fields
    from clawportal.settings import Settings

    current = opening.settings()
    for name, field in Settings.model_fields.items():
        click.echo(f"CLAWPORTAL_{name.upper()}={_hidden(name, getattr(current, name))}\n    {field.description}")
    having = _sections(current)
    for name in sections.unknown(current, [feature.name for feature, _ in having]):
        click.echo(
            f"Nothing reads the section [{name}] of clawportal.toml: correct its name, or load the plugin it belongs to.",
            err=True,
        )
    for feature, model in having:
        section = sections.read(current, feature.name, model)
        secrets = secret_fields(model)
        for name, field in model.model_fields.items():
            shown = _hidden(name, getattr(section, name), secret=name in secrets)
            click.echo(f"{sections.prefix(feature.name)}{name.upper()}={shown}\n    {field.description}")


def _hidden(name: str, value: object, *, secret: bool = False) -> object:
    """Without what nobody may read over a shoulder, or in the log of a terminal."""
    from clawportal import redact

    if value and (secret or redact.names_secret(name)):
        return redact.MASK
    return redact.text(value) if isinstance(value, str) else _hidden_inside(name, value)


def _hidden_inside(name: str, value: object) -> object:
    """The same of what has parts: tables, lists, and models with fields of their own that are secret."""
    from pydantic import BaseModel

    from clawportal.secret_settings import secret_fields

    if isinstance(value, BaseModel):
        secrets = secret_fields(type(value))
        return {part: _hidden(part, item, secret=part in secrets) for part, item in value}
    if isinstance(value, Mapping):
        return {part: _hidden(str(part), item) for part, item in value.items()}
    return [_hidden(name, item) for item in value] if isinstance(value, list | tuple | set | frozenset) else value


def _sections(current: Settings) -> list[tuple[Feature, type[BaseModel]]]:
    from clawportal import declarations, pluginmanager

    registry = pluginmanager.load(current.plugin_names, str(current.data_dir), current.plugin_folders)
    return [(feature, declarations.resolve(feature.settings)) for feature in registry.features if feature.settings]


def main() -> None:
    try:
        with startup_errors.told():
            cli()
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)


if __name__ == "__main__":
    main()
