"""Pages: views marked with `page`, each below `requires(...)` or `public(why)`.

    @page("/skills/<skill_id>")
    @requires(SKILL_READ)
    def skill(skill_id: str) -> str:
        return render_template("skills/skill.html", skill=services.get(actor(), skill_id))

Templates extend `base.html`, set `section` to the `page` of their menu link, and may import `_macros.html`. A view answers the
whole page, or its live part where `fragment()` says that htmx asks for one. A change answers with `changed(...)` or `moved(...)`.

A tab of an instance is a page with `instance_id` whose template extends `instances/show.html`, sets `tab` to the name of the
`Tab`, fills the block `tab`, and gets `**frame(instance)` as context.

A list goes on page by page: `which = paging()` is the page that is asked for, `whole(which, ...)` of `clawportal.sdk.data` reads
it, and `paged(found, which)` is what the macro `pager` shows.

`by_field(problem.errors)` is the first sentence for each field of a form. `account_page(422, errors=...)` is the page of one's
own account again, for a form in a section that a `Card` with the place `account` brings. `external(url_for(...))` is an address
of this portal for somebody outside. A view that pages ask by themselves, again and again, is marked `@background`, so that an
open page keeps nobody signed in for ever; an element that does so says `data-quiet`, and waits while nobody looks.
`told_as("note.pin")` names a view's refusals in the audit where its address does not.
`allow("frame", "media")` lets the page that is being made show such things of this portal, which are refused otherwise.
"""

from __future__ import annotations

from clawportal.http.audited import told_as
from clawportal.http.headers import allow
from clawportal.http.i18n import translate
from clawportal.http.paging import paging
from clawportal.http.security import actor, background, begin_session, current_actor, place, portal, public, requires, safe_next
from clawportal.http.site import external
from clawportal.web.auth import told as by_field
from clawportal.web.instances import frame
from clawportal.web.pages import back, changed, fragment, moved, page, trigger
from clawportal.web.profile import page_of as account_page
from clawportal.web.rows import adapter_cards, paged
from clawportal.web.second_step import ask as ask_second_step
from clawportal.web.tenants import tenant_abilities
from clawportal.web.words import gettext

__all__ = [
    "account_page",
    "actor",
    "adapter_cards",
    "allow",
    "ask_second_step",
    "back",
    "background",
    "begin_session",
    "by_field",
    "changed",
    "current_actor",
    "external",
    "fragment",
    "frame",
    "gettext",
    "moved",
    "page",
    "paged",
    "paging",
    "place",
    "portal",
    "public",
    "requires",
    "safe_next",
    "tenant_abilities",
    "told_as",
    "translate",
    "trigger",
]
