"""An auditor answers "who changed this claw's model last Tuesday" in three clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from clawportal import clock
from tests.conftest import PASSWORD, People, Person, make_person, serving

# Survives the change of the page; every click of a mouse or key on a link or button is one.
_COUNT = "addEventListener('click', () => sessionStorage.clicks = 1 + Number(sessionStorage.clicks ?? 0), true)"


@pytest.fixture
def tuesday() -> date:
    """The last one before today."""
    today = datetime.now(UTC).date()
    return today - timedelta(days=(today.weekday() - 1) % 7 or 7)


def _go(to: datetime) -> None:
    clock.travel(to - clock.now())


def _change(who: Person, instance: dict[str, Any], secrets: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    headers = {"If-Match": str(instance["generation"])}
    kind = "application/merge-patch+json"
    answer = who.patch(
        f"instances/{instance['id']}", {"spec": spec, "secrets": dict(secrets or {})}, headers=headers, content_type=kind
    )
    assert answer.status_code == 200, answer.get_data(as_text=True)
    changed: dict[str, Any] = answer.get_json()
    return changed


@pytest.fixture
def claw(portal_app: Flask, people: People, tuesday: date) -> str:
    """Made on the day before, changed twice on that Tuesday, and again since; beside it a claw with changes of its own."""
    noon = datetime.combine(tuesday, time(12), UTC)
    spec = {"model": {"provider": "openai", "name": "gpt-5-mini"}, "persona": "You answer customers. Be brief."}
    secrets = {"model_api_key": "sk-test-not-a-real-key"}
    _go(noon - timedelta(days=1))
    made = people.owner.create("support-desk", "nanobot", spec=spec, secrets=secrets)
    other = people.owner.create("other-desk", "nanobot", spec=spec, secrets=secrets)
    _go(noon)
    made = _change(people.developer, made, {"model_api_key": "sk-another-key"}, model={"name": "gpt-5"})
    made = _change(people.owner, made, persona="You answer customers of the shop. Be brief.")
    _change(people.owner, other, model={"name": "gpt-4o"})
    _go(datetime.now(UTC))
    clock.take_jump()
    _change(people.owner, made, model={"name": "gpt-5.1"})
    make_person(portal_app, "ada-auditor", "auditor", "default")
    return str(made["id"])


@pytest.fixture
def auditor(portal_app: Flask, claw: str, new_page: Callable[..., Page]) -> Iterator[Page]:
    with serving(portal_app) as (url, _port):
        page = new_page(base_url=url)
        page.add_init_script(_COUNT)
        page.goto("/login")
        page.get_by_label("User name").fill("ada-auditor")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/")
        yield page
        page.close()  # before its server: it would say that its connection was lost


def _is_told(page: Page) -> None:
    expect(page.get_by_role("heading", name="Change the configuration of support-desk")).to_be_visible()
    row = page.get_by_role("row").filter(has=page.get_by_text("Model", exact=True))
    expect(row.locator("td").nth(0)).to_contain_text("Model")
    expect(row.locator("td").nth(1)).to_have_text("gpt-5-mini")
    expect(row.locator("td").nth(2)).to_have_text("gpt-5")
    expect(page.locator("dl.facts")).to_contain_text("developer")
    text = page.locator("body").inner_text()
    assert "sk-" not in text
    assert int(page.evaluate("sessionStorage.clicks")) <= 3


def test_from_the_page_of_the_claw(auditor: Page, claw: str, tuesday: date) -> None:
    auditor.goto(f"/instances/{claw}")
    auditor.evaluate("sessionStorage.clicks = 0")
    auditor.locator("nav.tabs").get_by_role("link", name="Changes").click()
    auditor.locator(f"nav.days a[href*='since={tuesday}']").click()
    rows = auditor.locator("#audit tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.last).to_contain_text("Model: gpt-5-mini → gpt-5")
    rows.last.get_by_role("link").click()
    _is_told(auditor)


def test_from_the_audit(auditor: Page, claw: str, tuesday: date) -> None:
    auditor.goto("/audit")
    auditor.evaluate("sessionStorage.clicks = 0")
    auditor.locator(f"nav.days a[href*='since={tuesday}']").click()
    auditor.wait_for_url(f"**since={tuesday}**")  # with its scripts: before they run, nobody hears a key
    auditor.keyboard.press("/")
    auditor.keyboard.type("support-desk")
    rows = auditor.locator("#audit tbody tr")
    expect(rows).to_have_count(2)
    expect(auditor.locator("nav.days [aria-current]")).to_have_count(1)
    rows.last.get_by_role("link").click()
    _is_told(auditor)
