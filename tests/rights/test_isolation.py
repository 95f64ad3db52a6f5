"""A walk over every route that names a thing: members of another tenant cannot reach it, nor learn that it exists.

New routes join by themselves. One with a new kind of id in its path fails here until `ids` knows such a thing.
"""

from __future__ import annotations

import difflib
import html
import re
import types
import typing
from datetime import UTC, datetime
from typing import Any, get_args, get_origin

import pytest
from flask import Flask
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sqlalchemy import select
from werkzeug.test import TestResponse

from clawportal.api._layer import Operation
from clawportal.db import db
from clawportal.models import ApiToken, AuditEntry, Invitation
from clawportal.models import Operation as OperationRow
from clawportal_conversations.models import Conversation, Message
from clawportal_notifications.models import Line
from tests.api_operations import OPERATIONS
from tests.conftest import People, Person, make_cluster, make_people, make_person
from tests.core_roles import ROLES
from tests.single_sign_on.rows import make_provider

NO_THING = {"port", "kind", "path", "file_path", "filename", "action", "verb", "text", "name", "page", "feature"}
"""Parts of a path that name nothing that belongs to a tenant."""
_TOKEN = re.compile(r'<meta name="csrf-token" content="([^"]+)">')
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


@pytest.fixture
def people(portal_app: Flask) -> People:
    return make_people(portal_app)


def make_ids(people: People) -> dict[str, str]:
    """One thing of each kind in the tenant `default`."""
    owner = people.owner
    tenant = owner.get("tenants").get_json()["items"][0]["id"]
    instance = owner.create("secret-name")["id"]
    project = owner.post("projects", {"tenant": tenant, "name": "secret-project"}).get_json()["id"]
    role = owner.post(f"tenants/{tenant}/roles", {"name": "secret-role", "permissions": ["instance.read"]}).get_json()["id"]
    owner.post(f"tenants/{tenant}/invitations", {"role": "viewer", "note": "secret-note"})
    robot = owner.post(f"tenants/{tenant}/service-accounts", {"name": "secret-robot", "role": "viewer"}).get_json()["id"]
    grant = owner.post(f"instances/{instance}/shares", {"member": "viewer", "role": "viewer"}).get_json()["id"]
    rule = {"tenant": tenant, "name": "secret-rule", "kind": "adapters", "parameters": {"allowed": ["*"]}}
    policy = owner.post("policies", rule).get_json()["id"]
    template = {"tenant": tenant, "name": "secret-template", "adapter": "echo", "body": {}}
    config = owner.post("configs", template).get_json()["id"]
    key = {"tenant": tenant, "name": "secret-key", "provider": "openai", "key": "sk-0123456789"}
    credential = owner.post("credentials", key).get_json()["id"]
    share = owner.post(f"instances/{instance}/apps/http/shared-links", {"hours": 1, "note": "secret-link"}).get_json()["id"]
    saved = {"name": "secret-filter", "query": {"state": "failed"}, "tenant": tenant}
    filter_id = owner.post("filters", saved).get_json()["id"]
    cluster = make_cluster(owner.app, "secret-cluster", [tenant])
    with owner.app.app_context():
        provider, group, identity = make_provider(owner, tenant)
        talk = Conversation(tenant_id=tenant, instance_id=instance, user_id=owner.actor.id, title="secret-talk")
        db.session.add(talk)
        db.session.flush()
        message = Message(conversation_id=talk.id, position=1, role="user", user_id=owner.actor.id, text="secret-words")
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        told = Line(user_id=owner.actor.id, interest="instance.failed", seq=1, message="secret-words", first_at=moment, at=moment)
        db.session.add_all([message, told])
        db.session.commit()
        return {
            "provider_id": provider, "group_id": group, "identity_id": identity,
            "config_id": config, "number": "1", "policy_id": policy, "credential_id": credential, "share_id": share,
            "notification_id": told.id, "conversation_id": talk.id, "message_id": message.id,
            "filter_id": filter_id,
            "upload_id": "0" * 26, "item_id": "20261130T153000-0123abcd",  # whoever may not see the claw is not asked for more
            "tenant_id": tenant, "instance_id": instance, "project_id": project, "role_id": role, "grant_id": grant,
            "account_id": robot,
            "user_id": people.viewer.actor.id, "cluster_id": cluster,
            "invitation_id": db.session.scalars(select(Invitation.id)).one(),
            "operation_id": db.session.scalars(select(OperationRow.id)).first() or "",
            "token_id": db.session.scalars(select(ApiToken.id).where(ApiToken.user_id == owner.actor.id)).first() or "",
            "session_id": "0" * 26,
            "seq": str(db.session.scalars(select(AuditEntry.seq).where(AuditEntry.tenant_id == tenant)).first() or 1),
        }  # fmt: skip


_MADE_UP = "01zzzzzzzzzzzzzzzzzzzzzzzz"
_IDS = (
    "notification_id",
    "config_id", "policy_id", "credential_id", "share_id", "conversation_id", "message_id", "upload_id", "item_id",
    "tenant_id", "instance_id", "project_id", "role_id", "grant_id", "user_id", "invitation_id", "operation_id", "token_id",
    "session_id", "account_id", "provider_id", "group_id", "identity_id", "cluster_id", "filter_id",
)  # fmt: skip
FAKE = dict.fromkeys(_IDS, _MADE_UP) | {"seq": "987654321", "number": "1"}


def example(kind: Any) -> Any:
    """Some value of a type, so that a body gets past its schema."""
    origin = get_origin(kind)
    if origin is typing.Literal:
        return get_args(kind)[0]
    if origin in (typing.Union, types.UnionType):
        return example(next(option for option in get_args(kind) if option is not type(None)))
    if origin is dict or kind is dict:
        return {}
    if origin in (list, tuple):
        return [example(get_args(kind)[0])]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {
            name: example(f.annotation)
            for name, f in kind.model_fields.items()
            if f.default is PydanticUndefined and f.is_required()
        }
    return {int: 1, float: 1.0, bool: True}.get(kind, "viewer")


