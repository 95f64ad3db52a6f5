"""A claw with files that nobody started, and what people do with them by the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from clawportal.db import db, transaction
from clawportal.models import Instance
from tests.conftest import People, Person, make_people, portal_of

KEY = "sk-only-the-claw-knows"
PLAN = (
    {"path": "config.json", "root": "state", "content": "{}", "mode": 0o600, "policy": "always"},
    {"path": "deep/owned.md", "root": "work", "content": "", "mode": 0o600, "policy": "always"},
    {"path": "SOUL.md", "root": "work", "content": "", "mode": 0o600, "policy": "seed_once"},
)


@dataclass
class Claw:
    id: str
    folder: Path
    people: People

    def url(self, tail: str = "") -> str:
        return f"instances/{self.id}/files{tail}"

    def do(self, who: Person, verb: str, **body: Any) -> TestResponse:
        return who.post(self.url(f"/{verb}"), body)

    def get(self, who: Person, tail: str, **query: str) -> TestResponse:
        text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        return who.get(f"{self.url(tail)}?{text}")

    def tree(self, root: str = "work") -> list[str]:
        """What is in a root, but for the portal's own folder."""
        found = (path.relative_to(self.folder / root).as_posix() for path in (self.folder / root).rglob("*"))
        return sorted(path for path in found if not path.startswith(".clawportal"))

    def events(self) -> list[tuple[str, str]]:
        items = self.people.owner.get(f"instances/{self.id}/events").get_json()["items"]
        return [(item["kind"], item["message"]) for item in items if item["kind"].startswith("instance.file")]


def make_claw(people: People, name: str = "helper") -> Claw:
    app = people.admin.app
    made = people.owner.create(name, secrets={"model_api_key": KEY})["id"]
    with app.app_context(), transaction():
        row = db.session.get_one(Instance, made)
        row.workload = json.loads(json.dumps({"files": PLAN, "processes": [], "ports": {}, "artifacts": []}))
    folder = Path(portal_of(app).settings.data_dir) / "clusters" / "local" / "instances" / made
    for path in ("home/.profile", "state/config.json", "state/tokens.json", "work/deep/owned.md", "work/SOUL.md"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{path} with {KEY}")
    (folder / "work" / "notes").mkdir()
    (folder / "work" / "notes" / "plan.md").write_text("one\ntwo\n")
    return Claw(made, folder, people)


@pytest.fixture
def people(make_app: Callable[..., Flask]) -> People:
    return make_people(make_app(upload_mib=16))


@pytest.fixture
def claw(people: People) -> Claw:
    return make_claw(people)
