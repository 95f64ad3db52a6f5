"""The page that duplicates a claw: it says what is copied, asks for what is not, and keeps what was typed after a refusal."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from tests.conftest import People
from tests.duplicates.conftest import WHY
from tests.duplicates.test_duplicates import SECRETS, make_source, project, values
from tests.web.conftest import Browser

Browse = Callable[..., Browser]


def test_the_menus_lead_to_the_page_of_who_may(people: People, browse: Browse) -> None:
    source = make_source(people)
    address = f"/instances/{source['id']}/duplicate"
    for path in (f"/instances/{source['id']}", f"/instances/{source['id']}?part=menu"):
        assert address in browse(people.developer).page(path, htmx="part" in path)
        assert address not in browse(people.viewer).page(path, htmx="part" in path)
    assert browse(people.viewer).get(address).status_code == 403
    assert browse(people.stranger).get(address).status_code == 404


def test_the_page_says_what_is_copied_and_makes_it(people: People, browse: Browse) -> None:
    source, browser = make_source(people), browse(people.owner)
    page = html.unescape(browser.page(f"/instances/{source['id']}/duplicate"))
    assert WHY in page and 'value="source-copy"' in page and 'name="secrets.bot_key"' in page
    assert "Kept encrypted, and never shown." in page and not any(value in page for value in SECRETS.values())
    answer = browser.post(
        f"/instances/{source['id']}/duplicate", {"name": "source-copy", "start": "true", "secrets.bot_key": "bot-new"}
    )
    assert answer.status_code == 303, answer.get_data(as_text=True)
    made = answer.headers["Location"].rpartition("/")[2]
    assert values(people.admin.app, made)["bot_key"] == "bot-new"
    assert "source-copy was created as a duplicate of source." in browser.page(answer.headers["Location"])
    assert 'value="source-copy-2"' in browser.page(f"/instances/{source['id']}/duplicate")


def test_pressing_twice_makes_one(people: People, browse: Browse) -> None:
    source, browser = make_source(people), browse(people.owner)
    form: dict[str, Any] = {"name": "twice", "start": "true", "request_id": "0123456789abcdef"}
    first, again = (browser.post(f"/instances/{source['id']}/duplicate", dict(form)) for _ in range(2))
    assert first.status_code == again.status_code == 303 and first.headers["Location"] == again.headers["Location"]


def test_a_refusal_keeps_what_was_typed_and_says_what_to_do(people: People, browse: Browse) -> None:
    source, browser = make_source(people), browse(people.owner)
    answer = browser.post(f"/instances/{source['id']}/duplicate", {"name": "source"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and "Choose another name." in page and 'value="source"' in page and "data-refusal" in page


def test_another_project_is_looked_at_before_anything_is_made(people: People, browse: Browse) -> None:
    source, other = make_source(people), project(people)
    sent = {"name": "second", "project": other, "start": "true"}
    part = browse(people.developer).post(f"/instances/{source['id']}/duplicate?part=live", sent, htmx=True)
    page = html.unescape(part.get_data(as_text=True))
    assert part.status_code == 200 and 'id="duplicate-live"' in page and 'name="secrets.search_key"' in page
    assert "you may not see the secrets of source" in page and people.owner.get("instances").get_json()["total"] == 1
