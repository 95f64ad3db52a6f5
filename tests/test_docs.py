"""Documents that are generated from the code must be those of this code."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from clawportal.testing.runtimes import behaviours

ROOT = Path(__file__).resolve().parent.parent


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    ["settings.md", "openapi.json", "rights.md", "conformance.md", "metrics.md", "events.md", "policies.md", "architecture.md"],
)
def test_generated_document_is_fresh(name: str) -> None:
    pages = {file.name: text for file, text in _generator().pages().items()}
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == pages[name], "run `make docs`"


def test_the_conformance_table_knows_every_behaviour() -> None:
    """What is committed comes from a run of this suite, in which nothing failed."""
    found = json.loads((ROOT / "docs" / "conformance.json").read_text(encoding="utf-8"))
    for runtime, told in found.items():
        unknown, untold = told["results"].keys() - behaviours().keys(), behaviours().keys() - told["results"].keys()
        assert (unknown, untold) == (set(), set()), f"run the suite of {runtime} again with --conformance-report"
        assert [name for name, result in told["results"].items() if result["outcome"] == "failed"] == []
    assert "process" in found


@pytest.mark.parametrize(
    "document", ["README.md", "plugins/README.md", "bench/README.md", "docs/rights.md", "docs/architecture.md"]
)
def test_links_to_files_lead_somewhere(document: str) -> None:
    file = ROOT / document
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", file.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (file.parent / link).exists()] == []
