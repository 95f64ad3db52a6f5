"""Browsers and programs that sign in, and an authenticator app for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pyotp import TOTP
from werkzeug.test import TestResponse

from clawportal import clock
from tests.conftest import PASSWORD, Person

HERE, ELSEWHERE = "192.0.2.7", "198.51.100.9"
_TOKEN = re.compile(r'<meta name="csrf-token" content="([^"]+)">')


@dataclass
class Browser:
    """A client that sends the CSRF token of the page it saw."""

    client: FlaskClient
    address: str = HERE

    def get(self, path: str) -> TestResponse:
        return self.client.get(path, environ_base={"REMOTE_ADDR": self.address})

    def page(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.headers)
        return answer.get_data(as_text=True)

    def post(self, path: str, data: dict[str, Any] | None = None, *, htmx: bool = False) -> TestResponse:
        for seen in ("/profile", "/login"):
            if found := _TOKEN.search(self.get(seen).get_data(as_text=True)):
                break
        assert found
        headers = {"HX-Request": "true"} if htmx else {}
        sent = {"csrf_token": found[1], **(data or {})}
        return self.client.post(path, data=sent, headers=headers, environ_base={"REMOTE_ADDR": self.address})

    def sign_in(self, name: str = "admin", password: str = PASSWORD, wanted: str = "") -> TestResponse:
        return self.post("/login", {"username": name, "password": password, "next": wanted})

    @property
    def signed_in(self) -> bool:
        return self.get("/profile").status_code == 200


@pytest.fixture
def make_browser(portal_app: Flask) -> Callable[..., Browser]:
    return lambda address=HERE: Browser(portal_app.test_client(), address)


@dataclass
class Program:
    """A client of the API that keeps what it was given."""

    app: Flask
    access: str = ""
    refresh: str = ""
    address: str = HERE
    seen: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> TestResponse:
        token = self.access if token is None else token
        return self.app.test_client().open(
            f"/api/v1/{path}",
            method=method,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            environ_base={"REMOTE_ADDR": self.address},
            **({} if body is None else {"json": body}),
        )

    def sign_in(self, name: str = "admin", password: str = PASSWORD, **more: str) -> TestResponse:
        return self.keep(self.call("POST", "auth/login", {"name": name, "password": password, **more}, token=""))

    def renew(self, text: str | None = None) -> TestResponse:
        return self.keep(self.call("POST", "auth/refresh", {"refresh_token": text or self.refresh}, token=""))

    def keep(self, answer: TestResponse) -> TestResponse:
        if answer.status_code == 200:
            self.seen.append(answer.get_json())
            self.access, self.refresh = self.seen[-1]["access_token"], self.seen[-1]["refresh_token"]
        return answer

    def me(self, token: str | None = None) -> int:
        return self.call("GET", "auth/me", token=token).status_code


@pytest.fixture
def program(portal_app: Flask, admin: Person) -> Program:
    return Program(portal_app)


@dataclass
class App:
    """Somebody's authenticator app."""

    secret: str

    def code(self, steps: int = 0) -> str:
        return TOTP(self.secret).generate_otp(int(clock.now().timestamp()) // 30 + steps)


def set_up_otp(program: Program) -> tuple[App, list[str]]:
    """Switch the second factor on for who is signed in: the app and the backup codes."""
    offer = program.call("POST", "auth/otp/generate").get_json()
    app = App(offer["secret"])
    answer = program.call("POST", "auth/otp/enable", {"code": app.code()})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return app, answer.get_json()["backup_codes"]


@pytest.fixture
def travel() -> Iterator[Callable[[timedelta], None]]:
    """Make the clock jump; it is right again afterwards."""
    gone = timedelta()

    def jump(by: timedelta) -> None:
        nonlocal gone
        gone += by
        clock.travel(by)

    yield jump
    clock.travel(-gone)
    clock.take_jump()
