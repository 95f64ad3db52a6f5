"""Signing in through a real OpenID provider, in a real browser: with a strict content security policy and real redirects."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import sign_in
from tests.browser.portal import PASSWORD, PortalProcess
from tests.single_sign_on import oidc_provider
from tests.single_sign_on.oidc_provider import CLIENT, SECRET, OpenIdProvider

pytestmark = pytest.mark.oidc


@pytest.fixture(scope="module")
def there(portal: PortalProcess) -> Iterator[OpenIdProvider]:
    """The provider, known to the portal as Test SSO."""
    if why := oidc_provider.missing():
        pytest.skip(why)
    with oidc_provider.running() as found:
        found.reset(f"{portal.url}/login/oidc/test/callback")
        body = {
            "slug": "test",
            "title": "Test SSO",
            "issuer": found.url,
            "client_id": CLIENT,
            "secret": SECRET,
            "create_users": True,
        }
        portal.api("POST", "oidc/providers", {**body, "scopes": "openid profile email groups", "tenant": "default"}, 201)
        yield found


def at_the_provider(page: Page, account: str, answer: str = "Sign in there") -> None:
    page.wait_for_url(re.compile("/interaction/"))
    page.get_by_label("Account").fill(account)
    page.get_by_role("button", name=answer).click()


def test_in_by_the_button_to_the_page_that_was_asked_for_and_out(
    portal: PortalProcess, there: OpenIdProvider, new_page: Callable[..., Page]
) -> None:
    page = new_page(base_url=portal.url)
    page.goto("/operations?state=failed")
    page.get_by_role("link", name="Sign in with Test SSO").click()
    at_the_provider(page, "anna")
    page.wait_for_url(f"{portal.url}/operations?state=failed")
    page.goto("/profile")
    expect(page.locator("#oidc")).to_contain_text("anna@example.com")
    page.locator("summary.who").click()
    page.locator(".menu-body").get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign out there too").click()
    page.wait_for_url(re.compile(re.escape(there.url) + "/session/end"))
    page.get_by_role("button", name="Sign out of it").click()
    page.wait_for_url(f"{portal.url}/login")


def test_refused_there_comes_back_in_plain_words(
    portal: PortalProcess, there: OpenIdProvider, new_page: Callable[..., Page]
) -> None:
    page = new_page(base_url=portal.url)
    page.goto("/login?next=/operations")
    page.get_by_role("link", name="Sign in with Test SSO").click()
    at_the_provider(page, "anna", "Refuse")
    expect(page.get_by_role("alert")).to_contain_text("Test SSO did not let you in")
    assert "next=/operations" in page.url


def test_linking_from_the_account_page(portal: PortalProcess, there: OpenIdProvider, new_page: Callable[..., Page]) -> None:
    there.account("boss", email="boss@example.com", email_verified=True)
    page = new_page(base_url=portal.url)
    sign_in(page)
    page.goto("/profile")
    page.locator("#f-link_password").fill(PASSWORD)
    page.get_by_role("button", name="Link an account of Test SSO").click()
    at_the_provider(page, "boss")
    page.wait_for_url(f"{portal.url}/profile")
    expect(page.locator("#oidc")).to_contain_text("boss@example.com")


def test_the_connection_is_tested_without_leaving_the_form(
    portal: PortalProcess, there: OpenIdProvider, new_page: Callable[..., Page]
) -> None:
    page = new_page(base_url=portal.url)
    sign_in(page)
    page.goto("/providers/new")
    page.get_by_label("Title").fill("Another")
    page.get_by_label("Short name").fill("another")
    page.get_by_label("Issuer").fill(there.url)
    page.get_by_label("Client id").fill(CLIENT)
    page.locator("#f-secret").fill("wrong")
    page.get_by_role("button", name="Test the connection").click()
    expect(page.locator("#findings")).to_contain_text("The provider refuses the client id or the secret.")
    page.locator("#f-secret").fill(SECRET)
    page.get_by_role("button", name="Test the connection").click()
    expect(page.locator("#findings")).to_contain_text("All is well")
    expect(page.locator("#f-secret")).to_have_value(SECRET)
