"""What is made once for many pages or rows: icons, addresses of a list, dialogs. None of it goes to the wrong page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import People, portal_of
from tests.web.conftest import Browser

Browse = Callable[..., Browser]


@pytest.mark.parametrize(
    ("asked", "link"),
    [
        ("/instances", "/instances?sort=name"),
        ("/instances?q=a+b%26c&offset=3&cursor=&part=x", "/instances?q=a+b%26c&sort=name"),
        ("/instances?labels=team%3Dx&labels=y", "/instances?labels=team%3Dx&labels=y&sort=name"),
        ("/instances?sort=-name", "/instances?sort=name"),
    ],
)
def test_links_of_a_list_keep_the_other_arguments(portal_app: Flask, asked: str, link: str) -> None:
    with portal_app.test_request_context(asked) as context:
        context.match_request()
        page_url: Any = portal_app.jinja_env.globals["page_url"]
        assert page_url({"sort": "name"}) == link
        assert "sort" not in page_url({"sort": None})


def test_icons_are_found_under_each_prefix(portal_app: Flask) -> None:
    icon: Any = portal_app.jinja_env.globals["icon"]
    for root in ("", "/claws", ""):
        with portal_app.test_request_context("/", environ_overrides={"SCRIPT_NAME": root}):
            assert (
                f'href="{root}/static/icons.svg?v=' in icon("x")
                and '#x"' in icon("x")
                and 'class="ico faint"' in icon("x", "faint")
            )
            assert "<script>" not in icon("<script>"), "a plugin gives the name of its icon"


def test_dialogs_are_in_the_language_of_the_page(people: People, browse: Browse) -> None:
    pages = [browse(people.admin) for _ in range(2)]
    pages[1].client.set_cookie("clawportal_language", "zh_Hans")
    for _ in range(2):
        english, chinese = (browser.page("/instances") for browser in pages)
        assert "Keyboard shortcuts" in english and "This would be lost:" in english
        assert "Keyboard shortcuts" not in chinese and "This would be lost:" not in chinese


def test_the_menu_of_an_instance_leads_to_the_tabs_that_say_so(people: People, browse: Browse) -> None:
    made = people.owner.create("one")["id"]
    named = [tab for one in portal_of(people.owner.app).registry.features for tab in one.instance_tabs if tab.in_menu]
    assert named and all(tab.can for tab in named)
    for person, there in ((people.owner, True), (people.viewer, False)):
        menu = browse(person).get(f"/instances/{made}?part=menu", htmx=True).get_data(as_text=True)
        assert f"/instances/{made}/logs" in menu if there else f"/instances/{made}/logs" not in menu
