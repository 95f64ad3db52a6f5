"""Whatever the OpenAPI document allows, and much that it does not, sent to the portal: no 5xx, and every answer as described.

New operations join by themselves. Each group of operations meets a portal of its own, so that what one of them ends (a session,
an account, an organisation) is missing in no other; inside a group, what takes things away comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api_operations import OPERATIONS
from tests.conftest import PASSWORD, People, Person, make_people
from tests.rights.test_isolation import make_ids

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES = {"admin": 5, "developer": 2, "signed-in": 5}
"""Requests to each operation, of either kind (as described, and not). Who may do less is refused earlier, so fewer are enough."""
GROUPS = sorted({operation.tags[0] for operation in OPERATIONS})
LAST = ("DELETE /auth/sessions", "POST /auth/logout", "DELETE /tokens", "PATCH /users", "DELETE ")
"""What takes away: things of others, then what this person asks with."""


def order(operation: APIOperation[Any, Any, Any, Any]) -> tuple[int, str]:
    label = f"{operation.method.upper()} {operation.path}"
    return next((place for place, start in enumerate(reversed(LAST), 1) if label.startswith(start)), 0), label


def known_things(people: People) -> dict[str, Any]:
    """Real values for names that stand in paths, queries and bodies."""
    ids = make_ids(people)
    return ids | {
        "tenant": ids["tenant_id"], "project": ids["project_id"], "instance": ids["instance_id"], "member": "viewer",
        "role": "viewer", "adapter": "echo", "kind": "echo", "name": "developer", "password": "correct horse battery",
        "confirm": "default", "permissions": ["instance.read"], "generation": 1, "ids": [ids["instance_id"]],
    }  # fmt: skip


def made_real(case: Case, things: Mapping[str, Any], draw: st.DataObject) -> Case:
    """The same request about things that exist, often with the body of the document's example."""
    for name in set(case.path_parameters or ()) & set(things):
        case.path_parameters[name] = things[name]
    if isinstance(case.body, dict):
        known = {operation.name: operation.example for operation in OPERATIONS}
        example = known.get(case.operation.definition.raw["operationId"]) or {}
        kept = draw.draw(st.sets(st.sampled_from(sorted(case.body)))) if case.body else set()
        case.body = {**example, **{name: value for name, value in case.body.items() if name in kept or name not in example}}
    for part in (case.query, case.body):
        if isinstance(part, dict):
            part.update({name: things[name] for name in part.keys() & things.keys() if draw.draw(st.booleans())})
    return case


def asking(app: Flask, people: People, who: str) -> dict[str, str]:
    """By what a person is known: an API token, or for `signed-in` the access token of the administrator."""
    if who != "signed-in":
        person: Person = getattr(people, who)
        return person.headers
    login = {"name": "admin", "password": PASSWORD}
    token = app.test_client().post("/api/v1/auth/login", json=login).get_json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("group", "who"), [*((group, who) for group in GROUPS for who in ("admin", "developer")), ("Account", "signed-in")]
)
def test_no_request_is_too_much(make_app: Callable[..., Flask], group: str, who: str) -> None:
    app = make_app(rate_limit="")
    people = make_people(app)
    things, headers = known_things(people), asking(app, people, who)
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app, headers=headers)
    found: dict[tuple[str, str], str] = {}
    for operation in sorted((item.ok() for item in schema.include(tag=group).get_all_operations()), key=order):
        for mode in GenerationMode:
            walk(operation, mode, EXAMPLES[who], things, headers, found)
    assert not found, "\n\n".join(f"{where} {title}\n{text}" for (where, title), text in found.items())


def walk(
    operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, examples: int, things: Mapping[str, Any],
    headers: dict[str, str], found: dict[tuple[str, str], str],
) -> None:  # fmt: skip
    @seed(1)
    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans(), draw=st.data())
    def once(case: Case, real: bool, draw: st.DataObject) -> None:
        if real:
            made_real(case, things, draw)
        try:
            case.call_and_validate(headers=headers, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                found.setdefault((operation.label, failure.title), str(group))

    try:
        once()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, operation.label  # without parameters there is nothing to get wrong
