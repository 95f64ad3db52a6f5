"""`clawportal oidc`: sign-in providers from the server's own command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import click

from clawportal.sdk.commands import open_portal

OpenPortal = Callable[[], AbstractContextManager[Any]]


def register(cli: click.Group) -> None:
    """Add the commands to `clawportal`."""
    cli.add_command(commands(open_portal))


def commands(portal: OpenPortal) -> click.Group:
    """The group, with a way to open the portal."""

    @click.group()
    def oidc() -> None:
        """Sign-in providers (OpenID Connect): set up, try, remove, and say what their groups give."""

    for add in (_add, _list, _test, _remove, _map, _unmap):
        add(oidc, portal)
    return oidc


def _add(group: click.Group, portal: OpenPortal) -> None:
    @group.command()
    @click.argument("slug")
    @click.option("--issuer", required=True, help="Exactly as the provider calls itself.")
    @click.option("--client-id", required=True)
    @click.option("--secret-stdin", is_flag=True, help="Read the client secret from standard input instead of asking.")
    @click.option("--public", is_flag=True, help="A public client: there is no secret, PKCE alone protects it.")
    @click.option("--title", help="Stands on the button; default: the short name.")
    @click.option("--scopes", default="openid profile email", show_default=True)
    @click.option("--groups-claim", default="groups", show_default=True)
    @click.option("--username-claim", default="preferred_username", show_default=True)
    @click.option("--domain", multiple=True, help="Only confirmed email addresses in this domain; can be given several times.")
    @click.option("--create-users", is_flag=True, help="Make an account at the first sign-in.")
    @click.option("--link-by-email", is_flag=True, help="Link the account whose name is the confirmed email address.")
    @click.option("--second-factor", is_flag=True, help="The provider's second factor is enough.")
    @click.option("--tenant", default="", help="Organisation where new people become members.")
    @click.option("--role", default="viewer", show_default=True, help="Role of new people there.")
    def add(
        slug: str, secret_stdin: bool, public: bool, title: str | None, domain: tuple[str, ...], tenant: str, **given: Any
    ) -> None:
        """Set up a provider. Its redirect address is <public address>/login/oidc/SLUG/callback."""
        from clawportal.sdk.permissions import SYSTEM
        from clawportal_sso import providers as service
        from clawportal_sso.organisations import with_tenant
        from clawportal_sso.wanted import Wanted

        secret = "" if public else sys.stdin.readline().strip() if secret_stdin else _asked()
        with portal() as opened:
            wanted = Wanted(
                slug=slug, title=title or slug, secret=secret, email_domains=domain, tenant_id=tenant or None, **given
            )
            made = service.create(opened, SYSTEM, with_tenant(SYSTEM, wanted))
        click.echo(f"{made.title} is set up. Try it with: clawportal oidc test {made.slug}")


def _asked() -> str:
    return str(click.prompt("Client secret", hide_input=True))


def _list(group: click.Group, portal: OpenPortal) -> None:
    @group.command("list")
    def list_() -> None:
        """Show all providers and what their groups give."""
        from clawportal.sdk.permissions import SYSTEM
        from clawportal_sso import group_roles
        from clawportal_sso import providers as service

        with portal():
            for known in service.listing(SYSTEM):
                state = "on" if known.enabled else "off"
                click.echo(f"{known.slug:20} {state:4} {known.people:6} people  {known.issuer}")
                for given in group_roles.groups(SYSTEM, known.id):
                    where = "/".join(part for part in (given.tenant, given.project) if part) or "the whole portal"
                    click.echo(f"    {given.group} -> {given.role} in {where}")


def _test(group: click.Group, portal: OpenPortal) -> None:
    @group.command()
    @click.argument("slug")
    def test(slug: str) -> None:
        """Ask the provider, and say what is missing. Exits with 1 when something is."""
        from clawportal.sdk.permissions import SYSTEM
        from clawportal_sso import providers as service
        from clawportal_sso.wanted import Wanted

        with portal() as opened:
            known = service.get(SYSTEM, service.by_slug(slug).id)
            wanted = Wanted(
                slug=slug, issuer=known.issuer, client_id=known.client_id, scopes=known.scopes,
                username_claim=known.username_claim, email_claim=known.email_claim, groups_claim=known.groups_claim,
            )  # fmt: skip
            base = opened.settings.public_url.rstrip("/") or f"http://{opened.settings.host}:{opened.settings.port}"
            found = service.examine(opened, SYSTEM, wanted, f"{base}/login/oidc/{slug}/callback", known.id)
        for finding in found:
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red")
            click.echo(f"{mark}  {finding.name}: {finding.message}")
            if not finding.ok and finding.remedy:
                click.echo(f"      {finding.remedy}")
        sys.exit(0 if all(finding.ok for finding in found) else 1)


def _remove(group: click.Group, portal: OpenPortal) -> None:
    @group.command()
    @click.argument("slug")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def remove(slug: str, yes: bool) -> None:
        """Remove a provider with its links, what its groups gave, and its sessions. Accounts stay."""
        from clawportal.sdk.permissions import SYSTEM
        from clawportal_sso import providers as service

        with portal() as opened:
            known = service.get(SYSTEM, service.by_slug(slug).id)
            if not yes:
                click.confirm(f"{known.people} people are linked to {known.title}. Remove it?", abort=True)
            service.remove(opened, SYSTEM, known.id)
        click.echo(f"{known.title} was removed.")


def _map(group: click.Group, portal: OpenPortal) -> None:
    @group.command("map")
    @click.argument("slug")
    @click.argument("name")
    @click.argument("role")
    @click.option("--tenant", default="", help="Organisation; leave it out only for a role in the whole portal.")
    @click.option("--project", default="", help="Project of it, if the role shall hold there only.")
    def map_(slug: str, name: str, role: str, tenant: str, project: str) -> None:
        """Let the group NAME give a ROLE, from each person's next sign-in on."""
        from clawportal.sdk.permissions import SYSTEM
        from clawportal_sso import group_roles
        from clawportal_sso import providers as service

        with portal() as opened:
            provider_id = service.by_slug(slug).id
            group_roles.map_named(opened, SYSTEM, provider_id, name, role, tenant=tenant, project=project)
        click.echo(f"The group {name} gives the role {role} now.")


def _unmap(group: click.Group, portal: OpenPortal) -> None:
    @group.command()
    @click.argument("slug")
    @click.argument("name")
    def unmap(slug: str, name: str) -> None:
        """Let the group NAME give nothing any more; whoever has a role through it loses it at once."""
        from clawportal.sdk.permissions import SYSTEM
        from clawportal_sso import group_roles
        from clawportal_sso import providers as service

        with portal() as opened:
            provider_id = service.by_slug(slug).id
            found = [given for given in group_roles.groups(SYSTEM, provider_id) if given.group == name]
            if not found:
                raise click.ClickException(f"The group {name!r} gives nothing here.")
            for given in found:
                group_roles.unmap(opened, SYSTEM, provider_id, given.id)
        click.echo(f"The group {name} gives nothing any more.")
