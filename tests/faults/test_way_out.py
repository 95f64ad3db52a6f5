"""A network whose only way out is a proxy: what a cluster's policy says reaches its claws, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clawportal import redact
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.errors import Invalid
from clawportal.models import Instance
from clawportal.services.clusters import claw_proxy, clusters
from clawportal.services.clusters.clusters import ClusterChange
from clawportal.services.configuration import layers
from clawportal.testing.certs import Authority
from tests.core.conftest import Memory

PROXY = "http://proxy.example.internal:3128"


def say(memory: Memory, **policy: Any) -> None:
    with memory.world.context() as portal:
        clusters.update(portal, SYSTEM, "memory", ClusterChange(policy=policy))


def plan_of(memory: Memory, one: str) -> dict[str, Any]:
    workload = memory.world.see(one).workload
    assert workload is not None
    return workload


def env_of(memory: Memory, one: str) -> Mapping[str, str]:
    return dict(plan_of(memory, one)["processes"][0]["env"])


def test_a_claw_is_told_its_way_out(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off until somebody says so; the portal's own proxy is not for claws."""
    monkeypatch.setenv("HTTPS_PROXY", "http://portal.proxy:1")
    plain = memory.create("plain")
    memory.until(plain, "running")
    before = plan_of(memory, plain)
    assert not {name for name in env_of(memory, plain) if "PROXY" in name.upper() or "CERT" in name}
    say(memory, portal_host="portal.example.internal")
    other = memory.create("other")
    memory.until(other, "running")
    assert plan_of(memory, other)["processes"] == before["processes"], "nothing changes where nothing is said"

    ca = Authority().root
    say(
        memory,
        claw_proxy=PROXY + "/",
        claw_no_proxy=" llm.example.internal, 10.0.0.0/8 ",
        claw_ca=ca,
        portal_host="portal.example",
    )
    one = memory.create("one")
    memory.until(one, "running")
    found = env_of(memory, one)
    assert found["HTTPS_PROXY"] == found["https_proxy"] == found["HTTP_PROXY"] == PROXY and found["NODE_USE_ENV_PROXY"] == "1"
    assert found["NO_PROXY"] == "localhost,127.0.0.1,::1,portal.example,llm.example.internal,10.0.0.0/8" == found["no_proxy"]
    [file] = [each for each in plan_of(memory, one)["files"] if each["path"].endswith("ca.pem")]
    assert file["content"] == ca and {found["NODE_EXTRA_CA_CERTS"], found["SSL_CERT_FILE"], found["REQUESTS_CA_BUNDLE"]} == {
        f"/srv/{one}/state/{file['path']}"
    }


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"claw_proxy": "proxy:3128"}, "must be such as"), ({"claw_proxy": "http://a:b@proxy:3128/x y"}, "must be such as"),
        ({"claw_no_proxy": "a b"}, "no host, domain or network"), ({"claw_ca": "hello"}, "neither PEM"),
    ],
)  # fmt: skip
def test_what_is_no_way_out_is_refused_at_its_field(memory: Memory, policy: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        say(memory, **policy)
    assert caught.value.errors[0].path == f"policy.{next(iter(policy))}"


LOGIN = "claws:p@ss/w%rd"
SIGNED_IN = "http://claws:p%40ss%2Fw%25rd@proxy.example.internal:3128"
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


def sign_in(memory: Memory, login: str | None, **policy: Any) -> None:
    with memory.world.context() as portal:
        clusters.update(portal, SYSTEM, "memory", ClusterChange(policy=policy, secrets={"claw_proxy_login": login}))


def given_to(memory: Memory, one: str) -> Mapping[str, str]:
    """The values that a claw gets with its next start."""
    with memory.world.context() as portal:
        return layers.secrets_for(portal, db.session.get_one(Instance, one))


def test_the_sign_in_at_a_proxy_is_a_secret(memory: Memory) -> None:
    """Stored sealed, in no document, no workload and no answer; given to claws, and hidden in what they say."""
    sign_in(memory, LOGIN, claw_proxy=PROXY)
    one = memory.create("one")
    memory.until(one, "running")
    [process] = plan_of(memory, one)["processes"]
    assert not set(NAMES) & set(process["env"]) and process["env"]["NODE_USE_ENV_PROXY"] == "1"
    assert {name: process["secret_env"][name] for name in NAMES} == dict.fromkeys(NAMES, "clawportal_proxy")
    assert given_to(memory, one)["clawportal_proxy"] == SIGNED_IN
    with memory.world.context() as portal:
        row = clusters.get(SYSTEM, "memory")
        assert row.policy == {"claw_proxy": PROXY, "claw_proxy_login": True} and clusters.secret_names(row.id) == [
            "claw_proxy_login"
        ]
        assert clusters.open_secrets(portal, row.id) == {}, "it is not for the connection"
        instance = db.session.get_one(Instance, one)
        masked = redact.masked(["p@ss/w%rd", SIGNED_IN], layers.open_secrets(portal, instance).values())
        assert masked == ("********", "********")
        dump = "\n".join(db.session.connection().connection.driver_connection.iterdump())  # type: ignore[union-attr]  # SQLite's own
        assert "p@ss" not in dump and "p%40ss" not in dump


def test_a_sign_in_inside_the_address_is_taken_and_sealed(memory: Memory) -> None:
    say(memory, claw_proxy=SIGNED_IN)
    with memory.world.context() as portal:
        row = clusters.get(SYSTEM, "memory")
        assert row.policy == {"claw_proxy": PROXY, "claw_proxy_login": True}
        assert claw_proxy.values(portal, row.id)["clawportal_proxy"] == SIGNED_IN


def test_a_sign_in_is_for_the_proxy_it_was_entered_for(memory: Memory) -> None:
    sign_in(memory, LOGIN, claw_proxy=PROXY)
    with pytest.raises(Invalid, match=r"was entered for http://proxy\.example\.internal:3128") as caught:
        say(memory, claw_proxy="http://elsewhere.example:3128")
    assert caught.value.errors[0].path == "secrets.claw_proxy_login"
    say(memory, claw_proxy=PROXY + "/", claw_no_proxy="x.example")
    one = memory.create("kept")
    assert given_to(memory, one)["clawportal_proxy"] == SIGNED_IN, "another setting asks for nothing again"
    with memory.world.context(), transaction():  # whoever writes to the tables gets it nowhere else
        clusters.get(SYSTEM, "memory").policy = {"claw_proxy": "http://elsewhere.example:3128", "claw_proxy_login": True}
    assert "clawportal_proxy" not in given_to(memory, one)
    sign_in(memory, "other:word", claw_proxy="http://elsewhere.example:3128")
    assert given_to(memory, one)["clawportal_proxy"] == "http://other:word@elsewhere.example:3128"
    sign_in(memory, None, claw_proxy=PROXY)
    assert "clawportal_proxy" not in given_to(memory, one)
    sign_in(memory, LOGIN, claw_proxy=PROXY)
    say(memory)
    with memory.world.context():
        assert clusters.secret_names(clusters.get(SYSTEM, "memory").id) == [], "without a proxy there is nothing to sign in to"


@pytest.mark.parametrize(
    ("login", "policy", "words"),
    [
        ("claws", {"claw_proxy": PROXY}, "with a colon"), (":pw", {"claw_proxy": PROXY}, "with a colon"),
        (LOGIN, {}, "enter the address of the proxy"), ("claws:a\nb", {"claw_proxy": PROXY}, "a line break"),
    ],
)  # fmt: skip
def test_what_is_no_sign_in_is_refused_at_its_field(memory: Memory, login: str, policy: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        sign_in(memory, login, **policy)
    assert [error.path for error in caught.value.errors] == ["secrets.claw_proxy_login"]
    assert "claws:" not in str(caught.value) or words == "with a colon"
