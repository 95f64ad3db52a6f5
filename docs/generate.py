"""Writes the documents that are generated: settings, OpenAPI, the conformance table. A test holds that they are fresh."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def settings_page() -> str:
    from clawportal.settings import CONFIG_FILE, DEFAULT_DATA_DIR, Settings

    lines = [
        "# Settings",
        "",
        f"From the environment, or from `{CONFIG_FILE}` in the data folder (names in small letters, without the prefix).",
        f"The environment wins. The data folder is `{DEFAULT_DATA_DIR}` unless `CLAWPORTAL_DATA_DIR` or `--data-dir` differs.",
        "",
        "| name | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = f"`{field.default}`" if str(field.default) else ""
        lines.append(f"| `CLAWPORTAL_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def openapi_document() -> str:
    from clawportal.app import create_app
    from clawportal.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder), docs_public=True, log_level="error"))
        answer = app.test_client().get("/api/v1/openapi.json")
        document = answer.get_json()
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


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
        FOLDER / "conformance.md": conformance_page(),
    }


def main() -> None:
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{file.name}\n")


if __name__ == "__main__":
    main()
