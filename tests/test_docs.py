"""Documents that are generated from the code must be those of this code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "openapi.json", "rights.md"])
def test_generated_document_is_fresh(name: str) -> None:
    pages = {file.name: text for file, text in _generator().pages().items()}
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == pages[name], "run `make docs`"


@pytest.mark.parametrize("document", ["README.md", "plugins/README.md", "bench/README.md", "docs/rights.md"])
def test_links_to_files_lead_somewhere(document: str) -> None:
    file = ROOT / document
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", file.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (file.parent / link).exists()] == []
