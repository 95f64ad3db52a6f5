"""All accounts of the portal, for those who administer it."""

from __future__ import annotations

from typing import Any

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from clawportal.contracts.core_permissions import USER_MANAGE
from clawportal.contracts.permissions import PORTAL_ROLES, ROLE_WORDS
from clawportal.errors import Invalid
from clawportal.http.paging import paging
from clawportal.http.security import actor, portal, requires
from clawportal.paging import whole
from clawportal.services.identity import accounts as service
from clawportal.web import auth, pages, rows
from clawportal.web.pages import page
from clawportal.web.words import gettext as _


@page("/accounts")
@requires(USER_MANAGE)
def accounts() -> Response:
    return _page()


def _page(status: int = 200, **context: Any) -> Response:
    page, text = paging(), request.args.get("q", "").strip()[:200]
    found = whole(page, lambda which: service.listing(actor(), text=text, which=which))
    given: dict[str, Any] = {"errors": {}, "values": {}} | context
    answer = make_response(
        render_template(
            "accounts/index.html", accounts=found.items, q=text, page=rows.paged(found, page),
            roles=[(name, words) for name, words in ROLE_WORDS.items() if name in PORTAL_ROLES], **given,
        )
    )  # fmt: skip
    answer.status_code = status
    return answer


@page("/accounts", "POST")
@requires(USER_MANAGE)
def account_create() -> Response:
    """The new password is in this answer and never again."""
    try:
        user, password = service.create(portal(), actor(), request.form.get("name", "").strip(), request.form.get("role", ""))
    except Invalid as problem:
        return _page(422, errors=auth.told(problem.errors), values=request.form)
    return _page(new_member={"name": user.name, "password": password})


@page("/accounts/<user_id>/role", "POST")
@requires(USER_MANAGE)
def account_role(user_id: str) -> Response:
    user = service.set_portal_role(portal(), actor(), user_id, request.form.get("role", ""))
    return pages.moved(_("The role of %(name)s was changed.", name=user.name), url_for("web.accounts"))


@page("/accounts/<user_id>/<any(close, open):verb>", "POST")
@requires(USER_MANAGE)
def account_state(user_id: str, verb: str) -> Response:
    user = service.set_active(portal(), actor(), user_id, verb == "open")
    said = _("The account of %(name)s is open again.") if verb == "open" else _("The account of %(name)s is closed.")
    return pages.moved(said.replace("%(name)s", user.name), url_for("web.accounts"))
