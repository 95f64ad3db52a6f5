"""What programs call things never reaches a page: actions, fields, values, reasons, and refusals of the framework."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import pytest
from flask import Flask

from clawportal import hookimpl
from clawportal.catalogues import CORE, Catalogues
from clawportal.contracts.features import EventKind, Feature, Resource
from clawportal.http import audited, forms
from clawportal.http.audited import What, told_as
from clawportal.messages import _m
from clawportal.web import audit_words, words
from tests.conftest import portal_of


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("spec.model.name", "Model"), ("name", "Name"), ("labels", "Labels"), ("user_id", "Account"),
        ("labels.a.b/c_d", "Labels: a.b/c_d"), ("language", "Language"),
        ("spec.settings.greeting", "Greeting"), ("settings.tls_ca", "CA certificate"),
        ("tenant[default].title", "Organisation default · Title"), ("setting[setup_done].value", "Setting “Setup done” · Value"),
        ("some_unknown.thing_of_ours", "Some unknown thing of ours"),
    ],
)  # fmt: skip
def test_a_field_is_called_as_in_its_form(portal_app: Flask, path: str, title: str) -> None:
    with portal_app.test_request_context():
        assert audit_words.field(path) == title


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (True, "yes"), (False, "no"), (None, ""), (["a", "b"], "a, b"), ("********", "hidden"),
        ("******** (changed)", "another one"), ("01id", "Kim"), (3, "3"), ("plain", "plain"),
    ],
)  # fmt: skip
def test_a_value_is_told_as_people_say_it(portal_app: Flask, raw: object, said: str) -> None:
    with portal_app.test_request_context():
        assert audit_words.value(raw, {"01id": "Kim"}) == said
        assert "2026" in audit_words.value("2026-11-30T05:54:40.997561+00:00") and "T05" not in audit_words.value(
            "2026-11-30T05:54:40.997561+00:00"
        )


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("cluster.create", "Create cluster edge"), ("member.remove", "Remove member edge"), ("policy.update", "Change rule edge"),
        ("file.upload", "Upload to file edge"), ("nobody.frobnicate", ""),
        ("user.change", "Change account edge"),
    ],
)  # fmt: skip
def test_an_action_has_a_verb(portal_app: Flask, action: str, said: str) -> None:
    with portal_app.test_request_context():
        assert audit_words.action(action, "edge") == said


def test_a_field_may_be_called_otherwise_in_another_thing(portal_app: Flask) -> None:
    notes = Feature(name="notes", title="Notes", resources=(Resource("", "note", key="note", titles={"scopes": "Readers"}),))
    registry = portal_of(portal_app).registry
    registry.add("notes", SimpleNamespace(register_features=hookimpl(lambda: [notes])))
    registry.settle()
    with portal_app.test_request_context():
        assert audit_words.field("scopes", "note") == "Readers" and audit_words.field("note[milk].scopes").endswith("· Readers")
        assert audit_words.field("scopes") == audit_words.field("scopes", "token") == "Rights"


class Notes:
    @hookimpl
    def register_features(self) -> Iterable[Feature]:
        note = Resource("", "leaflet", key="leaflet")
        events = (EventKind("leaflet.pinned", "A leaflet was pinned", action="Pin {thing} to the wall"),)
        return [Feature(name="notes", title="Notes", resources=(note,), events=events)]


def test_a_feature_brings_its_nouns_and_actions(portal_app: Flask) -> None:
    registry = portal_of(portal_app).registry
    with portal_app.test_request_context():
        assert (
            audit_words.action("leaflet.pinned", "milk") == ""
            and audit_words.action("leaflet.create", "milk") == "Create Leaflet milk"
        )
        registry.add("notes", Notes())
        registry.settle()
        assert audit_words.action("leaflet.pinned", "milk") == "Pin leaflet milk to the wall"
        assert audit_words.action("leaflet.create", "milk") == "Create leaflet milk"
        registry.without("notes")
        assert audit_words.action("leaflet.pinned", "milk") == ""


def test_a_reason_is_two_words(portal_app: Flask) -> None:
    with portal_app.test_request_context():
        assert [words.reason(text) for text in ("CrashLoop", "ConfigRefused", "Running", "", "it says so")] == [
            "Crash loop", "Config refused", "Running", "", "it says so",
        ]  # fmt: skip


@pytest.mark.parametrize("name", ["stopped", "deleted", "Deleted"])
def test_a_claw_keeps_its_name_in_every_language(name: str) -> None:
    """Also where its name is a word of ours."""
    said = Catalogues([CORE]).text(_m("%(name)s: start was asked for.", name=name), "zh_Hans")
    assert name in said and "asked for" not in said


PAIRS = {"type": "object", "additionalProperties": {"type": "string"}}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("a=1\nb = two words \n\n", {"a": "1", "b": "two words"}), ("url=http://x/?a=b", {"url": "http://x/?a=b"}),
        ('{"a": "1"}', {"a": "1"}), ("empty=", {"empty": ""}),
    ],
)  # fmt: skip
def test_names_and_texts_are_lines(typed: str, meant: dict[str, str]) -> None:
    assert forms._object(typed, PAIRS, {}) == meant


def test_a_line_without_a_sign_is_named(portal_app: Flask) -> None:
    with portal_app.test_request_context(), pytest.raises(ValueError, match="“region” is not"):
        forms._object("zone=a\nregion", PAIRS, {})


def test_a_view_says_what_its_refusals_are_called() -> None:
    app = Flask(__name__)
    app.add_url_rule("/notes/<note_id>/board", view_func=told_as("note.pin")(lambda note_id: ""), methods=["POST"])
    app.add_url_rule("/notes/<note_id>/wall", view_func=lambda note_id: "", methods=["POST"], endpoint="wall")
    with app.test_request_context("/notes/7/board", method="POST"):
        assert audited.what() == What("note.pin", "note", "7")
    with app.test_request_context("/notes/7/wall", method="POST"):
        assert audited.what() == What("note.wall", "note", "7")
