"""Two organisations with three people each work side by side in their own browsers, and neither learns of the other."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, Watch, confirm, phase_is
from tests.browser.portal import PortalProcess

INSTANCE = re.compile(r"/instances/([0-9a-z]{26})$")
NewPage = Callable[..., Page]


@dataclass
class Team:
    """An organisation, its people by their role, each with a page of their own, and the claws that they made."""

    title: str
    address: str = ""
    people: dict[str, Page] = field(default_factory=dict)
    claws: dict[str, str] = field(default_factory=dict)
    """Name -> id."""

    def __getitem__(self, role: str) -> Page:
        return self.people[role]

    def name(self, role: str) -> str:
        return f"{self.title.split()[0].lower()}-{role}"


TEAMS = {"Maple Insurance": ("tenant-admin", "developer", "viewer"), "Birch Robotics": ("tenant-admin", "developer", "operator")}


@pytest.fixture(scope="module")
def portal(fresh_portal: Callable[..., PortalProcess]) -> PortalProcess:
    """Generous with requests: all six people come from one address here."""
    made = fresh_portal(RATE_LIMIT="6000 per minute")
    made.set_up()
    return made


def test_two_teams_side_by_side(portal: PortalProcess, page: Page, new_page: NewPage, watch: Watch) -> None:
    watch.expect("status of 40[34]")  # a refused page
    maple, birch = teams = [Team(title) for title in TEAMS]
    for team in teams:
        _found(page, team)
        for role in TEAMS[team.title]:
            team.people[role] = _join(new_page(base_url=portal.url), _invite(page, team, role), team, role)
    heard = {team.title: _listen(team.people[TEAMS[team.title][-1]]) for team in teams}
    _create_at_once(teams)
    _lists_are_their_own(maple, birch)
    _lists_are_their_own(birch, maple)
    _stop_is_seen_at_home_only(maple, birch, heard)
    _a_viewer_changes_nothing(maple)
    _share_one(maple)
    _use_a_project(birch)
    _strangers_find_nothing(maple, birch)
    _strangers_find_nothing(birch, maple)
    for team, other in ((maple, birch), (birch, maple)):
        told = " ".join(heard[team.title])
        assert any(claw in told for claw in team.claws.values()), "its own changes are told"
        assert not any(claw in told for claw in other.claws.values()), "not even ids of the others travel"


# ---- getting in


def _found(admin: Page, team: Team) -> None:
    admin.goto("/tenants")
    admin.get_by_label("Short name").fill(team.name("co"))
    admin.get_by_label("Title").fill(team.title)
    admin.get_by_role("button", name="Create the organisation").click()
    expect(admin.get_by_role("heading", name=team.title)).to_be_visible()
    team.address = re.sub(r".*(/tenants/[0-9a-z]{26}).*", r"\1", admin.url)


def _invite(admin: Page, team: Team, role: str) -> str:
    admin.goto(f"{team.address}/members")
    admin.get_by_label("For whom").fill(role)
    admin.locator("#f-invite-role").select_option(role)
    admin.get_by_role("button", name="Make a link").click()
    return admin.locator("#new-link").inner_text()


def _join(page: Page, link: str, team: Team, role: str) -> Page:
    page.goto(link)
    expect(page.get_by_role("heading", name=f"Join {team.title}")).to_be_visible()
    page.get_by_label("User name").fill(team.name(role))
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Once more").fill(PASSWORD)
    page.get_by_role("button", name="Make an account and join").click()
    expect(page.get_by_text(f"Welcome to {team.title}.")).to_be_visible()
    expect(page.locator("aside .where")).to_contain_text(team.title)
    return page


# ---- side by side


def _listen(page: Page) -> list[str]:
    """Everything that the sockets of a page, and of the pages after it, are told."""
    heard: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: heard.append(str(data))))
    page.goto("/instances")
    expect(page.locator("aside [data-link-state]")).to_contain_text("Live")
    return heard


def _create_at_once(teams: list[Team]) -> None:
    """Both administrators and both developers fill in their forms, then all of them press the button."""
    makers = [(team, role, team[role]) for team in teams for role in ("tenant-admin", "developer")]
    for team, role, page in makers:
        page.goto("/instances/new")
        page.locator(".kind", has_text="Echo").click()
        expect(page.locator("#settings-part")).to_have_attribute("data-adapter", "echo")
        # the same name in both organisations
        page.get_by_label("Name", exact=True).fill("front-desk" if role == "developer" else team.name("desk"))
    for _team, _role, page in makers:
        page.get_by_role("button", name="Create and start").click(no_wait_after=True)
    for team, role, page in makers:
        page.wait_for_url(INSTANCE)
        found = INSTANCE.search(page.url)
        assert found
        team.claws["front-desk" if role == "developer" else team.name("desk")] = found[1]
    for _team, _role, page in makers:
        phase_is(page, "running")


def _lists_are_their_own(team: Team, other: Team) -> None:
    own, foreign = team.name("desk"), other.name("desk")
    watcher = team[TEAMS[team.title][-1]]
    rows = watcher.locator("#instances tbody tr")
    expect(rows).to_have_count(2)  # it came by itself: nobody reloaded this page
    for page in team.people.values():
        page.goto("/instances")
        expect(page.locator("#instances nav.seg a").first).to_have_text("All 2")
        expect(page.locator("#instances")).to_contain_text(own)
        page.get_by_label("Find an instance").fill("desk")
        expect(page.locator("#instances tbody tr")).to_have_count(2)
        page.get_by_label("Find an instance").fill(foreign)
        expect(page.get_by_text("Nothing matches")).to_be_visible()
    for path in ("/", "/operations", "/tenants"):
        for page in team.people.values():
            text = page.request.get(path).text()
            assert team.title in text and foreign not in text and other.title not in text, path
    watcher.goto("/instances")
    _live(watcher)


def _live(page: Page) -> None:
    expect(page.locator("aside [data-link-state]")).to_contain_text("Live")


def _stop_is_seen_at_home_only(team: Team, other: Team, heard: dict[str, list[str]]) -> None:
    watching, elsewhere = team[TEAMS[team.title][-1]], other[TEAMS[other.title][-1]]
    admin, claw = team["tenant-admin"], team.claws["front-desk"]
    before = len(heard[other.title])
    admin.goto(f"/instances/{claw}")
    admin.get_by_role("button", name="Stop", exact=True).click()
    confirm(admin)
    expect(watching.locator(f"#row-{claw} [data-state=stopped]")).to_be_visible()
    expect(elsewhere.locator("#instances [data-state=running]")).to_have_count(2)
    assert not any("instances" in frame for frame in heard[other.title][before:]), "nothing was told to the others"


def _a_viewer_changes_nothing(team: Team) -> None:
    viewer, claw = team["viewer"], team.claws["front-desk"]
    viewer.goto(f"/instances/{claw}")
    phase_is(viewer, "stopped")
    for button in ("Start", "Restart"):
        expect(viewer.locator("#status").get_by_role("button", name=button, exact=True)).to_have_count(0)
    expect(viewer.get_by_role("link", name="Create")).to_have_count(0)
    for path in ("/instances/new", f"/instances/{claw}/edit", f"{team.address}/members", "/audit"):
        assert _status(viewer, path) == 403, path
    for path in (f"instances/{claw}/start", f"instances/{claw}/delete"):
        assert _post(viewer, f"/{path}") == 403, path
    viewer.goto(f"/instances/{claw}")
    phase_is(viewer, "stopped")


def _share_one(team: Team) -> None:
    """The developer lets the viewer operate one claw; the other stays as it was."""
    developer, viewer, claw = team["developer"], team["viewer"], team.claws["front-desk"]
    developer.goto(f"/instances/{claw}/place")
    developer.get_by_label("Member").fill(team.name("viewer"))
    developer.get_by_label("May").select_option("developer")
    developer.get_by_role("button", name="Share").click()
    expect(developer.get_by_text("The instance is shared.")).to_be_visible()
    viewer.goto(f"/instances/{claw}")
    viewer.get_by_role("button", name="Start", exact=True).click()
    phase_is(viewer, "running")
    assert _post(viewer, f"/instances/{team.claws[team.name('desk')]}/stop") == 403


def _use_a_project(team: Team) -> None:
    admin, claw = team["tenant-admin"], team.claws["front-desk"]
    admin.goto(team.address)
    admin.get_by_label("Short name").fill("night")
    admin.get_by_label("Title").fill("Night shift")
    admin.get_by_role("button", name="Create the project").click()
    admin.goto(f"/instances/{claw}/place")
    admin.get_by_label("Move to").select_option(label="Night shift")
    admin.get_by_role("button", name="Move").click()
    expect(admin.get_by_text("The instance was moved.")).to_be_visible()
    operator = team["operator"]
    operator.goto("/instances")
    operator.get_by_label("Project").select_option(label="Night shift")
    expect(operator.locator("#instances tbody tr")).to_have_count(1)
    expect(operator.locator("#instances")).to_contain_text("front-desk")


# ---- what is not theirs


def _strangers_find_nothing(team: Team, other: Team) -> None:
    claws = [f"/instances/{claw}" for claw in other.claws.values()]
    for role, page in team.people.items():
        for path in [*claws, f"{claws[0]}/events", other.address]:
            assert _status(page, path) == 404, (role, path)
    admin = team["tenant-admin"]
    for path in [f"{claws[0]}/{tab}" for tab in ("logs", "edit", "place", "changes")]:
        assert _status(admin, path) == 404, path
    for path in (f"{other.address}/members", f"{other.address}/rights", f"{other.address}/settings"):
        assert _status(admin, path) == 404, path
    admin.goto("/audit")
    expect(admin.locator("#audit tbody tr").first).to_be_visible()
    told = admin.locator("#audit").inner_text()
    assert team.name("developer") in told and other.name("developer") not in told and other.name("desk") not in told
    admin.goto(f"/instances/{team.claws['front-desk']}/events")
    told = admin.locator("#events").inner_text()
    assert team.name("developer") in told and other.name("developer") not in told


def _status(page: Page, path: str) -> int:
    answer: Any = page.request.get(path, headers={"Accept": "text/html"})
    return int(answer.status)


def _post(page: Page, path: str) -> int:
    """As a form that somebody made up would be sent: with the right token, and without the right."""
    token = page.locator("meta[name=csrf-token]").get_attribute("content") or ""
    answer: Any = page.request.post(path, form={"csrf_token": token}, max_redirects=0)
    return int(answer.status)
