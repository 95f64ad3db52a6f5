"""Reading the audit through the front door: filters, pages, files; refused attempts; and nobody sees another tenant's."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from clawportal import clock
from clawportal.contracts.core_permissions import INSTANCE_READ
from clawportal.contracts.permissions import SYSTEM, Actor, Grant
from clawportal.errors import Problem
from clawportal.http import audited
from clawportal.origin import Origin
from clawportal.services.audit import exports
from clawportal.services.audit.refusals import OF_ALL, OF_ONE, REFILL, WINDOW, Refusals
from clawportal.services.audit.trail import NOBODY, REFUSED, Pending
from clawportal.services.fleet import instances
from tests.audit.conftest import entries
from tests.conftest import People, Person, counted_sql, portal_of


def listed(who: Person, query: str = "") -> dict[str, Any]:
    answer = who.get(f"audit?{query}")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    found: dict[str, Any] = answer.get_json()
    return found


def patch(who: Person, instance: dict[str, Any], greeting: str) -> dict[str, Any]:
    headers = {"If-Match": str(instance["generation"])}
    body = {"spec": {"settings": {"greeting": greeting}}}
    answer = who.patch(f"instances/{instance['id']}", body, headers=headers, content_type="application/merge-patch+json")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    changed: dict[str, Any] = answer.get_json()
    return changed


@pytest.fixture
def story(people: People) -> dict[str, Any]:
    """Two tenants, in each something happened."""
    ours = people.owner.create("alpha", spec={"settings": {"greeting": "Hello"}})
    ours = patch(people.developer, ours, "Good day")
    theirs = people.stranger.create("omega")
    people.viewer.post(f"instances/{ours['id']}/stop")
    people.stranger.post(f"instances/{ours['id']}/stop")
    return {"ours": ours["id"], "theirs": theirs["id"]}


# ---- filters and pages


def test_the_model_of_last_tuesday(people: People, story: dict[str, Any]) -> None:
    found = listed(people.owner, f"instance={story['ours']}&action=instance.update")
    assert found["total"] == 1
    (entry,) = found["items"]
    assert entry["actor_name"] == "developer" and entry["before"] == {"spec.settings.greeting": "Hello"}
    assert people.owner.get(f"audit/{entry['seq']}").get_json() == entry


FILTERS = {
    "actor=developer": {"instance.update", "token.create"}, "action=instance&result=ok": {"instance.create", "instance.update"},
    "action=instance.create": {"instance.create"}, "result=refused": {"instance.stop"}, "object=alph&result=ok": {
        "instance.create", "instance.update"}, "text=Good": set(), "text=configuration": {"instance.update"},
    "text=%25": set(), "until=2001-01-01T00:00:00Z": set(), "actor=nobody-such": set(),
}  # fmt: skip


@pytest.mark.parametrize("query", FILTERS)
def test_filters(people: People, story: dict[str, Any], query: str) -> None:
    found = listed(people.owner, query)
    assert {row["action"] for row in found["items"]} == FILTERS[query] and found["total"] == len(found["items"])


def test_times(people: People, story: dict[str, Any]) -> None:
    later = (clock.now() + timedelta(hours=1)).isoformat().replace("+", "%2B")
    assert listed(people.admin, f"since={later}")["total"] == 0
    assert listed(people.admin, f"until={later}")["total"] > 3
    for query in (f"since={later}&until={later}", "since=2026-01-01T00:00:00", "result=maybe", "limit=0", "before=-1", "x=1"):
        assert people.admin.get(f"audit?{query}").status_code == 422


def test_pages_by_cursor_with_a_true_total(people: People, story: dict[str, Any]) -> None:
    total = listed(people.admin)["total"]
    seen: list[int] = []
    cursor = ""
    while True:
        page = listed(people.admin, f"limit=2{cursor}")
        assert page["total"] == total and len(page["items"]) <= 2
        seen += [row["seq"] for row in page["items"]]
        if page["next"] is None:
            break
        people.owner.create(f"x{len(seen)}")  # what comes meanwhile does not shift the pages
        total += 1
        cursor = f"&before={page['next']}"
    assert seen == sorted(set(seen), reverse=True) and seen[-1] == 1


def test_the_cost_does_not_grow(people: People, portal_app: Flask) -> None:
    people.owner.create("q0")

    def cost() -> list[str]:
        with counted_sql(portal_app) as statements:
            listed(people.owner, "limit=100")
        return statements

    few = cost()
    for number in range(1, 20):
        people.owner.create(f"q{number}")
    assert len(cost()) == len(few)


def test_the_cost_of_a_change(people: People, portal_app: Flask) -> None:
    with counted_sql(portal_app) as statements:
        people.owner.create("q0")
    assert sum("audit_" in statement for statement in statements) == 3, "lock the head, append, move the head"


# ---- who sees what


def test_tenants_do_not_see_each_other(people: People, story: dict[str, Any]) -> None:
    ours, theirs = listed(people.owner)["items"], listed(people.stranger)["items"]
    assert {row["object_name"] for row in ours if row["object_type"] == "instance" and row["result"] == "ok"} == {"alpha"}
    assert "omega" not in json.dumps(ours) and "alpha" not in json.dumps(theirs)
    mine = {row["seq"] for row in ours}
    for row in theirs:
        assert row["seq"] not in mine
        assert people.owner.get(f"audit/{row['seq']}").status_code == 404
    assert listed(people.admin)["total"] >= len(ours) + len(theirs)
    assert listed(people.owner, f"instance={story['theirs']}")["total"] == 0
    text = people.owner.get("audit/export").get_data(as_text=True)
    assert "omega" not in text and "alpha" in text


def test_a_stranger_who_tried_is_told_to_his_own_people(people: People, story: dict[str, Any]) -> None:
    refused = listed(people.stranger, "result=refused")["items"]
    assert [(row["status"], row["object_id"], row["object_name"]) for row in refused] == [(404, story["ours"], "")]
    assert all(row["actor_name"] != "stranger" for row in listed(people.owner)["items"])


@pytest.mark.parametrize("role", ["viewer", "developer", "operator"])
def test_others_may_not_read_it(people: People, role: str, story: dict[str, Any]) -> None:
    who: Person = getattr(people, role)
    for path in ("audit", "audit/1", "audit/export"):
        assert who.get(path).status_code == 403
    browser = who.browser()
    for path in ("/audit", "/audit/1", "/audit/export", f"/instances/{story['ours']}/changes"):
        assert browser.get(path).status_code == 403
    page = browser.get(f"/instances/{story['ours']}").get_data(as_text=True)
    assert "/changes" not in page and 'href="/audit"' not in page


def test_nobody(portal_app: Flask) -> None:
    assert portal_app.test_client().get("/api/v1/audit").status_code == 401


@pytest.mark.parametrize("seq", ["0", "999999", "x", "1.5", "-1", "9" * 30])
def test_unknown_numbers(people: People, seq: str) -> None:
    assert people.admin.get(f"audit/{seq}").status_code == 404


# ---- refused attempts


def test_refusals_are_told_with_their_reason(people: People, story: dict[str, Any], portal_app: Flask) -> None:
    (entry,) = listed(people.owner, "result=refused")["items"]
    assert (entry["action"], entry["actor_name"], entry["status"]) == ("instance.stop", "viewer", 403)
    assert entry["object_name"] == "alpha" and "lack" in entry["reason"]


def test_a_form_that_comes_back_says_why(people: People, story: dict[str, Any]) -> None:
    browser = people.owner.browser()
    token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/instances/new").get_data(as_text=True))
    assert token
    form = {"csrf_token": token[1], "adapter": "echo", "name": "Not A Name"}
    assert browser.post("/instances/new", data=form).status_code == 422
    (entry,) = listed(people.owner, "result=refused&action=instance.create")["items"]
    assert "small letters" in entry["reason"] and "Unprocessable" not in entry["reason"]


ATTEMPTS: list[tuple[str, str, Any, int, str]] = [
    ("POST", "instances", {"name": "Not A Name", "adapter": "echo"}, 422, "instance.create"),
    ("PATCH", "instances/{ours}", {"labels": {"a": "b"}}, 428, "instance.update"),
    ("DELETE", "instances/nothing", None, 404, "instance.delete"),
    ("POST", "operations/nothing/cancel", None, 404, "operation.cancel"),
    ("DELETE", "tokens/nothing", None, 404, "token.delete"),
    ("POST", "tokens", {"name": ""}, 422, "token.create"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "action"), ATTEMPTS)
def test_which_attempts(
    people: People, story: dict[str, Any], method: str, path: str, body: Any, status: int, action: str
) -> None:
    answer = people.owner.request(method, path.format(**story), **({"json": body} if body is not None else {}))
    assert answer.status_code == status, answer.get_data(as_text=True)
    entry = listed(people.owner, "limit=1")["items"][0]
    assert (entry["action"], entry["status"], entry["actor_name"], entry["result"]) == (action, status, "owner", "refused")
    assert entry["request_id"] == answer.headers["X-Request-ID"]


WORDS = {
    ("POST", "/api/v1/instances"): "instance.create", ("POST", "/api/v1/instances/x/rekey"): "instance.rekey",
    ("PATCH", "/api/v1/instances/x"): "instance.update", ("POST", "/instances/x/stop"): "instance.stop",
    ("POST", "/instances/new"): "instance.create", ("POST", "/instances/x/edit"): "instance.update",
    ("POST", "/login"): "sign_in", ("POST", "/api/v1/auth/otp/enable"): "otp.enable",
    ("POST", "/profile/password"): "user.password",
    ("PUT", "/api/v1/tenants/x/quota"): "quota.update", ("DELETE", "/api/v1/tenants/x/members/y"): "member.delete",
    ("POST", "/api/v1/tenants/x/members"): "member.create", ("POST", "/profile/tokens/x/revoke"): "token.revoke",
}  # fmt: skip


@pytest.mark.parametrize("asked", WORDS)
def test_words_for_what_was_tried(portal_app: Flask, asked: tuple[str, str]) -> None:
    with portal_app.test_request_context(asked[1], method=asked[0]):
        told = audited.what()
    assert told is not None and told.action == WORDS[asked]


def test_every_changing_route_has_words(portal_app: Flask) -> None:
    """New routes join by themselves; this only shows that none breaks the rule."""
    for rule in portal_app.url_map.iter_rules():
        for method in (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}:
            path = re.sub(r"<any\((\w+).*?>", r"\1", rule.rule)
            with portal_app.test_request_context(re.sub(r"<[^>]*>", "1", path), method=method):
                told = audited.what()
            assert told is None or re.fullmatch(r"[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)?", told.action), (rule, told)


def test_looking_and_checking_is_no_attempt(people: People, portal_app: Flask) -> None:
    before = len(entries(portal_app))
    people.viewer.get("instances/nothing")
    people.owner.post("instances/check", {"name": "Not A Name", "adapter": "echo"})
    portal_app.test_client().post("/no/such/page")
    assert len(entries(portal_app)) == before


def test_one_of_many_at_once(people: People, story: dict[str, Any]) -> None:
    answer = people.owner.post("instances/bulk", {"action": "start", "ids": [story["ours"], story["theirs"]]})
    assert answer.status_code == 200
    rows = [row for row in listed(people.owner, "result=refused")["items"] if row["summary"].startswith("One of many")]
    assert {(row["object_name"], row["status"]) for row in rows} == {("alpha", 409), ("", 404)}


def test_a_flood_of_equal_ones_becomes_two(people: People, portal_app: Flask, story: dict[str, Any]) -> None:
    before = len(entries(portal_app))
    for _ in range(30):
        people.viewer.post(f"instances/{story['ours']}/restart")
    assert len(entries(portal_app)) == before + 1
    from clawportal.services.audit.refusals import write_rest

    with portal_app.app_context():
        write_rest(portal_of(portal_app))
    rows = entries(portal_app)[before:]
    assert [row.times for row in rows] == [1, 29] or sum(row.times for row in rows if row.action == "instance.restart") == 30


def refusal(number: int, address: str = "192.0.2.1") -> Pending:
    return Pending("x", NOBODY, "x", str(number), result=REFUSED, status=404, origin=Origin("api", address))


def test_a_flood_of_different_ones_is_bounded() -> None:
    now = 0.0
    held = Refusals(lambda: now)
    written = 0
    for second in range(3600):
        now = float(second)
        for number in range(20):
            written += len(held.add(refusal(second * 20 + number)))
    written += len(held.due(everything=True))
    assert OF_ONE <= written <= OF_ONE + 3600 / REFILL + 3600 / WINDOW + 2
    assert len(held._seen) == 0


def test_a_flood_hides_nothing_but_itself() -> None:
    """A guest's 260 tries leave room for those of others, of the same tenant and of others; and are counted as the guest's."""
    held = Refusals(lambda: 0.0)
    team = (Grant(frozenset({INSTANCE_READ}), tenant_id="t1"),)
    guest, member = Actor("guest", "guest", grants=team), Actor("kim", "kim", grants=team)

    def told(actor: Actor, number: int, address: str = "192.0.2.1") -> list[Pending]:
        return held.add(Pending("x", actor, "x", str(number), result=REFUSED, status=404, origin=Origin("api", address)))

    assert sum(len(told(guest, number)) for number in range(260)) == OF_ONE
    assert len(told(member, 1)) == len(told(NOBODY, 2)) == len(told(Actor("other", "other"), 3)) == 1
    (rest,) = [entry for entry in held.due(everything=True) if entry.action == "many"]
    assert (rest.actor.id, rest.tenant_id, rest.times) == ("guest", "t1", 260 - OF_ONE)
    assert rest.origin is not None and rest.origin.address == "192.0.2.1"


def test_a_flood_from_many_addresses_is_bounded() -> None:
    held = Refusals(lambda: 0.0)
    written = sum(len(held.add(refusal(number, f"10.{number // 250}.{number % 250}.1"))) for number in range(5000))
    assert written <= OF_ALL and len(held.add(Pending("x", Actor("kim", "kim", grants=(
        Grant(frozenset({INSTANCE_READ}), tenant_id="t1"),)), "x", "1", result=REFUSED, status=404))) == 1  # fmt: skip
    assert len(held.due(everything=True)) < 300


def test_counts_are_complete() -> None:
    now = 0.0
    held = Refusals(lambda: now)
    total = 0
    for number in range(1000):
        now += 0.5
        total += sum(entry.times for entry in held.add(refusal(number % 3)))
    total += sum(entry.times for entry in held.due(everything=True))
    assert total == 1000


def test_actors_do_not_share_a_count() -> None:
    held = Refusals()
    assert len(held.add(refusal(1, "192.0.2.1"))) == len(held.add(refusal(1, "192.0.2.2"))) == 1
    other = Pending("x", Actor("kim", "kim"), "x", "1", result=REFUSED, status=404, origin=Origin("api", "192.0.2.1"))
    assert len(held.add(other)) == 1 and held.add(other) == []


def test_a_refusal_that_cannot_be_written_is_still_the_answer(people: People, portal_app: Flask, story: dict[str, Any]) -> None:
    class Broken(Refusals):
        def add(self, entry: Pending) -> list[Pending]:
            raise Problem("no disk")

    portal_of(portal_app).put(Refusals, Broken())
    assert people.viewer.post(f"instances/{story['ours']}/stop").status_code == 403


# ---- files


def test_files(people: People, story: dict[str, Any], portal_app: Flask) -> None:
    answer = people.owner.get("audit/export?format=jsonl&action=instance.create")
    rows = [json.loads(line) for line in answer.get_data(as_text=True).splitlines()]
    assert answer.mimetype == "application/x-ndjson" and [row["object_name"] for row in rows] == ["alpha"]
    answer = people.admin.get("audit/export?format=csv")
    found = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
    assert answer.mimetype == "text/csv" and "attachment" in answer.headers["Content-Disposition"]
    assert tuple(found[0]) == exports.COLUMNS
    assert [int(row["seq"]) for row in found] == list(range(1, len(found) + 1))
    assert found[-1]["action"] == "audit.export" and entries(portal_app)[-1].after == {}, "an export is an entry too"


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_spreadsheets_run_nothing(value: str) -> None:
    row = dict.fromkeys(exports.COLUMNS, "") | {"seq": -5, "object_name": value, "after": {"=a": "=b"}}
    (_, cells) = csv.reader(io.StringIO("".join(exports.lines([row], "csv")), newline=""))
    assert cells[exports.COLUMNS.index("object_name")] == f"'{value}"
    assert cells[exports.COLUMNS.index("after")].startswith("{") and cells[0] == "-5"


# ---- pages


def test_pages(people: People, story: dict[str, Any]) -> None:
    browser = people.owner.browser()
    home = browser.get(f"/instances/{story['ours']}").get_data(as_text=True)
    assert f'href="/instances/{story["ours"]}/changes"' in home and 'href="/audit"' in home
    changes = browser.get(f"/instances/{story['ours']}/changes").get_data(as_text=True)
    assert "Greeting: <del>Hello</del>" in changes and "<ins>Good day</ins>" in changes and "developer" in changes
    seq = listed(people.owner, "action=instance.update")["items"][0]["seq"]
    assert f'href="/audit/{seq}"' in changes
    page = browser.get(f"/audit/{seq}").get_data(as_text=True)
    assert "<del>Hello</del>" in page and "<ins>Good day</ins>" in page and "127.0.0.1" in page
    everything = browser.get("/audit").get_data(as_text=True)
    assert "omega" not in everything and "Refused" in everything
    part = browser.get("/audit?q=nothing-such", headers={"HX-Request": "true"}).get_data(as_text=True)
    assert "No entry fits" in part and "<html" not in part
    assert browser.get("/audit?since=2020-01-01&until=2020-01-01").get_data(as_text=True).count("audit_entry") == 0
    for query in ("since=yesterday", "result=x", "before=x", "since=2026-01-02&until=2026-01-01", "since=0001-01-01"):
        assert browser.get(f"/audit?{query}").status_code == 422, query
    file = browser.get("/audit/export?format=csv&result=refused&q=").get_data(as_text=True)
    assert file.count("\n") == 2 and browser.get("/audit/export?format=xml").status_code == 422
    assert browser.get("/audit/99999").status_code == 404


def test_pages_escape(people: People) -> None:
    people.owner.post("instances", {"name": "<script>alert(1)</script>", "adapter": "echo"})
    page = people.owner.browser().get("/audit").get_data(as_text=True)
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_an_empty_audit_teaches(people: People, portal_app: Flask) -> None:
    with portal_app.app_context():
        wanted = instances.NewInstance(name="quiet", adapter="echo")
        one = instances.create(portal_of(portal_app), SYSTEM, wanted).id
    page = people.admin.browser().get(f"/instances/{one}/changes").get_data(as_text=True)
    assert "written down here for good" in page
