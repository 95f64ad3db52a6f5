"""What `clawportal settings` shows: also where no portal can begin, then without what people stored."""

from __future__ import annotations

import json
from typing import Any

import click

from clawportal import declarations, paths, pluginmanager, sections
from clawportal.cli import startup_errors
from clawportal.engine import current_settings
from clawportal.engine.current_settings import CurrentSettings, Setting
from clawportal.settings import Settings

_FROM = {
    "default": "by default",
    "environment": "from the environment",
    "file": "from clawportal.toml",
    "command": "from the command line",
    "page": "stored in the portal",
}


def show(settings: Settings, output: str = "text") -> None:
    current = _current(settings)
    found = [_shown(current, setting) for setting in current.everything()]
    if output == "json":
        return click.echo(json.dumps(found, indent=2, default=str))
    for one in found:
        more = "; may be changed while the portal runs" if one["changeable"] else ""
        click.echo(f"{one['variable']}={one['value']}\n    {one['description']}\n    {_FROM[one['source']]}{more}")
    for name, why in current.faults.items():
        click.echo(f"The stored value of {name} is not used, the default holds: it {why}.", err=True)
    return None


def _current(settings: Settings) -> CurrentSettings:
    registry = pluginmanager.load(settings.plugin_names, str(settings.data_dir), settings.plugin_folders)
    having = [feature for feature in registry.features if feature.settings]
    for feature in having:
        model = declarations.resolve(feature.settings)
        registry.sections[model] = sections.read(settings, feature.name, model)
    for name in sections.unknown(settings, [feature.name for feature in having]):
        click.echo(
            f"Nothing reads the section [{name}] of clawportal.toml: correct its name, or load the plugin it belongs to.",
            err=True,
        )
    current = CurrentSettings(settings, registry)
    current.use(_stored(settings))
    return current


def _stored(settings: Settings) -> dict[str, Any]:
    """Nothing where there is no portal yet. Looking must not make one."""
    there = bool(settings.database_url) or settings.database_file.exists()
    if not there or not (settings.data_dir / paths.KEYRING_FILE).exists():
        return {}
    from clawportal.app import create_app

    try:
        app = create_app(settings)
        with app.app_context():
            portal = app.extensions["clawportal"]
            current_settings.look(portal)
            return dict(portal.current.stored)
    except Exception as error:  # whatever keeps the portal from beginning is no reason to hide the settings
        click.echo(f"What is stored in the portal cannot be read: {startup_errors.words_of(error)}", err=True)
        return {}


def _shown(current: CurrentSettings, setting: Setting) -> dict[str, Any]:
    return {
        "name": setting.name,
        "variable": setting.variable,
        "value": current.shown(setting),
        "source": current.source(setting),
        "changeable": setting.changeable,
        "description": str(setting.info.description),
    }
