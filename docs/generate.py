"""Writes what is generated: settings, OpenAPI, tables of rights and of conformance. A test holds that it is fresh."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

FOLDER = Path(__file__).resolve().parent


def settings_page() -> str:
    from clawportal.paths import CONFIG_FILE, DEFAULT_DATA_DIR
    from clawportal.settings import Settings

    lines = [
        "# Settings",
        "",
        f"From the environment, or from `{CONFIG_FILE}` in the data folder (names in small letters, without the prefix).",
        f"The environment wins. The data folder is `{DEFAULT_DATA_DIR}` unless `CLAWPORTAL_DATA_DIR` or `--data-dir` differs.",
        "",
        "What is marked with * may also be changed while the portal runs, on its page of settings; what the environment or the",
        "file has outranks that, and all else needs a restart. `clawportal settings` shows where each value comes from.",
        "",
        "| name | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = f"`{field.default}`" if str(field.default) else ""
        lines.append(f"| `CLAWPORTAL_{name.upper()}`{_mark(field)} | {default} | {field.description} |")
    return "\n".join([*lines, *sections_of_features()]) + "\n"


def sections_of_features() -> list[str]:
    """A table for each feature that has settings of its own."""
    from clawportal import declarations, pluginmanager, sections

    lines = []
    for feature in pluginmanager.load(pluginmanager.BUNDLED).features:
        if feature.settings:
            lines += [
                "",
                f"## {feature.title}",
                "",
                f"In the file: section `[{feature.name}]`.",
                "",
                "| name | default | meaning |",
            ]
            lines.append("|---|---|---|")
            for name, field in declarations.resolve(feature.settings).model_fields.items():
                default = f"`{field.get_default(call_default_factory=True)}`"
                lines.append(
                    f"| `{sections.prefix(feature.name)}{name.upper()}`{_mark(field)} | {default} | {field.description} |"
                )
    return lines


def _mark(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return " *" if isinstance(extra, dict) and extra.get("x-changeable") else ""


def openapi_document() -> str:
    from clawportal.app import create_app
    from clawportal.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder), docs_public=True, log_level="error"))
        answer = app.test_client().get("/api/v1/openapi.json")
        if answer.status_code != 200:
            raise SystemExit(f"the OpenAPI document cannot be made: {answer.get_json()}")
        document = answer.get_json()
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def roles_table() -> str:
    from clawportal.contracts.permissions import PORTAL_ROLES, ROLE_WORDS

    lines = ["| role | holds in | in plain words |", "|---|---|---|"]
    for role in ROLE_WORDS:
        place = "the whole portal" if role in PORTAL_ROLES else "an organisation, a project or an instance"
        lines.append(f"| `{role}` | {place} | {ROLE_WORDS[role]} |")
    return "\n".join(lines)


def rights_table() -> str:
    """A line for each right, a column for each role."""
    from clawportal import pluginmanager

    known = pluginmanager.load(pluginmanager.BUNDLED).permissions

    lines = [f"| right | | {' | '.join(known.roles)} |", f"|---|---|{':-:|' * len(known.roles)}"]
    for right in known:
        ticks = " | ".join("✓" if right in permissions else "" for permissions in known.roles.values())
        words = right.description + (" *(portal)*" if right.portal_only else "")
        lines.append(f"| {words} | `{right}` | {ticks} |")
    return "\n".join(lines)


def rights_page() -> str:
    return _filled("rights.md", {"roles": roles_table(), "rights": rights_table()})


def capabilities_picture() -> str:
    """Which capability imports from which, without what follows from other lines."""
    root = FOLDER.parent / "clawportal" / "services"
    uses: dict[str, set[str]] = {folder.name: set() for folder in sorted(root.iterdir()) if (folder / "__init__.py").exists()}
    for name, found in uses.items():
        for file in (root / name).rglob("*.py"):
            found |= _imported(file) & (uses.keys() - {name})
    lines = [f"  {name} --> {other}" for name in uses for other in sorted(uses[name]) if not _follows(uses, name, other)]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


def _imported(file: Path) -> set[str]:
    """The capabilities that a module imports from."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = (node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {name.split(".")[2] for name in named if name.startswith("clawportal.services.")}


def _follows(uses: dict[str, set[str]], name: str, other: str) -> bool:
    """Whether one leads to the other over a third."""
    reached, open_ = set[str](), uses[name] - {other}
    while open_:
        reached |= open_
        open_ = {further for one in open_ for further in uses[one]} - reached
    return other in reached


def architecture_page() -> str:
    return _filled("architecture.md", {"capabilities": capabilities_picture()})


def _filled(name: str, parts: dict[str, str]) -> str:
    """A page that is written by hand; only the parts between marks come from the code."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    for part, found in parts.items():
        start, end = f"<!-- generated: {part} -->\n", f"<!-- /generated: {part} -->"
        text = re.sub(f"{start}.*?{end}", lambda _, found=found, start=start, end=end: f"{start}{found}\n{end}", text, flags=re.S)
    return text


def metrics_table() -> str:
    """A line for each figure of the core and the bundled plugins."""
    from clawportal import pluginmanager

    features = pluginmanager.load(pluginmanager.BUNDLED).features
    rows = [f"| `{one.name}` | {one.kind} | {one.help} |" for feature in features for one in feature.metrics]
    return "\n".join(["| name | kind | what |", "|---|---|---|", *rows])


def metrics_page() -> str:
    return _filled("metrics.md", {"metrics": metrics_table()})


def events_table() -> str:
    """A line for each kind of event."""
    from clawportal import pluginmanager

    features = pluginmanager.load(pluginmanager.BUNDLED).features
    rows = [f"| `{kind.name}` | {kind.title} | {feature.title} |" for feature in features for kind in feature.events]
    return "\n".join(["| kind | what happened | told by |", "|---|---|---|", *rows])


def events_page() -> str:
    return _filled("events.md", {"events": events_table()})


def facts_table() -> str:
    """A line for each fact that rules may ask for."""
    from clawportal import pluginmanager

    features = pluginmanager.load(pluginmanager.BUNDLED).features
    rows = [f"| `facts.{one.name}` | {one.type} | {one.description} |" for feature in features for one in feature.instance_facts]
    return "\n".join(["| fact | type | what |", "|---|---|---|", *rows])


def policies_page() -> str:
    return _filled("policies.md", {"facts": facts_table()})


def conformance_page() -> str:
    spec = importlib.util.spec_from_file_location("docs_conformance", FOLDER / "conformance.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page: str = module.page()
    return page


def pages() -> dict[Path, str]:
    return {
        FOLDER / "settings.md": settings_page(),
        FOLDER / "openapi.json": openapi_document(),
        FOLDER / "rights.md": rights_page(),
        FOLDER / "conformance.md": conformance_page(),
        FOLDER / "metrics.md": metrics_page(),
        FOLDER / "events.md": events_page(),
        FOLDER / "policies.md": policies_page(),
        FOLDER / "architecture.md": architecture_page(),
    }


def main() -> None:
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{file.name}\n")


if __name__ == "__main__":
    main()
