"""What the audit learns from a request: where it came from, and that it was refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, Response, before_render_template, current_app, g, has_request_context, request, session

from clawportal import origin
from clawportal.contracts.core_permissions import INSTANCE_READ, TENANT_READ
from clawportal.contracts.permissions import Actor, Scope
from clawportal.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    Problem,
    TooManyRequests,
    Unauthenticated,
)
from clawportal.http.security import current_actor, portal
from clawportal.messages import joined
from clawportal.models import Instance
from clawportal.services.audit import refusals, trail
from clawportal.services.audit.trail import NOBODY, REFUSED, Pending
from clawportal.services.identity import clients, identity
from clawportal.services.rights import access

log = logging.getLogger(__name__)

_REASONS = {
    kind.status: kind.title
    for kind in (
        Unauthenticated, Forbidden, NotFound, Conflict, PreconditionFailed, Invalid, PreconditionRequired, TooManyRequests
    )
}  # fmt: skip
"""Answers to a changing request that are told, with the reason where nobody gave one. 400 is not: nobody can tell what was
meant, but for `csrf`."""
_TOLD_AS = "clawportal_told_as"
_METHODS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
_VERBS = {"new": "create", "edit": "update"}
_DRY = frozenset({"check", "preview", "dry-run"})
"""Last parts of addresses that only look."""
_SIGN_IN = frozenset({"/login", "/login/code", "/auth/login", "/auth/token", "/auth/otp/verify"})
_SIGN_OUT = frozenset({"/logout", "/auth/logout"})
PASSED = "passed_first_step"
"""Where a browser's session keeps the proof of the first step of signing in."""
_NOUNS = {"profile": "user", "settings": "portal", "about": "portal"}


V = TypeVar("V", bound=Callable[..., Any])


def told_as(action: str) -> Callable[[V], V]:
    """What the audit calls a refused request to a view, such as `note.pin`, where its address says something else."""

    def decorate(view: V) -> V:
        setattr(view, _TOLD_AS, action)
        return view

    return decorate


def init_app(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(_end)
    before_render_template.connect(_note_reason, app)


def _note_reason(_app: Flask, context: dict[str, Any], **_more: Any) -> None:
    """A form that comes back with its errors is a refusal, too, and they are the reason."""
    if has_request_context() and isinstance(errors := context.get("errors"), dict) and any(errors.values()):
        g.refused_because = joined(filter(None, errors.values()), "; ")


def _begin() -> None:
    via = "api" if request.path.startswith("/api/") else "web"
    agent = request.user_agent.string
    origin.begin(origin.Origin(via, request.remote_addr or "", agent, g.get("request_id", ""), who=current_actor))


def _end(_error: BaseException | None) -> None:
    origin.begin(None)


def _finish(answer: Response) -> Response:
    """Never in the way of the answer: what cannot be told goes to the log."""
    try:
        held = portal().part(refusals.Refusals)
        entry = _refusal(answer)
        refusals.write(held.add(entry) if entry is not None else held.due())
    except Exception:
        log.exception("a refused attempt could not be written into the audit")
    return answer


def _refusal(answer: Response) -> Pending | None:
    if request.method not in _METHODS or request.url_rule is None:
        return None
    problem = g.get("problem")
    status = answer.status_code
    code = getattr(problem, "code", "")
    if (status not in _REASONS and code != "csrf") or code == "otp_required":
        return None  # the password was right, and the code is asked for next
    told = what()
    if told is None:
        return None
    actor = _asker()
    reason = problem.detail if isinstance(problem, Problem) else g.get("refused_because") or _REASONS[status]
    entry = Pending(told.action, actor, told.noun, told.object_id, summary=f"{request.method} {request.path}", result=REFUSED,
                    status=status, reason=reason, origin=origin.current())  # fmt: skip
    if told.action == "sign_in":
        _name_of_sign_in(entry)
    else:
        _place(entry, actor)
    return entry


def _asker() -> Actor:
    return current_actor() or NOBODY


@dataclass(frozen=True)
class What:
    """What a request is about to do, in the words of the audit."""

    action: str
    noun: str
    object_id: str = ""


def what() -> What | None:
    """Read off the address; None for what changes nothing."""
    rule = str(request.url_rule).removeprefix("/api/v1")
    if rule in _SIGN_IN:
        return What("sign_in", "user")
    if rule in _SIGN_OUT:
        return What("sign_out", "session")
    parts = [part for part in rule.split("/") if part and part != "auth"]
    named = [part for part in parts if not part.startswith("<")]
    if not named or named[-1] in _DRY:
        return None
    given = request.view_args or {}
    ids = [str(value) for name, value in given.items() if name.endswith("_id") or name in ("name", "id")]
    if told := getattr(current_app.view_functions.get(request.endpoint or ""), _TOLD_AS, ""):
        return What(told, told.partition(".")[0], ids[-1] if ids else "")
    verb = str(given.get("action", "")) or _verb(parts, named)
    nouns = [part for part in named if part != verb]
    noun = _noun(nouns[-1] if nouns else named[0])
    return What(f"{noun}.{_VERBS.get(verb, verb) or _METHODS[request.method]}".replace("-", "_"), noun, ids[-1] if ids else "")


def _verb(parts: list[str], named: list[str]) -> str:
    """The last word of `POST /instances/<id>/start`; none where it names a list, as in `/tenants/<id>/members`."""
    last = parts[-1]
    is_verb = request.method == "POST" and len(named) > 1 and last == named[-1] and not last.endswith("s")
    return last if is_verb else ""


def _noun(word: str) -> str:
    singular = f"{word[:-3]}y" if word.endswith("ies") else word.removesuffix("s")
    return _NOUNS.get(word, singular).replace("-", "_")


def _place(entry: Pending, actor: Actor) -> None:
    """Name and tenant of the object, as far as who asks may see it; else it is told where they belong themselves."""
    given = request.view_args or {}
    instance_id, tenant_id = given.get("instance_id"), given.get("tenant_id")
    if instance_id and actor is not NOBODY:
        try:
            row = access.get_or_404(Instance, instance_id, actor, INSTANCE_READ)
        except Problem:
            return
        entry.tenant_id, entry.instance_id = row.tenant_id, row.id
        entry.object_name = row.name if entry.object_type == "instance" else ""
    elif tenant_id and actor.allows(TENANT_READ, Scope(tenant_id)):
        entry.tenant_id = tenant_id
    if not entry.object_name and entry.action.endswith(".create"):
        entry.object_name = _sent("name")[:63]


def _name_of_sign_in(entry: Pending) -> None:
    """Only names that exist: people type passwords into the wrong field."""
    name = _sent("username") or _sent("name")
    try:
        user = identity.find_user(name) if name else clients.challenged(portal(), _sent("challenge") or session.get(PASSED, ""))
    except Problem:
        return
    entry.object_id, entry.object_name = user.id, user.name
    entry.tenant_id = trail.tenant_of(Actor(user.id, user.name))


def _sent(name: str) -> str:
    if request.is_json:
        document = request.get_json(silent=True)
        value = document.get(name) if isinstance(document, dict) else None
        return value if isinstance(value, str) else ""
    return request.form.get(name, "")
