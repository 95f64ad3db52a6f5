"""The pages of clusters: list, one cluster, the form with its test, what is pressed, and the picker of the create form."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from pydantic import BaseModel, Field

from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.runtimes import Place, Runtime
from clawportal.contracts.specs import Strict
from clawportal.testing.places import MemoryDriver, MemoryRuntime
from tests.conftest import People, Person, make_cluster, portal_of
from tests.web.conftest import Browser


class LabSettings(Strict):
    address: str = Field("", title="Address", min_length=3)
    verify: bool = Field(True, title="Check its certificate")
    key: str = Field("", title="Key", json_schema_extra={"x-secret": True, "x-widget": "textarea"})


class LabRuntime(MemoryRuntime):
    """Says what it lacks, and by mistake also what it was given."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def diagnose(self) -> list[DoctorResult]:
        if self.place.secrets.get("key") == "right\nkey":
            return [DoctorResult("sign-in", True, "It lets us in."), DoctorResult("storage", True, "There is a class.")]
        told = f"It does not know {self.place.secrets.get('key')!r}."
        return [DoctorResult("sign-in", False, told, "Give it the right key.")]

    def version(self) -> str:
        return "Lab v7"


class LabDriver(MemoryDriver):
    def settings_model(self) -> type[BaseModel]:
        return LabSettings

    def connect(self, place: Place) -> Runtime:
        return LabRuntime(place)


@pytest.fixture
def lab(portal_app: Flask) -> None:
    portal_of(portal_app).registry.runtimes["lab"] = LabDriver(kind="lab", title="Laboratory")


FORM: dict[str, Any] = {
    "runtime": "lab", "name": "lab-1", "title": "Lab one", "labels.name": "region", "labels.value": "eu",
    "settings.address": "lab.example",
    "settings.verify": "true", "secrets.key": "wrong-key-value", "audience": "all", "policy.max_concurrent_starts": "3",
    "policy.repair_drift": "true",
}  # fmt: skip


def generation_in(page: str) -> str:
    found = re.search(r'name="generation" value="(\d+)"', page)
    assert found
    return found[1]


@pytest.mark.usefixtures("lab")
def test_who_saves_second_is_shown_what_the_first_saved(admin: Person, browse: Callable[[Person], Browser]) -> None:
    browser = browse(admin)
    edit = browser.post("/clusters/new", FORM).headers["Location"] + "/edit"
    read = generation_in(browser.page(edit))
    first = FORM | {
        "generation": read,
        "title": "Theirs",
        "settings.address": "other.example",
        "labels.name": "",
        "labels.value": "",
        "policy.repair_drift": "",
    }
    assert browser.post(edit, first | {"secrets.key": "another-key-value"}).status_code == 303
    second = FORM | {"generation": read, "title": "Mine", "secrets.key": ""}
    refused = browser.post(edit, second)
    text = refused.get_data(as_text=True)
    assert refused.status_code == 412 and "Somebody else changed this meanwhile" in text and "admin saved it" in text
    for name, now in (("Title", "Theirs"), ("Address", "other.example"), ("Labels", "–"), ("Repair what others changed", "false"),
                      ("Key", "another value")):  # fmt: skip
        assert re.search(rf">{name}</a>: <code>{now}</code>", text), name
    assert "Starts at a time</a>" not in text, "only what differs"
    assert "another-key-value" not in text and 'value="Mine"' in text, "no secret comes back, and nothing typed is lost"
    assert browser.post(edit, second).status_code == 412, "once more is not a decision"
    overwrite = re.search(r'form="cluster-form" name="overwrite" value="(\d+)"', text)
    assert overwrite and browser.post(edit, second | {"overwrite": overwrite[1]}).status_code == 303
    found = admin.get("clusters/lab-1").get_json()
    assert found["title"] == "Mine" and found["settings"]["address"] == "lab.example" and found["secrets"] == ["key"]