def object_operations() -> list[Operation]:
    return [operation for operation in OPERATIONS if set(operation.path_names) - NO_THING]


def ask(person: Person, operation: Operation, ids: dict[str, str]) -> TestResponse:
    names = {name: ids.get(name, "x") for name in operation.path_names}
    options: dict[str, Any] = {}
    if "body" in operation.parameters:
        kind = operation.accepts[0]
        options = {"json": example(operation.parameters["body"]), "headers": {"Content-Type": kind}}
    if "if_match" in operation.parameters:
        options["headers"] = {**options.get("headers", {}), "If-Match": '"1"'}
    return person.request(operation.method, f"/api/v1{operation.path.format(**names)}", **options)


def said(answer: TestResponse, ids: dict[str, str]) -> tuple[int, str]:
    """An answer without what differs anyway: ids, tokens of the page, the request's own number."""
    text = answer.get_data(as_text=True)
    for value in ids.values():
        text = re.sub(rf"(?<=/){value}\b", "ID", text) if value.isdigit() else text.replace(value, "ID")
    text = re.sub(r'"request_id":\s*"[^"]*"', "", text)
    text = re.sub(r'content="[^"]+"|value="[^"]+"|<code[^>]*>[^<]*</code>|[0-9a-f]{12,}', "", text)
    return answer.status_code, text


def differing(one: tuple[int, str], two: tuple[int, str]) -> list[str]:
    return [line for line in difflib.ndiff(one[1].splitlines(), two[1].splitlines()) if line[:1] in "+-"]


def test_every_id_in_a_path_is_known_to_this_walk(portal_app: Flask) -> None:
    found = {name for rule in portal_app.url_map.iter_rules() for name in rule.arguments}
    assert found - NO_THING <= set(FAKE), "teach the walk what this is"


def test_the_api_hides_everything_from_another_tenant(people: People) -> None:
    ids = make_ids(people)
    walked = 0
    for operation in object_operations():
        real, fake = ask(people.stranger, operation, ids), ask(people.stranger, operation, FAKE)
        where = (operation.method, operation.path, real.status_code, real.get_data(as_text=True)[:300])
        assert real.status_code in (403, 404), where
        assert said(real, ids) == said(fake, FAKE), (where, fake.get_data(as_text=True)[:300])
        assert "secret-" not in real.get_data(as_text=True)
        walked += 1
    assert walked > 40
    untouched = people.owner.get(f"instances/{ids['instance_id']}").get_json()
    assert untouched["generation"] == 1 and untouched["project"]["name"] == "default"
    assert people.owner.get(f"tenants/{ids['tenant_id']}/members").get_json()["total"] == 4


def test_nobody_and_the_revoked_get_401(people: People) -> None:
    ids, client = make_ids(people), people.owner.app.test_client()
    gone = make_person(people.owner.app, "gone", "tenant-admin", "default")
    token = gone.get("tokens").get_json()["items"][0]["id"]
    assert gone.delete(f"tokens/{token}").status_code == 204
    for operation in object_operations():
        path = f"/api/v1{operation.path.format(**{name: ids.get(name, 'x') for name in operation.path_names})}"
        for headers in ({}, {"Authorization": "Bearer clp_nonsense"}, gone.headers):
            if operation.permission is None:
                continue
            options: dict[str, Any] = {"headers": headers}
            if operation.method != "GET" and not headers:
                continue  # without a bearer token a change is refused earlier, for want of a CSRF token
            answer = client.open(path, method=operation.method, **options)
            assert answer.status_code == 401, (operation.method, operation.path, answer.status_code)


@pytest.mark.parametrize("role", ["guest", "viewer", "auditor", "operator", "developer"])
def test_lesser_roles_are_told_no_and_change_nothing(people: People, role: str) -> None:
    """Every change that the role has no right to gives 403 or, where they cannot see the thing, 404."""

    ids = make_ids(people)
    person = make_person(people.owner.app, "lesser", role, "default")
    for operation in object_operations():
        if operation.method == "GET" or operation.permission in ROLES[role]:
            continue
        answer = ask(person, operation, ids)
        assert answer.status_code == 403, (role, operation.method, operation.path, answer.status_code)


def test_the_pages_hide_everything_from_another_tenant(people: People) -> None:
    ids, browser = make_ids(people), people.stranger.browser()
    token = _TOKEN.search(browser.get("/profile").get_data(as_text=True))
    assert token
    form = {
        "csrf_token": html.unescape(token[1]),
        "confirm": "default",
        "title": "x",
        "name": "x",
        "role": "viewer",
        "member": "x",
    }
    walked = 0
    for rule in people.owner.app.url_map.iter_rules():
        if not rule.endpoint.startswith("web.") or not set(rule.arguments) - NO_THING:
            continue
        for method in sorted(METHODS & (rule.methods or set())):
            answers = []
            for known in (ids, FAKE):
                path = re.sub(r"<(?:any\((\w+)[^)]*\):|\w+:)?(\w+)>", lambda m, k=known: m[1] or k.get(m[2], "x"), rule.rule)  # type: ignore[misc]  # bound early
                answer = browser.open(path, method=method, data=form if method == "POST" else None)
                answers.append(said(answer, known))
            where = (method, rule.rule, answers[0][0], answers[0][1][:200])
            assert answers[0][0] in (403, 404), where
            assert answers[0] == answers[1], (where, differing(*answers))
            assert "secret-" not in answers[0][1]
            walked += 1
    assert walked > 30
