"""A network whose only way out is a proxy: what a cluster's policy says reaches its claws, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clawportal.contracts.permissions import SYSTEM
from clawportal.errors import Invalid
from clawportal.services.clusters import clusters
from clawportal.services.clusters.clusters import ClusterChange
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
        ({"claw_proxy": "http://user:pw@proxy:3128"}, "user or a password"), ({"claw_proxy": "proxy:3128"}, "must be such as"),
        ({"claw_no_proxy": "a b"}, "no host, domain or network"), ({"claw_ca": "hello"}, "neither PEM"),
    ],
)  # fmt: skip
def test_what_is_no_way_out_is_refused_at_its_field(memory: Memory, policy: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        say(memory, **policy)
    assert caught.value.errors[0].path == f"policy.{next(iter(policy))}"
