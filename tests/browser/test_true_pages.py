"""What pages say is so, a refusal is seen, and nothing that was typed is lost with a session."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch, confirm, phase_is, sign_in
from tests.browser.portal import PortalProcess, wait_for

NewPage = Callable[..., Page]
LOGIN = re.compile("/login")


def change(portal: PortalProcess, instance_id: str, **settings: Any) -> None:
    found = portal.get(instance_id)
    body = {"version": found["version"], "labels": found["labels"], "spec": {**found["spec"], "settings": settings}}
    portal.api("PUT", f"instances/{instance_id}", body, If_Match=f'"{found["generation"]}"')


def test_what_runs_what_is_wanted_and_why_not(portal: PortalProcess, signed_in: Any, new_page: NewPage) -> None:
    one = portal.running("picky")
    page = new_page(base_url=portal.url, storage_state=signed_in)
    page.goto(f"/instances/{one['id']}")
    change(portal, one["id"], refuse="always")
    note = page.locator("#status .note.tone-bad")
    expect(note).to_contain_text("Version 2 of its configuration is not in use: version 1 keeps running")
    expect(note).to_contain_text("refuse is set")
    expect(page.locator("#overview")).to_contain_text("version 2 is wanted, 1 in use")
    page.goto("/")
    expect(page.locator("#now")).to_contain_text("Change not applied")
    portal.remove_all()


def test_what_is_stopped_is_not_green(portal: PortalProcess, signed_in: Any, new_page: NewPage) -> None:
    one = portal.running("sleeper")
    page = new_page(base_url=portal.url, storage_state=signed_in)
    page.goto(f"/instances/{one['id']}")
    expect(page.locator("#overview")).to_contain_text("Healthy")
    expect(page.locator("#overview")).to_contain_text("of one core")
    page.get_by_role("button", name="Stop").click()
    confirm(page)
    phase_is(page, "stopped")
    expect(page.locator("#overview")).to_contain_text("It is measured while it runs.")
    expect(page.locator("#overview")).not_to_contain_text("Healthy")
    portal.remove_all()


def test_a_cluster_that_does_not_answer_is_wrong_now(portal: PortalProcess, signed_in: Any, new_page: NewPage) -> None:
    one = portal.running("lonely")
    made = portal.api("POST", "clusters", {"name": "edge", "title": "Edge", "runtime": "docker",
                                           "settings": {"url": "tcp://127.0.0.1:9"}})  # fmt: skip
    wait_for(lambda: portal.api("GET", f"clusters/{made['id']}")["health"] == "unreachable", 60, "nobody answers there")
    page = new_page(base_url=portal.url, storage_state=signed_in)
    page.goto("/")
    expect(page.locator("#now .panel.bad")).to_contain_text("Cluster Edge does not answer")
    expect(page.locator("#now")).not_to_contain_text("Nothing. Every claw")
    portal.api("DELETE", f"clusters/{made['id']}?confirm=edge")
    portal.api("DELETE", f"instances/{one['id']}")


def test_home_has_one_line_for_each_claw_and_hour(portal: PortalProcess, signed_in: Any, new_page: NewPage) -> None:
    one = portal.running("chatty")
    page = new_page(base_url=portal.url, storage_state=signed_in)
    page.goto("/")
    lines = page.locator("[aria-labelledby=changed] li", has_text="chatty")
    expect(lines).to_have_count(1)
    expect(lines).to_contain_text("more of it in that hour")
    portal.api("DELETE", f"instances/{one['id']}")


def test_a_conflict_is_seen(portal: PortalProcess, signed_in: Any, new_page: NewPage, watch: Watch) -> None:
    watch.expect("status of 4", "Status Error Code 4")
    one = portal.running("contested")
    page = new_page(base_url=portal.url, storage_state=signed_in, viewport={"width": 390, "height": 700})
    page.goto(f"/instances/{one['id']}/edit")
    change(portal, one["id"], greeting="theirs")
    page.locator('[name="spec.settings.greeting"]').fill("mine")
    page.get_by_role("button", name="Save").click()
    note = page.locator("[data-refusal]")
    expect(note).to_contain_text("Somebody else changed this meanwhile")
    expect(note).to_be_focused()
    expect(note).to_be_in_viewport()
    page.get_by_role("button", name="Save mine nevertheless").click()
    page.wait_for_url(re.compile(f"/instances/{one['id']}$"))
    portal.api("DELETE", f"instances/{one['id']}")


def test_a_field_to_correct_is_seen(portal: PortalProcess, signed_in: Any, new_page: NewPage, watch: Watch) -> None:
    watch.expect("status of 4", "Status Error Code 4")
    page = new_page(base_url=portal.url, storage_state=signed_in, viewport={"width": 390, "height": 600})
    page.goto("/instances/new")
    page.locator(".kind:has(input[value=echo])").click()
    page.locator("#settings-part[data-adapter=echo]").wait_for()
    page.locator("#f-name").fill("Not A Name!")
    page.get_by_role("button", name="Create and start").click()
    expect(page.locator("#f-name")).to_be_focused()
    expect(page.locator("#f-name")).to_be_in_viewport()


def test_a_refused_plain_form_is_seen(portal: PortalProcess, signed_in: Any, new_page: NewPage, watch: Watch) -> None:
    watch.expect("status of 4", "Status Error Code 4")
    page = new_page(base_url=portal.url, storage_state=signed_in)
    page.goto("/profile")
    form = page.locator("form[action*=password]")
    form.locator("[name=current]").fill("not the right one")
    form.locator("[name=password]").fill("another good passphrase")
    form.locator("[name=password_again]").fill("another good passphrase")
    form.get_by_role("button", name="Change the password").click()
    field = page.locator("[name=current]")
    expect(field).to_be_focused()
    assert field.get_attribute("aria-invalid") == "true"
    expect(field).to_be_in_viewport()


def test_what_was_typed_outlives_the_session(portal: PortalProcess, signed_in: Any, new_page: NewPage) -> None:
    page = new_page(base_url=portal.url, storage_state=signed_in)
    page.goto("/instances/new")
    page.locator(".kind:has(input[value=echo])").click()
    page.locator("#settings-part[data-adapter=echo]").wait_for()
    page.locator("#f-name").fill("night-writer")
    with page.expect_response(lambda answer: answer.request.method == "POST"):  # the form asks whether it is right
        page.locator('[name="spec.settings.greeting"]').fill("Good evening, dear reader")
    page.context.clear_cookies()
    page.get_by_role("button", name="Create and start").click()
    page.wait_for_url(LOGIN)
    expect(page.get_by_text("Your session has ended.")).to_be_visible()
    expect(page.get_by_text("What you typed comes back")).to_be_visible()
    sign_in(page)
    page.wait_for_url("**/instances/new")
    expect(page.locator("[data-draft-back]")).to_contain_text("What you typed before is here again.")
    expect(page.locator("#f-name")).to_have_value("night-writer")
    expect(page.locator('[name="spec.settings.greeting"]')).to_have_value("Good evening, dear reader")
    page.get_by_role("button", name="Create and start").click()
    page.wait_for_url(re.compile("/instances/[0-9a-z]{20,}$"))
    page.goto("/instances/new")
    expect(page.locator("#f-name")).not_to_have_value("night-writer")
    assert page.evaluate("sessionStorage.getItem('clawportal-drafts')") is None
    portal.remove_all()


def test_no_secret_is_kept_and_signing_out_leaves_nothing(portal: PortalProcess, signed_in: Any, new_page: NewPage) -> None:
    page = new_page(base_url=portal.url, storage_state=signed_in)
    page.goto("/instances/new")
    page.locator(".kind:has(input[value=nanobot])").click()
    page.locator("#settings-part[data-adapter=nanobot]").wait_for()
    page.locator("#f-name").fill("keyholder")
    page.locator('.choice:has([name="spec.model.provider"][value=openai])').click()
    secret = page.locator('[name="secrets.model_api_key"]')
    secret.fill("sk-very-secret")
    page.locator(f'[data-reveal="{secret.get_attribute("id")}"]').click()
    page.context.clear_cookies()
    page.locator("#f-name").dispatch_event("input")  # what the form asks by itself leads to the sign-in, too
    page.wait_for_url(LOGIN)
    kept = page.evaluate("sessionStorage.getItem('clawportal-drafts')")
    assert "keyholder" in kept and "sk-very-secret" not in kept
    sign_in(page)
    page.wait_for_url("**/instances/new")
    expect(page.locator("#f-name")).to_have_value("keyholder")
    page.locator("summary.who").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(LOGIN)
    assert page.evaluate("sessionStorage.getItem('clawportal-drafts')") is None
    expect(page.get_by_text("Your session has ended.")).to_be_hidden()


def test_after_a_delete_one_is_back_in_the_list(portal: PortalProcess, signed_in: Any, new_page: NewPage) -> None:
    one = portal.running("goner")
    page, other = new_page(base_url=portal.url, storage_state=signed_in), new_page(base_url=portal.url, storage_state=signed_in)
    other.goto(f"/instances/{one['id']}/logs")
    page.goto(f"/instances/{one['id']}")
    page.get_by_label("More actions for goner").click()
    page.get_by_role("button", name="Delete").click()
    confirm(page, "goner")
    page.wait_for_url("**/instances", wait_until="commit")
    expect(page.locator("#toasts")).to_contain_text("goner is being deleted")
    other.wait_for_url(re.compile(f"/instances/{one['id']}$"))  # by itself
    expect(other.locator("#gone")).to_contain_text("goner was deleted")
    for tab in ("logs", "chat", "console", "files", "config", "metrics", "operations", "changes", "edit", "place"):
        other.goto(f"/instances/{one['id']}/{tab}")
        expect(other.locator("#gone")).to_contain_text("goner was deleted")
