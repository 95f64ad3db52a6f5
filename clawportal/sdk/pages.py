"""Pages: views marked with `page`, each below `requires(...)` or `public(why)`.

    @page("/skills/<skill_id>")
    @requires(SKILL_READ)
    def skill(skill_id: str) -> str:
        return render_template("skills/skill.html", skill=services.get(actor(), skill_id))

Templates extend `base.html`, set `section` to the `page` of their menu link, and may import `_macros.html`. A view answers the
whole page, or its live part where `fragment()` says that htmx asks for one. A change answers with `changed(...)` or `moved(...)`.

A tab of an instance is a page with `instance_id` whose template extends `instances/show.html`, sets `tab` to the name of the
`Tab`, fills the block `tab`, and gets `**frame(instance)` as context.
"""

from __future__ import annotations

from clawportal.http.security import actor, current_actor, portal, public, requires
from clawportal.web.instances import frame
from clawportal.web.pages import back, changed, fragment, moved, page, trigger

__all__ = [
    "actor",
    "back",
    "changed",
    "current_actor",
    "fragment",
    "frame",
    "moved",
    "page",
    "portal",
    "public",
    "requires",
    "trigger",
]
