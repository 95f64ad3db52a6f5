"""Settings that may change while the portal runs: what outranks what, and what cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pydantic import BaseModel

from clawportal import declarations
from clawportal.contracts.extensions import STORED_SETTINGS
from clawportal.contracts.features import Feature
from clawportal.engine import current_settings
from clawportal.engine.portal import Portal
from clawportal.messages import Message
from tests.conftest import portal_of, wait_for

STORED: dict[str, Any] = {}


def stored(_portal: Portal) -> dict[str, Any]:
    return STORED


def broken(_portal: Portal) -> dict[str, Any]:
    raise RuntimeError("no table")


@pytest.fixture
def portal(make_app: Callable[..., Flask]) -> Iterator[Portal]:
    """Inside of its app context, as whoever asks for what is stored."""
    STORED.clear()
    app = make_app(event_days=7)
    found = portal_of(app)
    feature = Feature("keeper", "Keeper", extra={STORED_SETTINGS: (f"{__name__}:stored",)})
    found.registry.features = (*found.registry.features, feature)
    with app.app_context():
        yield found


def value(portal: Portal, name: str) -> Any:
    setting = portal.current.find(name)
    assert setting is not None
    found = getattr(portal.settings if setting.feature is None else portal.section(setting.model), setting.field)
    assert portal.current.value(setting) == found
    return found


def test_a_stored_value_holds_at_once_also_of_a_feature(portal: Portal) -> None:
    STORED.update({"session_hours": 2, "files.trash_days": "9"})
    current_settings.look(portal)
    assert portal.settings.session_hours == 2.0 and value(portal, "files.trash_days") == 9
    for name in STORED:
        setting = portal.current.find(name)
        assert setting is not None and portal.current.source(setting) == "page"
    STORED.clear()
    current_settings.look(portal)
    assert portal.settings.session_hours == 12.0 and value(portal, "files.trash_days") == 30


def test_what_the_portal_was_started_with_outranks_it(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "settled"
    folder.mkdir()
    folder.joinpath("clawportal.toml").write_text("session_hours = 3\n[files]\ntrash_days = 4\n")
    monkeypatch.setenv("CLAWPORTAL_FILES_EDIT_KIB", "17")
    portal = portal_of(make_app(data_dir=folder, event_days=7))
    portal.settings = portal.current.use(
        {"session_hours": 2, "files.trash_days": 9, "files.edit_kib": 5, "event_days": 1, "upload_mib": 3}
    )
    names = ("session_hours", "files.trash_days", "files.edit_kib", "event_days", "upload_mib", "destroyed_days")
    assert [value(portal, name) for name in names] == [3.0, 4, 17, 7, 3, 14]
    found = [portal.current.source(setting) for name in names if (setting := portal.current.find(name))]
    assert found == ["file", "file", "environment", "command", "page", "default"]


def test_what_this_version_cannot_use_is_left_out_and_named(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    STORED.update({"session_hours": "soon", "upload_mib": -5, "destroyed_days": 3, "gone.days": 1, "port": 1})
    with caplog.at_level(logging.WARNING):
        current_settings.look(portal)
        current_settings.look(portal)
    assert (portal.settings.session_hours, portal.settings.upload_mib, portal.settings.destroyed_days) == (12.0, 1024, 3)
    assert portal.settings.port != 1, "it does not change without a restart"
    assert set(portal.current.faults) == {"session_hours", "upload_mib"}
    said = [record.getMessage() for record in caplog.records if "stored" in record.getMessage()]
    assert len(said) == 3 and "session_hours" in said[0] and "gone.days" in said[2], "each once"


def test_where_nothing_can_be_read_what_held_holds_on(portal: Portal) -> None:
    STORED["session_hours"] = 2
    current_settings.look(portal)
    feature = Feature("breaks", "Breaks", extra={STORED_SETTINGS: (f"{__name__}:broken",)})
    portal.registry.features = (*portal.registry.features, feature)
    current_settings.look(portal)
    assert portal.settings.session_hours == 2.0


def test_a_value_is_judged_by_its_type_and_by_what_stands_beside_it(portal: Portal) -> None:
    setting = portal.current.find("upload_mib")
    assert setting is not None
    assert portal.current.judge(setting, "12") == (12, [])
    made, errors = portal.current.judge(setting, 0)
    assert made is None and [error.path for error in errors] == ["value"] and "1" in errors[0].message


def test_a_process_looks_again_and_again(portal: Portal, make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_settings, "EVERY", 0.02)
    app = make_app()
    thread = current_settings.follow(portal, app.app_context)
    STORED["session_hours"] = 5
    wait_for(lambda: portal.settings.session_hours == 5.0, what="the new value")
    portal.stopping.set()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_each_changeable_setting_has_words_for_people_and_is_no_secret(portal: Portal) -> None:
    marked = 0
    models: list[tuple[str, type[BaseModel]]] = [("", type(portal.settings))]
    models += [(one.name, declarations.resolve(one.settings)) for one in portal.registry.features if one.settings]
    for setting in portal.current.everything():
        extra = setting.info.json_schema_extra
        if isinstance(extra, dict) and extra.get("x-changeable"):
            marked += 1
            assert isinstance(setting.info.title, Message) and isinstance(setting.info.description, Message), setting.name
            assert not setting.secret and portal.current.judge(setting, setting.default)[1] == [], setting.name
    assert marked > 15
    assert {setting.name for setting in portal.current.everything()} == {
        f"{feature}.{field}" if feature else field for feature, model in models for field in model.model_fields
    }
