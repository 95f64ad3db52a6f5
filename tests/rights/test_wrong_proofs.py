"""A walk over every route with every proof that must not work: 401, in the same words whether a thing exists or not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask

from clawportal.contracts.core_permissions import CATALOG_READ
from clawportal.contracts.permissions import PORTAL_ROLES, SELF, Permission
from tests.api_operations import OPERATIONS
from tests.conftest import People, make_person
from tests.core_roles import ROLES
from tests.rights.proofs import ended_cookie, refused, with_token
from tests.rights.test_isolation import FAKE, METHODS, ask, example, make_ids, said

LIMITED = {SELF, CATALOG_READ}


def test_no_operation_takes_a_wrong_proof(people: People, portal_app: Flask) -> None:
    ids, proofs = make_ids(people), refused(portal_app, people)
    client = portal_app.test_client()
    for operation in OPERATIONS:
        if operation.permission is None:
            continue
        real, fake = (f"/api/v1{operation.path.format(**{n: k.get(n, 'x') for n in operation.path_names})}" for k in (ids, FAKE))
        body = {"json": example(operation.parameters["body"])} if "body" in operation.parameters else {}
        for what, proof in {"nobody": "", **proofs}.items():
            headers = {"Authorization": f"Bearer {proof}"} if proof else {}
            answer = client.open(real, method=operation.method, headers=headers, **body)
            where = (what, operation.method, operation.path, answer.status_code)
            assert answer.status_code == 401, where
            if real != fake and what in ("nobody", "refresh token", "access token, expired", "api token, revoked"):
                other = client.open(fake, method=operation.method, headers=headers, **body)
                assert said(answer, ids) == said(other, FAKE), where
    assert people.owner.get(f"instances/{ids['instance_id']}").get_json()["generation"] == 1


def test_no_page_takes_a_wrong_proof(people: People, portal_app: Flask) -> None:
    """Nobody is led to the sign-in page, whatever they ask for; changes are refused."""
    ids, proofs, gone = make_ids(people), refused(portal_app, people), ended_cookie(portal_app, people.owner)
    views, nobody = portal_app.view_functions, portal_app.test_client()
    for rule in portal_app.url_map.iter_rules():
        if not rule.endpoint.startswith("web.") or not isinstance(views[rule.endpoint].clawportal_requires, Permission):  # type: ignore[attr-defined]
            continue
        real, fake = (page_path(rule.rule, known) for known in (ids, FAKE))
        for method in sorted(METHODS & (rule.methods or set())):
            for client, headers in [
                (nobody, {}), (gone, {}), *((nobody, {"Authorization": f"Bearer {proof}"}) for proof in proofs.values()),
            ]:  # fmt: skip
                answer = client.open(real, method=method, headers=headers)
                where = (method, rule.rule, answer.status_code, headers)
                assert answer.status_code == 302 and answer.location.startswith("/login"), where
            other = gone.open(fake, method=method)
            assert (other.status_code, other.location.split("?")[0]) == (302, "/login"), (method, rule.rule)


def page_path(rule: str, ids: dict[str, str]) -> str:
    return re.sub(r"<(?:any\((\w+)[^)]*\):|\w+:)?(\w+)>", lambda found: found[1] or ids.get(found[2], "x"), rule)


def test_a_limited_token_is_told_no_whatever_exists(people: People) -> None:
    """A token for something else of a person who may do everything: 403, and the same for what does not exist."""
    ids = make_ids(people)
    made = people.owner.post("tokens", {"name": "narrow", "scopes": sorted(map(str, LIMITED - {SELF}))})
    narrow = with_token(people.owner, made.get_json()["token"])
    walked = 0
    for operation in OPERATIONS:
        if operation.permission in (None, CATALOG_READ):
            continue
        answer = ask(narrow, operation, ids)
        assert answer.status_code == 403, (operation.method, operation.path, answer.status_code)
        assert said(answer, ids) == said(ask(narrow, operation, FAKE), FAKE), operation.path
        walked += 1
    assert walked > 60


@pytest.mark.parametrize("role", [role for role in ROLES if role not in PORTAL_ROLES])
def test_a_lesser_role_reads_nothing_that_it_has_no_right_to(people: People, role: str) -> None:
    """Changes are walked in `test_isolation`."""
    ids, person = make_ids(people), make_person(people.owner.app, "lesser", role, "default")
    for operation in OPERATIONS:
        if operation.method == "GET" and operation.permission not in {None, *ROLES[role]}:
            answer = ask(person, operation, ids)
            assert answer.status_code == 403, (operation.path, answer.status_code)
            assert said(answer, ids) == said(ask(person, operation, FAKE), FAKE), operation.path


def test_a_token_that_is_bound_to_a_network_is_nobody_elsewhere(people: People) -> None:
    ids = make_ids(people)
    made: dict[str, Any] = people.owner.post("tokens", {"name": "office", "addresses": ["192.0.2.0/24"]}).get_json()
    client = people.owner.app.test_client()
    for address, status in (("192.0.2.9", 200), ("198.51.100.9", 401)):
        answer = client.get(
            f"/api/v1/instances/{ids['instance_id']}", headers={"Authorization": f"Bearer {made['token']}"},
            environ_base={"REMOTE_ADDR": address},
        )  # fmt: skip
        assert answer.status_code == status
