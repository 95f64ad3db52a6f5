"""`claw configs` against a portal that listens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import People, Person
from tests.rights.test_people_cli import Run, claw

__all__ = ["claw"]

FILE = """\
apiVersion: clawportal.io/v1
kind: ConfigTemplate
metadata: {name: greeter, description: Says hello}
spec:
  adapter: echo
  variables:
    - {name: who, required: true}
  body:
    spec:
      settings: {greeting: "Hello ${who}"}
"""


def test_templates_from_a_terminal(people: People, claw: Callable[[Person], Run], tmp_path: Path) -> None:
    owner, viewer, stranger = claw(people.owner), claw(people.viewer), claw(people.stranger)
    file = tmp_path / "greeter.yaml"
    file.write_text(FILE)
    assert "No configuration templates." in owner("configs", "ls").output
    assert "was created" in owner("configs", "create", "-f", str(file), "-m", "First").output
    assert "already" in owner("configs", "create", "-f", str(file), code=6).output
    assert json.loads(owner("configs", "apply", "-f", str(file), "-o", "json").output)["action"] == "unchanged"
    file.write_text(FILE.replace("Hello", "Bye").replace("Says hello", "Says bye"))
    assert "is at version 2 now" in owner("configs", "apply", "-f", str(file), "-m", "Polite").output
    assert "Polite" in viewer("configs", "versions", "greeter").output
    assert '+        "greeting": "Bye ${who}"' in viewer("configs", "diff", "greeter", "1").output
    assert "Nothing is different." in viewer("configs", "diff", "greeter", "2", "2").output
    assert "Says bye" in viewer("configs", "get", "greeter").output
    assert json.loads(viewer("configs", "get", "greeter", "--version", "1", "-o", "json").output)["version"]["message"] == "First"
    owner("create", "desk", "--template", "greeter@1", "--var", "who=kim", "--no-start")
    assert "who is needed" in owner("create", "none", "--template", "greeter", code=6).output
    owner("create", "none", "--template", "greeter@x", code=2)
    shown = owner("configs", "move", "desk", "--dry-run").output
    assert '+      "greeting": "Bye kim"' in shown and "The claw: none" in shown
    moved = json.loads(owner("configs", "move", "desk", "--to", "2", "--var", "who=lee", "-o", "json").output)
    assert moved["spec"]["settings"] == {"greeting": "Bye lee"}
    assert "Claws are made of greeter (1: desk)" in owner("configs", "delete", "greeter", "--yes", code=6).output
    assert "was created" in owner("configs", "from", "desk", "like-desk").output
    owner("delete", "desk", "--yes")
    text = viewer("configs", "export", "greeter", "--version", "1").output
    assert "Hello ${who}" in text and "Bye" not in text
    file.write_text(text.replace("name: greeter", "name: second"))
    viewer("configs", "import", "-f", str(file), code=4)
    assert "was created" in owner("configs", "import", "-f", str(file), "--project", "default").output
    assert "version 3" in owner("configs", "restore", "greeter", "1").output
    file.write_text("apiVersion: clawportal.io/v1\nkind: ConfigTemplate\nspec: {colour: red}\n")
    assert "document.spec.colour" in owner("configs", "apply", "-f", str(file), code=6).output
    stranger("configs", "get", "greeter", code=3)
    assert "Aborted" in owner("configs", "delete", "second", input="n\n", code=1).output
    owner("configs", "delete", "second", "--yes")
    owner("configs", "get", "second", code=3)
