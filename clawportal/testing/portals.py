"""A portal for the tests of a capability: on a fresh data folder, with the tables that migrations make, and people who ask it.

    def test_a_viewer_reads(tmp_path):
        with trial_portal(tmp_path, "clawportal_notes") as portal:
            assert portal.person("viewer").get("notes").status_code == 200

Nothing works in the background: what is created stays as it is, and a test calls a job's function itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from clawportal.engine.portal import Portal

BUNDLED = ("clawportal_process", "clawportal_echo", "clawportal_policies")
"""Loaded beside what is tested, so that instances can be created and rules be written."""
PASSWORD = "a long enough password"


@dataclass
class TrialPerson:
    """Somebody with an API token."""

    app: Flask
    name: str
    token: str

    def ask(self, method: str, path: str, **options: Any) -> TestResponse:
        """A path without a leading slash is below /api/v1; `json=` is the body."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        path = path if path.startswith("/") else f"/api/v1/{path}"
        return self.app.test_client().open(path, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.ask("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self.ask("POST", path, json=json or {}, **options)

    def instance(self, name: str = "helper") -> str:
        """Id of a new one that nobody starts."""
        answer = self.post("instances", {"name": name, "adapter": "echo", "start": False})
        assert answer.status_code == 201, answer.get_data(as_text=True)
        return str(answer.get_json()["id"])


@dataclass
class TrialPortal:
    app: Flask
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def portal(self) -> Portal:
        return cast("Portal", self.app.extensions["clawportal"])

    def person(self, role: str = "tenant-admin", tenant: str = "default") -> TrialPerson:
        """A new account with a role in an organisation, which is made if it is not there; `portal-admin` needs none."""
        from clawportal.contracts.permissions import PORTAL_ROLES, SYSTEM
        from clawportal.services.identity import identity

        name = f"{role}-{next(self._numbers)}"
        with self.app.app_context():
            where = None if role in PORTAL_ROLES else self._tenant(tenant)
            user = identity.create_user(self.portal, SYSTEM, name, PASSWORD, role=role, tenant=where)
            token = identity.create_token(self.portal, identity.actor_of(self.portal, user), user.id, "tests", None).text
        return TrialPerson(self.app, name, token)

    def _tenant(self, name: str) -> Any:
        from sqlalchemy import select

        from clawportal.contracts.permissions import SYSTEM
        from clawportal.db import db
        from clawportal.models import Tenant
        from clawportal.services.tenancy import tenants

        found = db.session.scalars(select(Tenant).where(Tenant.name == name)).one_or_none()
        return found or tenants.create(self.portal, SYSTEM, name, name.title())

    def differences(self) -> list[str]:
        """What the models say and the migrations do not, of every feature that is loaded; empty is right."""
        from clawportal import histories
        from clawportal.services.system import migrations

        with self.app.app_context():
            states = migrations.check(histories.of(self.portal.registry.features))
        return [f"{state.name}: {one}" for state in states for one in state.differences]


@contextmanager
def trial_portal(folder: Path, *plugins: str, **settings: Any) -> Iterator[TrialPortal]:
    """`plugins`: modules that are tested, or names of entry points."""
    from clawportal import histories
    from clawportal.app import create_app, prepare_rows, stop_jobs
    from clawportal.db import db
    from clawportal.services.system import migrations, portal_settings
    from clawportal.settings import Settings

    names = ",".join((*BUNDLED, *plugins))
    given: dict[str, Any] = {
        "data_dir": folder / "portal",
        "plugins": names,
        "jobs": False,
        "log_level": "warning",
        "rate_limit": "",
    }
    app = create_app(Settings(**given | settings))
    made = TrialPortal(app)
    try:
        with app.app_context():
            migrations.upgrade(histories.of(made.portal.registry.features))
            prepare_rows()
            portal_settings.write(portal_settings.SETUP_DONE, True)
        yield made
    finally:
        stop_jobs(app)
        with app.app_context():
            db.engine.dispose()
