"""`claw policy` against a portal that listens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import People, Person
from tests.rights.test_people_cli import Run, claw

__all__ = ["claw"]


def test_rules_from_a_terminal(people: People, claw: Callable[[Person], Run], tmp_path: Path) -> None:
    admin, owner, stranger = claw(people.admin), claw(people.owner), claw(people.stranger)
    assert "No rules." in owner("policy", "list").output
    assert "allowed" in owner("policy", "kinds").output
    owner("policy", "create", "small", "--kind", "size", "--set", "memory=2Gi", "--remedy", "Make it smaller.")
    owner(
        "policy",
        "create",
        "teams",
        "--kind",
        "labels",
        "--set",
        "required=team=sup*",
        "--set",
        "required=owner",
        "--mode",
        "warn",
    )
    rules = {rule["name"]: rule for rule in json.loads(owner("policy", "list", "-o", "json").output)}
    assert rules["small"]["parameters"] == {"cpu": "", "memory": "2Gi", "storage": ""} and rules["teams"]["mode"] == "warn"
    assert rules["teams"]["parameters"] == {"required": {"team": "sup*", "owner": ""}}
    owner("policy", "create", "bad", "--kind", "size", "--set", "colour=red", code=2)
    assert (
        "Line 1, column 4" in owner("policy", "create", "bad", "--kind", "expression", "--set", "expression=1 +", code=6).output
    )
    owner("policy", "create", "--kind", "size", code=2)
    owner("policy", "create", "wide", "--kind", "adapters", "--set", "allowed=*", "--portal", code=4)
    admin("policy", "create", "wide", "--kind", "adapters", "--set", "allowed=echo", "--set", "allowed=nanobot", "--portal")
    assert "portal" in stranger("policy", "list").output and "small" not in stranger("policy", "list").output
    stranger("policy", "show", "small", code=3)
    made = owner("create", "one", "--type", "echo", "--set", "resources.memory=1Gi")
    assert "Warning: The rule “teams” warns: The label team is missing." in made.output
    assert "one: The label team is missing." in owner("policy", "show", "teams").output
    refused = owner("create", "two", "--type", "echo", "--set", "resources.memory=4Gi", code=6).output
    assert "The rule “small” refuses this: 4Gi memory is more than 2Gi. The most is 2Gi. Make it smaller." in refused
    tried = owner("policy", "try", "one", "--action", "update", "--memory", "4Gi", code=6).output
    assert "refuses" in tried and "would be refused" in tried
    assert (
        "would go through"
        in owner("policy", "try", "--adapter", "echo", "--label", "team=support", "--label", "owner=kim").output
    )
    file = tmp_path / "rule.yaml"
    file.write_text("name: night\nkind: hours\nactions: [delete]\nparameters: {weekdays: [mon], from: '08:00', to: '18:00'}\n")
    assert (
        "not-saved"
        in owner("policy", "try", "one", "--action", "delete", "--at", "2026-11-24T09:00:00Z", "-f", str(file), code=6).output
    )
    owner("policy", "try", "one", "--action", "delete", "--at", "2026-11-23T09:00:00Z", "-f", str(file))
    owner("policy", "create", "-f", str(file))
    owner("policy", "edit", "small", "--off", "--set", "cpu=2")
    edited = json.loads(owner("policy", "show", "small", "-o", "json").output)
    assert not edited["enabled"] and edited["parameters"] == {"cpu": "2", "memory": "2Gi", "storage": ""}
    owner("policy", "edit", "small", code=2)
    owner("policy", "edit", "wide", "--off", code=4)
    owner("policy", "delete", "small", "--yes")
    owner("policy", "delete", "small", "--yes", code=3)
    assert "Aborted" in owner("policy", "delete", "night", input="n\n", code=1).output
