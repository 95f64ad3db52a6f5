"""Choosing a model in the form of a claw: among many providers and many models, with a mouse, with keys alone, and on a phone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.portal import PortalProcess
from tests.providers.test_probe import Double, events, said, serving

NAMES = [f"house/model-{number:03}" for number in range(700)]
ANSWER = events({"choices": [{"delta": {"content": "ready"}, "finish_reason": "stop"}]})


@pytest.fixture
def provider() -> Iterator[Double]:
    models = 200, {"Content-Type": "application/json"}, json.dumps({"data": [{"id": name} for name in NAMES]})
    with serving({"models": models, "chat/completions": ANSWER}) as double:
        yield double


def begin(page: Page, address: str, kind: str = "nanobot") -> None:
    page.goto(f"/instances/new?adapter={kind}")
    page.get_by_label("OpenAI-compatible server").check()
    page.get_by_label("Base URL").fill(address)


def test_a_provider_is_found_among_many(portal: PortalProcess, page: Page) -> None:
    page.goto("/instances/new?adapter=nanobot")
    search = page.get_by_label("Search the providers")
    kimi, groq = page.locator('[data-choice="moonshot"]'), page.locator('[data-choice="groq"]')
    expect(kimi).to_be_hidden()
    search.fill("kimi")
    expect(kimi).to_be_visible()
    expect(page.locator("#provider-choice [data-choice]:visible")).to_have_count(1)
    search.press("Enter")
    expect(kimi.locator("input")).to_be_checked()
    expect(kimi.locator("input")).to_be_focused()
    search.fill("no such provider")
    expect(page.get_by_text("None of them matches")).to_be_visible()
    search.press("Escape")
    expect(page.get_by_text("None of them matches")).to_be_hidden()
    expect(kimi.locator("input")).to_be_checked()
    search.fill("groq")
    search.press("ArrowDown")
    expect(groq.locator("input")).to_be_focused()
    assert page.url.endswith("adapter=nanobot"), "Enter in a search sends no form"


def test_a_model_is_tested_before_anything_is_stored(portal: PortalProcess, page: Page, provider: Double) -> None:
    begin(page, provider.url)
    page.get_by_role("button", name="Test this model").click()
    outcome = page.locator("#model-outcome")
    outcome.get_by_role("link", name="Model", exact=True).click()
    name = page.get_by_label("Model", exact=True)
    expect(name).to_be_focused()
    name.fill(NAMES[0])
    page.locator('[name="secrets.model_api_key"]').fill("sk-typed-0123456789")
    page.get_by_role("button", name="Test this model").click()
    expect(outcome).to_contain_text("The model answers.")
    expect(outcome).to_contain_text("It answered in")
    expect(page.locator('[name="secrets.model_api_key"]')).to_have_value("sk-typed-0123456789")
    provider.answers["models"] = said(401, "This key was revoked.")
    page.get_by_role("button", name="Test this model").click()
    expect(outcome).to_contain_text("The key is not accepted.")
    expect(outcome).to_contain_text("This key was revoked.")
    assert portal.list() == []


def test_a_model_is_picked_with_keys_alone(portal: PortalProcess, page: Page, provider: Double) -> None:
    begin(page, provider.url)
    page.get_by_role("button", name="Show its models").press("Enter")
    search = page.get_by_label("Search its models")
    expect(search).to_be_visible()
    search.press_sequentially("model-04")
    left = page.locator("#model-picks [data-pick]:visible")
    expect(left).to_have_count(10)
    search.press("ArrowDown")
    expect(left.nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(left.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Model", exact=True)).to_have_value(NAMES[41])
    expect(page.get_by_label("Model", exact=True)).to_be_focused()
    search.fill("model-69")
    expect(page.locator("#model-picks [data-none]")).to_be_visible()
    page.get_by_role("button", name="Show its models").click()
    expect(left).to_have_count(10)
    expect(left.nth(0)).to_have_text(NAMES[690])


def test_a_stored_key_brings_its_provider_and_address(portal: PortalProcess, page: Page, provider: Double) -> None:
    home = portal.api("GET", "tenants")["items"][0]["id"]
    key = {"tenant": home, "name": "ours", "provider": "openai-compatible", "base_url": provider.url, "key": "sk-ours-0123456789"}
    one = portal.api("POST", "credentials", key)["id"]
    page.goto("/instances/new?adapter=nanobot")
    choice, address = page.locator("#provider-choice"), page.get_by_label("Base URL")
    expect(choice).to_be_visible()
    page.get_by_label("Stored key").select_option(one)
    expect(choice).to_be_hidden()
    expect(address).to_be_hidden()
    expect(page.locator('[name="secrets.model_api_key"]')).to_be_hidden()
    page.get_by_label("Model", exact=True).fill(NAMES[0])
    page.get_by_role("button", name="Test this model").click()
    expect(page.locator("#model-outcome")).to_contain_text("The model answers.")
    assert len(provider.keys) == 0 and any("sk-ours-0123456789" in str(headers) for _path, headers, _body in provider.seen)
    page.get_by_label("Stored key").select_option("")
    expect(choice).to_be_visible()
    portal.api("DELETE", f"credentials/{one}")


def test_the_form_of_a_key_keeps_what_was_typed_while_it_is_tested(portal: PortalProcess, page: Page, provider: Double) -> None:
    home = portal.api("GET", "tenants")["items"][0]["id"]
    page.goto(f"/tenants/{home}/keys/new")
    page.get_by_label("Short name").fill("typed")
    page.get_by_label("Base URL").fill(provider.url)
    page.locator("#f-key").fill("sk-typed-0123456789")
    page.get_by_role("button", name="Show its models").click()
    page.locator("[data-pick]").nth(2).click()
    expect(page.locator("#f-model")).to_have_value(NAMES[2])
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.locator("#model-outcome")).to_contain_text("The model answers.")
    expect(page.locator("#f-key")).to_have_value("sk-typed-0123456789")
    page.get_by_label("Title").press("Enter")
    page.wait_for_url("**/model-keys/*")
    expect(page.get_by_role("heading", name="typed")).to_be_visible()


def test_a_model_is_picked_on_a_phone(portal: PortalProcess, phone: Page, provider: Double) -> None:
    begin(phone, provider.url)
    phone.get_by_role("button", name="Show its models").tap()
    phone.get_by_label("Search its models").fill("012")
    one = phone.locator("#model-picks [data-pick]:visible")
    expect(one).to_have_count(1)
    box = one.bounding_box()
    assert box and box["height"] >= 40, "large enough for a finger"
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    one.tap()
    expect(phone.get_by_label("Model", exact=True)).to_have_value(NAMES[12])
