"""Where a test of a model may go: not to what is the portal's own, by whatever name, unless the operator says so."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest

from clawportal.contracts.providers import ModelProviders
from clawportal.sections import Unreadable, read
from clawportal.settings import Settings
from clawportal_practice.server import PracticeModel
from clawportal_providers import probe, reaching
from clawportal_providers.settings import CredentialSettings
from tests.conftest import People, Person, make_people, portal_of
from tests.providers.test_probe import LIST, serving, states, target

KEY = "sk-the-key-0123456789"
NETWORKS = "CLAWPORTAL_CREDENTIALS_TEST_NETWORKS"


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def tried(person: Person, home: str, base_url: str, **more: Any) -> Any:
    body = {"tenant": home, "provider": "openai-compatible", "base_url": base_url, "key": KEY, "model": "practice", **more}
    return person.post("credentials/test", body).get_json()


# ---- addresses


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "169.254.169.254", "::1", "::", "fe80::1", "fe80::1%lo", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "100.100.100.200", "168.63.129.16",
        "fd00:ec2::254", "224.0.0.1", "ff02::1", "255.255.255.255",
    ],
)  # fmt: skip
def test_what_is_the_portals_own_is_closed(address: str) -> None:
    assert not reaching.within(CredentialSettings())(address)
    assert not reaching.within(CredentialSettings(test_networks="192.0.2.0/24"))(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_what_is_public_is_open(address: str) -> None:
    assert reaching.within(CredentialSettings(test_private=False))(address)


@pytest.mark.parametrize("address", ["10.20.30.40", "172.31.255.1", "192.168.77.1", "100.64.9.9", "fd12:3456::1"])
def test_private_networks_are_open_until_the_operator_closes_them(address: str) -> None:
    assert reaching.within(CredentialSettings())(address)
    closed = reaching.within(CredentialSettings(test_private=False))
    assert not closed(address)
    assert reaching.within(CredentialSettings(test_private=False, test_networks=address))(address)


def test_addresses_of_this_machine_are_its_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no other address than loopback")
        mine = asking.getsockname()[0]
    assert not reaching.within(CredentialSettings())(mine)
    assert reaching.within(CredentialSettings(test_networks=mine))(mine)


@pytest.mark.parametrize("text", ["localhost", "127.0.0.1, 300.1.1.1", "10.0.0.1/8"])
def test_a_network_that_is_none_is_named_at_the_start(text: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NETWORKS, text)
    with pytest.raises(Unreadable, match="no address or network"):
        read(Settings(data_dir=tmp_path), "credentials", CredentialSettings)


# ---- by whatever name


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::ffff:127.0.0.1]"])
def test_a_member_does_not_reach_the_portals_machine(people: People, home: str, host: str) -> None:
    with serving({"models": LIST}) as double:
        url = double.url.replace("127.0.0.1", host)
        report = tried(people.owner, home, url)
        assert not report["ok"] and [step["name"] for step in report["steps"]] == ["address"], report
        listed = people.owner.post("credentials/models", {"tenant": home, "provider": "ollama", "base_url": url})
        assert listed.status_code in (409, 422)
        assert double.seen == []


def test_what_is_closed_is_told_alike_whether_somebody_listens(people: People, home: str) -> None:
    with PracticeModel(delay=0) as model:
        open_, port = model.url, model.url.partition("1:")[2].partition("/")[0]
        there = tried(people.owner, home, open_)["steps"]
    gone = tried(people.owner, home, open_)["steps"]
    assert there == gone and "where tests do not go" in there[0]["message"] and port in there[0]["message"]
    assert NETWORKS in there[0]["remedy"]


def test_a_stored_key_for_there_changes_nothing(people: People, home: str) -> None:
    with serving({"models": LIST}) as double:
        body = {"tenant": home, "name": "near", "provider": "ollama", "base_url": double.url, "key": KEY}
        one = people.owner.post("credentials", body).get_json()["id"]
        assert not people.owner.post("credentials/test", {"credential": one, "model": "practice"}).get_json()["ok"]
        assert people.owner.post("credentials/models", {"credential": one}).status_code == 409
        assert double.seen == []


def test_an_administrator_of_the_portal_reaches_it(people: People, home: str) -> None:
    with PracticeModel(api_key=KEY, delay=0) as model:
        assert tried(people.admin, home, model.url)["ok"]


def test_the_operator_opens_it(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NETWORKS, "127.0.0.0/8")
    people = make_people(make_app())
    home = people.owner.get("tenants").get_json()["items"][0]["id"]
    with PracticeModel(api_key=KEY, delay=0) as model:
        assert tried(people.owner, home, model.url)["ok"]


def test_what_a_plugin_registers_was_named_by_the_operator(people: People, home: str) -> None:
    registry = portal_of(people.owner.app).registry
    known = registry.providers
    with PracticeModel(api_key=KEY, delay=0) as model, serving({"models": LIST}) as double:
        registry.providers = ModelProviders({**known, "ollama": replace(known["ollama"], base_url=model.url)})
        assert tried(people.owner, home, "", provider="ollama")["ok"]
        assert tried(people.owner, home, model.url, provider="ollama")["ok"], "as it is registered"
        assert not tried(people.owner, home, double.url, provider="ollama")["ok"] and double.seen == []
        assert not tried(people.owner, home, model.url)["ok"], "of another provider nobody said so"


# ---- between looking and asking


def entry(address: str, port: int) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


def test_a_name_that_changes_its_address_meanwhile_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"models": LIST}) as double:
        port, asked = int(double.url.rpartition(":")[2].partition("/")[0]), []

        def resolved(host: Any, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            return entry("198.51.100.7" if len(asked) == 1 else "127.0.0.1", port)

        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        closed = target(f"http://llm.example:{port}/v1", reach=reaching.within(CredentialSettings()))
        assert states(probe.run(closed)) == {"address": "failed"}
        assert len(asked) == 2 and double.seen == []


def test_a_proxy_is_not_asked_for_what_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    reach = reaching.within(CredentialSettings())
    with serving({}) as proxy:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        report = probe.run(target("http://127.1:9/v1", reach=reach))
        assert "where tests do not go" in report.steps[0].message and proxy.seen == []
        probe.run(target("http://known-to-the-proxy.invalid/v1", reach=reach))
        assert proxy.seen[0][0] == "http://known-to-the-proxy.invalid/v1/models"
