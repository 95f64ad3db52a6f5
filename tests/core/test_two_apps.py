"""Apps with different plugins live in one process, and a plugin whose modules cannot be used leaves nothing behind."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask, g

from clawportal.app import create_app, start_jobs, stop_jobs
from clawportal.contracts.permissions import SYSTEM
from clawportal.engine.portal import Portal
from clawportal.jobs import retention
from clawportal.settings import Settings, Unreadable
from clawportal.web import menu
from tests.conftest import make_tables
from tests.core.world import eventually

PLUGIN = """
    from clawportal.contracts.core_permissions import INSTANCE_READ
    from clawportal.sdk import hookimpl
    from clawportal.sdk.features import ApiTag, Card, Feature, Job, NavLink, Tab

    @hookimpl
    def register_features():
        work = "two_apps.work:"
        return [Feature(
            "notes", "Notes", package="two_apps", requires=("instances",), api_tags=(ApiTag("Notes", "What people wrote down."),),
            api=("two_apps.api",), pages=("two_apps.pages",), settings="two_apps.work:NoteSettings",
            nav=(NavLink("Notes", "web.notes", order=15), NavLink("Elsewhere", href="https://notes.example")),
            instance_tabs=(Tab("notes", "Notes", "web.instance_notes", "book", INSTANCE_READ),),
            cards=(Card("good", work + "card", INSTANCE_READ), Card("bad", work + "bad_card", INSTANCE_READ)),
            jobs=(Job("look", work + "look_once", every=600, on="each", at_start=True),
                  Job("fail", work + "fail_once", every=0.05, on="each")),
            forget=(work + "fail_once",), prepare=(work + "prepare",), on_start=(work + "fail_once", work + "start",),
            on_stop=(work + "stop",),
        )]
"""
API = """
    from clawportal.sdk.api import op

    @op("GET", "/notes", public="everybody may", tags=("Notes",), summary="Notes")
    def list_notes() -> dict[str, str]:
        return {"first": "milk"}
"""
PAGES = """
    from flask import render_template
    from clawportal.sdk.pages import page, public

    @page("/notes")
    @page("/notes/all", endpoint="all_notes")
    @public("everybody may")
    def notes():
        return render_template("notes/list.html")

    @page("/instances/<instance_id>/notes")
    @public("everybody may")
    def instance_notes(instance_id):
        return ""
"""
WORK = """
    from markupsafe import Markup
    from pydantic import BaseModel, Field

    done = []

    class NoteSettings(BaseModel):
        most: int = Field(10, ge=1, description="Notes on a page.")

    def card(actor): return Markup("<p>card</p>")
    def bad_card(actor): raise RuntimeError("no card")
    def look_once(portal): done.append(("look", portal.section(NoteSettings).most))
    def fail_once(portal):
        done.append("fail")
        raise RuntimeError("never works")
    def prepare(portal): done.append("prepare")
    def start(portal): done.append("start")
    def stop(portal): done.append("stop")
"""
MODULES = {"__init__": PLUGIN, "api": API, "pages": PAGES, "work": WORK}
Make = Callable[..., Flask]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """An app with the plugins that are named. The package `two_apps` is made of these modules, with those of `code` instead."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("CLAWPORTAL_PLUGINS", raising=False)
    package = tmp_path / "two_apps"
    for folder in ("templates/notes", "static"):
        (package / folder).mkdir(parents=True)
    (package / "templates/notes/list.html").write_text("{{ asset('notes:notes.css') }} {{ asset('app.css') }}")
    (package / "static/notes.css").write_text("p { color: red }")

    def app_of(*plugins: str, code: dict[str, str] | None = None, toml: str = "") -> Flask:
        for name, text in (MODULES | (code or {})).items():
            (package / f"{name}.py").write_text(textwrap.dedent(text))
        folder = tmp_path / "-".join(plugins)
        folder.mkdir(exist_ok=True)
        (folder / "clawportal.toml").write_text(toml)
        app = create_app(Settings(data_dir=folder, plugins=",".join(plugins), port_range="26000-26100"))
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
    with_notes = make("clawportal_echo", "two_apps")
    after = make("clawportal_echo")
    brought = {"api.list_notes", "web.notes", "web.all_notes", "web.instance_notes", "web.feature_file"}
    assert endpoints(with_notes) - endpoints(without) == brought
    assert endpoints(after) == endpoints(without) > {"web.instance", "api.get_me"}
    assert with_notes.test_client().get("/api/v1/notes").get_json() == {"first": "milk"}
    assert without.test_client().get("/api/v1/notes").status_code == 404
    document = with_notes.extensions["clawportal_api"].document
    assert "/notes" in document["paths"]
    assert {"name": "Notes", "description": "What people wrote down."} in document["tags"]
    assert "/notes" not in without.extensions["clawportal_api"].document["paths"]


