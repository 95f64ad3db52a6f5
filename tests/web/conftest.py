"""A browser without a screen: a signed-in client that sends the CSRF token of the page it saw."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from tests.conftest import Person

HTMX = {"HX-Request": "true"}
_TOKEN = re.compile(r'<meta name="csrf-token" content="([^"]+)">')
_FIELD = re.compile(r"<(input|textarea|select)\b([^>]*)>(?:(.*?)</\1>)?", re.S)
_ATTRIBUTE = re.compile(r'([\w.-]+)(?:="([^"]*)")?')


@dataclass
class Browser:
    client: FlaskClient

    def get(self, path: str, *, htmx: bool = False, **options: Any) -> TestResponse:
        return self.client.get(path, headers=HTMX if htmx else {}, **options)

    def page(self, path: str, *, htmx: bool = False, status: int = 200) -> str:
        answer = self.get(path, htmx=htmx)
        text = answer.get_data(as_text=True)
        assert answer.status_code == status, (path, answer.status_code, answer.headers, text[-2000:])
        return text

    def token(self) -> str:
        pages = (self.client.get(path).get_data(as_text=True) for path in ("/profile", "/login", "/setup"))
        return next(found[1] for page in pages if (found := _TOKEN.search(page)))

    def post(self, path: str, data: dict[str, Any] | MultiDict[str, str] | None = None, *, htmx: bool = False) -> TestResponse:
        sent: MultiDict[str, Any] = MultiDict(data or {})
        sent.setdefault("csrf_token", self.token())
        return self.client.post(path, data=sent, headers=HTMX if htmx else {})


def form_of(page: str) -> MultiDict[str, str]:
    """What a browser would send of the form with the id `instance-form`, untouched."""
    inside = page[page.index('id="instance-form"') :]
    inside = inside[: inside.index("</form>")]
    found: MultiDict[str, str] = MultiDict()
    for tag, raw, body in _FIELD.findall(inside):
        attributes = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(raw)}
        name, kind = attributes.get("name"), attributes.get("type", "text")
        if not name or (kind in ("checkbox", "radio") and "checked" not in attributes):
            continue
        if tag == "textarea":
            found.add(name, html.unescape(body))
        elif tag == "select":
            found.add(name, _selected(body))
        else:
            found.add(name, attributes.get("value", ""))
    return found


def _selected(options: str) -> str:
    values = re.findall(r'<option value="([^"]*)"([^>]*)>', options)
    chosen = [value for value, more in values if "selected" in more]
    return html.unescape((chosen or [value for value, _more in values] or [""])[0])


def trigger_of(answer: TestResponse) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.headers["HX-Trigger"])
    return found


def errors_of(answer: TestResponse) -> dict[str, str]:
    """The errors that the form's scripts would show."""
    text = answer.get_data(as_text=True)
    found = re.search(r"data-errors='([^']*)'", text)
    assert found, text[:500]
    errors: dict[str, str] = json.loads(html.unescape(found[1]))
    return errors


@pytest.fixture
def browse() -> Callable[[Person], Browser]:
    return lambda person: Browser(person.browser())


@pytest.fixture
def nobody(portal_app: Flask) -> Browser:
    return Browser(portal_app.test_client())
