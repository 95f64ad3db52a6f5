"""`claw cluster foreign|import`, `claw adopt|forget` against a real server."""

from __future__ import annotations

from typing import Any

from clawportal.contracts.runtimes import RunState, UnmanagedWorkload
from clawportal.testing.places import MemoryDriver, YardRuntime
from tests.cli.test_claw import Terminal, claw, nowhere
from tests.conftest import Server, make_cluster, portal_of, wait_for

__all__ = ["claw", "nowhere"]


def test_a_container_from_a_terminal(claw: Terminal, server: Server) -> None:
    runtime = YardRuntime(UnmanagedWorkload("c0ffee", "openclaw-1", "openclaw:2026.9.6", RunState.RUNNING), UnmanagedWorkload(
        "badcafe", "Box 2", "registry.example/box", RunState.RUNNING
    ))  # fmt: skip
    driver: Any = MemoryDriver(runtime, kind="yard", title="Yard")
    portal_of(server.app).registry.runtimes["yard"] = driver
    make_cluster(server.app, "yard", None, "yard")
    listed = claw("cluster", "foreign", "yard")
    assert listed.exit_code == 0 and "openclaw-1" in listed.output and "Box 2" in listed.output
    assert claw("cluster", "import", "yard", "Box 2").exit_code == 6, "nothing tells its kind"
    made = claw.json("cluster", "import", "yard", "Box 2", "--type", "echo", "--label", "team=a")
    assert made["name"] == "box-2" and made["managed"] is False and made["labels"] == {"team": "a"}
    assert "only observed" in claw("cluster", "import", "yard", "openclaw-1", "--name", "old-one").output
    wait_for(lambda: claw.json("get", "old-one")["phase"] == "running", what="it was looked at")
    refused = claw("stop", "old-one")
    assert refused.exit_code == 6 and "Adopt it first" in refused.output
    assert claw("adopt", "old-one").exit_code == 0 and claw("adopt", "old-one").exit_code == 6
    assert claw("stop", "old-one", "--wait").exit_code == 0 and not runtime.unmanaged_runs["c0ffee"].running
    assert claw("start", "old-one", "--wait").exit_code == 0 and runtime.unmanaged_runs["c0ffee"].starts == 2
    for name in ("old-one", "box-2"):
        assert "was not touched" in claw("forget", name).output
    assert runtime.unmanaged_runs["c0ffee"].running and claw("get", "old-one").exit_code == 3
    assert {item["instance_name"] for item in claw.json("cluster", "foreign", "yard")["items"]} == {""}