def test_templates_and_files_of_a_feature(make: Make) -> None:
    app = make("clawportal_echo", "two_apps")
    client = app.test_client()
    own, core = client.get("/notes/all").text.split()
    assert own.startswith("/static/notes/notes.css?v=") and core.startswith("/static/app.css?v=")
    answer = client.get(own)
    assert answer.text == "p { color: red }" and "immutable" in answer.headers["Cache-Control"]
    assert (
        client.get("/static/notes/../../work.py").status_code == 404 and client.get("/static/notes/none.css").status_code == 404
    )
    assert client.get(core).status_code == 200


def test_menu_tabs_and_cards(make: Make) -> None:
    app = make("clawportal_echo", "two_apps")
    with app.test_request_context("/"):
        g.actor = SYSTEM
        found = {link.title: link.href for link in menu.Menu(None).section("work")}
        assert list(found.items())[:2] == [("Home", "/"), ("Notes", "/notes")] and found["Elsewhere"] == "https://notes.example"
        assert menu.cards("home") == ["<p>card</p>"] and menu.cards("nowhere") == []
    assert "notes" in {tab.name for feature in portal_of(app).registry.features for tab in feature.instance_tabs}
    assert [fault.message for fault in portal_of(app).registry.faults] == ["Its card 'bad' failed: RuntimeError('no card')."]


def test_work_of_a_feature_in_order_and_without_harm(make: Make) -> None:
    app = make("clawportal_echo", "two_apps", toml="[notes]\nmost = 3\n")
    done = importlib.import_module("two_apps.work").done
    assert start_jobs(app, exclusive=True) is not None
    assert done[:3] == ["prepare", "fail", "start"]
    eventually(lambda: ("look", 3) in done and done.count("fail") > 3, "the jobs run, also after one failed")
    with app.app_context():
        asked = done.count("fail")
        retention.forget_once(portal_of(app))  # the failure of one feature does not keep the others from theirs
        assert done.count("fail") > asked
    stop_jobs(app)
    assert done[-1] == "stop"
    assert [fault.plugin for fault in portal_of(app).registry.faults] == ["two_apps"]


def test_a_wrong_setting_of_a_feature_stops_the_start(make: Make) -> None:
    with pytest.raises(Unreadable, match="CLAWPORTAL_NOTES_MOST"):
        make("clawportal_echo", "two_apps", toml="[notes]\nmost = 0\n")


PAGE = "from clawportal.sdk.pages import page, public\n"
BROKEN = {
    "import": ({"pages": "import no_such_client"}, "no_such_client"),
    "exit": ({"pages": "raise SystemExit('licence')"}, "licence"),
    "no permission": ({"pages": f"{PAGE}@page('/n')\ndef n(): return ''"}, "declares no permission"),
    "taken": ({"pages": f"{PAGE}@page('/n')\n@public('x')\ndef login(): return ''"}, "login is there already"),
    "link": ({"pages": f"{PAGE}@page('/n')\n@public('x')\ndef n(): return ''"}, "'web.notes', which is no page"),
    "operation": ({"api": "from clawportal.sdk.api import op\nop('GET', '/n', tags=(), summary='')"}, "needs either"),
    "settings": ({"work": ""}, "NoteSettings"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_modules_that_cannot_be_used_leave_nothing_behind(case: str, make: Make) -> None:
    code, said = BROKEN[case]
    app = make("clawportal_echo", "two_apps", code=code)
    registry = portal_of(app).registry
    assert [(fault.plugin, said in fault.message) for fault in registry.faults] == [("two_apps", True)], registry.faults
    assert registry.feature("notes") is None and endpoints(app) == endpoints(make("clawportal_echo"))
    assert app.test_client().get("/healthz").get_json() == {"status": "ok"}