@pytest.mark.usefixtures("lab")
def test_from_the_first_test_to_deleting(admin: Person, browse: Callable[[Person], Browser]) -> None:
    browser = browse(admin)
    page = browser.page("/clusters/new?runtime=lab")
    assert 'name="settings.address"' in page and '<textarea class="form-control mono" id="f-secrets.key"' in page
    tried = browser.post("/clusters/new", FORM | {"action": "test"}, htmx=True).get_data(as_text=True)
    assert "Something is missing" in tried and "Give it the right key." in tried and "wrong-key-value" not in tried
    bad = browser.post("/clusters/new", FORM | {"settings.address": "x", "name": "Bad Name", "policy.portal_host": "a b"})
    text = bad.get_data(as_text=True)
    assert bad.status_code == 422 and "needs at least 3 characters" in text and "small letters" in text and "host name" in text
    assert "wrong-key-value" not in text, "a secret never comes back"
    made = browser.post("/clusters/new", FORM)
    assert made.status_code == 303
    where = made.headers["Location"]
    shown = browser.page(where)
    assert "Lab one" in shown and "region=eu" in shown and "wrong-key-value" not in shown and "Stored secrets" in shown
    edited = browser.page(f"{where}/edit")
    assert "stored; type to replace" in edited and "wrong-key-value" not in edited and 'value="lab.example"' in edited
    kept = browser.post(f"{where}/edit", FORM | {"secrets.key": "", "title": "Lab two", "action": "test"}, htmx=True)
    assert "Give it the right key." in kept.get_data(as_text=True), "tried with the stored one"
    good = browser.post(f"{where}/edit", FORM | {"secrets.key": "right\r\nkey", "action": "test"}, htmx=True)
    assert "The connection works" in good.get_data(as_text=True) and "Lab v7" in good.get_data(as_text=True)
    assert browser.post(f"{where}/edit", FORM | {"title": "Lab two"}).status_code == 428, "it does not say what it read"
    mine = FORM | {"secrets.key": "right\r\nkey", "title": "Lab two", "generation": generation_in(edited)}
    assert browser.post(f"{where}/edit", mine).status_code == 303
    assert "The connection works" in browser.post(f"{where}/test", htmx=True).get_data(as_text=True)
    for action, word in (("cordon", "Cordoned"), ("pause", "Paused"), ("uncordon", "Paused"), ("resume", "Not asked yet")):
        assert browser.post(f"{where}/{action}").status_code == 303
        assert word in browser.page("/clusters")
    assert browser.post(f"{where}/resume").status_code == 409
    assert browser.post(f"{where}/delete", {"confirm": "no"}).status_code == 422
    assert browser.post(f"{where}/delete", {"confirm": "lab-1"}).status_code == 303
    assert browser.get(where).status_code == 404


@pytest.mark.usefixtures("lab")
def test_labels_are_pairs_of_fields_and_filter_the_list(admin: Person, browse: Callable[[Person], Browser]) -> None:
    browser = browse(admin)
    for names, values, words in (
        (["region", "region"], ["eu", "us"], "one value only"), ([""], ["lost"], "Give each label a name"),
        (["ä", "-b"], ["x", ""], "-b: Labels have letters"),
    ):  # fmt: skip
        text = browser.post("/clusters/new", FORM | {"labels.name": names, "labels.value": values}).get_data(as_text=True)
        assert words in text and all(f'name="labels.name" value="{name}"' in text for name in names)
    browser.post("/clusters/new", FORM | {"labels.name": ["region", "gpu", ""], "labels.value": ["eu", "", ""]})
    assert admin.get("clusters/lab-1").get_json()["labels"] == {"region": "eu", "gpu": ""}
    page = browser.page("/clusters")
    assert 'href="/clusters?labels=region%3Deu"' in page.replace("=eu", "%3Deu") and 'title="gpu"' in page
    for asked, found in (("region%3Deu", True), ("region%3Dus", False), ("!gpu", False), ("gpu,region+in+(eu,us)", True)):
        page = browser.page(f"/clusters?labels={asked}")
        assert ("Lab one" in page) is found, asked
        assert "Clear the filters" in page
    assert browser.get("/clusters?labels=%3D%3D").status_code == 422


def test_this_machine_cannot_be_deleted(admin: Person, browse: Callable[[Person], Browser]) -> None:
    browser = browse(admin)
    one = admin.get("clusters/local").get_json()["id"]
    assert "belongs to the portal itself" in browser.page(f"/clusters/{one}/delete")
    assert browser.post(f"/clusters/{one}/delete", {"confirm": "local"}).status_code == 409


def test_members_see_what_they_may_use(people: People, browse: Callable[[Person], Browser]) -> None:
    make_cluster(people.owner.app, "ours", ["default"], title="For us")
    theirs = make_cluster(people.owner.app, "theirs", ["acme"], title="For them")
    page = browse(people.viewer).page("/clusters")
    assert "For us" in page and "For them" not in page and "Connect a cluster" not in page
    assert browse(people.viewer).get(f"/clusters/{theirs}").status_code == 404
    ours = people.viewer.get("clusters/ours").get_json()["id"]
    page = browse(people.viewer).page(f"/clusters/{ours}")
    assert "Who may use it" not in page and "Edit" not in page


def test_the_create_form_has_a_picker_where_there_is_a_choice(people: People, browse: Callable[[Person], Browser]) -> None:
    browser = browse(people.owner)
    assert 'name="cluster"' not in browser.page("/instances/new?adapter=echo")
    ours = make_cluster(people.owner.app, "ours", ["default"], title="For us")
    make_cluster(people.owner.app, "theirs", ["acme"], title="For them")
    page = browser.page("/instances/new?adapter=echo")
    assert 'name="cluster"' in page and "For us" in page and "For them" not in page
    made = browser.post("/instances/new", {"adapter": "echo", "name": "e1", "cluster": ours})
    assert made.status_code == 303
    shown = browser.page(made.headers["Location"])
    assert f'href="/clusters/{ours}"' in shown and "For us" in shown
    people.admin.post(f"clusters/{ours}/cordon")
    refused = browser.post("/instances/new", {"adapter": "echo", "name": "e2", "cluster": ours}, htmx=True)
    assert refused.status_code == 422 and "takes no new instances" in refused.get_data(as_text=True)
