"""`claw cluster` against a real server: connect, look, change, press, delete; exit codes and JSON."""

from __future__ import annotations

from tests.cli.test_claw import Terminal, claw, nowhere
from tests.conftest import Server, make_tenant, portal_of, wait_for
from tests.web.test_cluster_pages import LabDriver

__all__ = ["claw", "nowhere"]


def test_a_cluster_from_a_terminal(claw: Terminal, server: Server, tmp_path: object) -> None:
    portal_of(server.app).registry.runtimes["lab"] = LabDriver(kind="lab", title="Laboratory")
    make_tenant(server.app, "acme")
    arguments = ("lab-1", "--kind", "lab", "--set", "address=lab.example", "--secret", "key=@-", "--policy", "repair_drift=true")
    refused = claw("cluster", "create", *arguments, stdin="wrong-key-value\n")
    assert refused.exit_code == 1 and "Give it the right key." in refused.output and "wrong-key-value" not in refused.output
    assert claw("cluster", "show", "lab-1").exit_code == 3, "nothing was stored"
    made = claw("cluster", "create", *arguments, "--tenant", "acme", stdin="right\nkey\n")
    assert made.exit_code == 0, made.output
    wait_for(lambda: claw.json("cluster", "show", "lab-1")["health"] == "healthy", what="it was looked at")
    found = claw.json("cluster", "show", "lab-1")
    assert found["secrets"] == ["key"] and found["settings"]["address"] == "lab.example" and found["version"] == "Lab v7"
    assert [item["title"] for item in found["tenants"]] == ["Acme"] and found["policy"] == {"repair_drift": True}
    assert "lab-1" in claw("cluster", "list").output and "right" not in claw("cluster", "show", "lab-1").output
    changed = ("--set", "verify=false", "--policy", "repair_drift=null", "--for-all", "--label", "region=eu")
    found = claw.json("cluster", "edit", "lab-1", *changed)
    assert found["settings"] == {"address": "lab.example", "verify": False} and found["for_all"] and found["policy"] == {}
    assert claw("cluster", "edit", "lab-1").exit_code == 2
    tried = claw("cluster", "test", "lab-1")
    assert tried.exit_code == 0, "the stored key is still the right one"
    for verb in ("pause", "resume", "cordon", "uncordon"):
        assert claw("cluster", verb, "lab-1").exit_code == 0
    assert claw("cluster", "resume", "lab-1").exit_code == 6
    assert claw("cluster", "delete", "local", "--yes", "local").exit_code == 6
    assert claw("cluster", "delete", "lab-1", "--yes", "lab").exit_code == 6
    assert claw("cluster", "delete", "lab-1", "--yes", "lab-1").exit_code == 0
    assert claw("cluster", "show", "lab-1").exit_code == 3
