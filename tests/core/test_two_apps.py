"""Apps with different plugins live in one process, and a plugin whose modules cannot be used leaves nothing behind."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from clawportal.app import create_app
from clawportal.engine.portal import Portal
from clawportal.settings import Settings
from tests.conftest import make_tables

PLUGIN = """
    from clawportal.sdk import hookimpl
    from clawportal.sdk.features import ApiTag, Feature

    @hookimpl
    def register_features():
        return [Feature("notes", "Notes", requires=("instances",), api_tags=(ApiTag("Notes", "What people wrote down."),),
                        api=("two_apps_api",), pages=("two_apps_pages",))]

    @hookimpl
    def register_adapters():
        return []
"""
API = """
    from clawportal.sdk.api import op

    @op("GET", "/notes", public="everybody may", tags=("Notes",), summary="Notes")
    def list_notes() -> dict[str, str]:
        return {"first": "milk"}
"""
PAGES = """
    from clawportal.sdk.pages import page, public

    @page("/notes")
    @page("/notes/all", endpoint="all_notes")
    @public("everybody may")
    def notes():
        return "milk"
"""
Make = Callable[..., Flask]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """An app with the plugins that are named; keyword arguments are the code of modules."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("CLAWPORTAL_PLUGINS", raising=False)

    def app_of(*plugins: str, **modules: str) -> Flask:
        for name, code in modules.items():
            (tmp_path / f"two_apps{name}.py").write_text(textwrap.dedent(code))
        app = create_app(Settings(data_dir=tmp_path / "-".join(plugins), plugins=",".join(plugins), jobs=False))
        with app.app_context():
            make_tables()
        return app

    yield app_of
    for name in [name for name in sys.modules if name.startswith("two_apps")]:
        del sys.modules[name]


def endpoints(app: Flask) -> set[str]:
    return {rule.endpoint for rule in app.url_map.iter_rules()}


def portal_of(app: Flask) -> Portal:
    found: Portal = app.extensions["clawportal"]
    return found


def test_each_app_has_what_its_own_features_bring(make: Make) -> None:
    without = make("clawportal_echo")
    with_notes = make("clawportal_echo", "two_apps", **{"": PLUGIN, "_api": API, "_pages": PAGES})
    after = make("clawportal_echo")
    assert endpoints(with_notes) - endpoints(without) == {"api.list_notes", "web.notes", "web.all_notes"}
    assert endpoints(after) == endpoints(without) > {"web.instance", "api.get_me"}
    client = with_notes.test_client()
    assert client.get("/api/v1/notes").get_json() == {"first": "milk"} and client.get("/notes/all").text == "milk"
    document = with_notes.extensions["clawportal_api"].document
    assert "/notes" in document["paths"] and {"name": "Notes", "description": "What people wrote down."} in document["tags"]
    assert "/notes" not in without.extensions["clawportal_api"].document["paths"]
    assert without.test_client().get("/api/v1/notes").status_code == 404


BROKEN = {
    "import": (API, "import no_such_client", "no_such_client"),
    "no permission": (API, "from clawportal.sdk.pages import page\n@page('/n')\ndef n(): return ''", "declares no permission"),
    "taken": (API, "from clawportal.sdk.pages import page, public\n@page('/n')\n@public('x')\ndef login(): 0", "login is there"),
    "operation": ("from clawportal.sdk.api import op\nop('GET', '/n', tags=(), summary='')", PAGES, "needs either a permission"),
    "exit": (API, "raise SystemError('licence')", "licence"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_modules_that_cannot_be_used_leave_nothing_behind(case: str, make: Make) -> None:
    api, pages, said = BROKEN[case]
    app = make("clawportal_echo", "two_apps", **{"": PLUGIN, "_api": api, "_pages": pages})
    registry = portal_of(app).registry
    assert [(fault.plugin, said in fault.message) for fault in registry.faults] == [("two_apps", True)], registry.faults
    assert registry.feature("notes") is None and endpoints(app) == endpoints(make("clawportal_echo"))
    assert app.test_client().get("/healthz").get_json() == {"status": "ok"}
