"""The `claw` command against a real server: what people see, what scripts read, and exit codes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from clawportal.cli.claw import cli
from clawportal.cli.remote import clean, is_settled
from tests.conftest import PASSWORD, Server, make_person, serving, wait_for


@dataclass
class Terminal:
    """Runs `claw` as somebody who has a configuration folder of their own."""

    folder: Path
    url: str
    environment: dict[str, str]

    def __call__(self, *arguments: str, stdin: str | None = None, **environment: str) -> Result:
        given = {**self.environment, **environment}
        return CliRunner(env=given).invoke(cli, arguments, input=stdin, prog_name="claw", catch_exceptions=False)

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        done = self(*arguments, "-o", "json", stdin=stdin)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    @property
    def config(self) -> Path:
        return self.folder / "claw" / "config.json"


@pytest.fixture
def nowhere(tmp_path: Path) -> Terminal:
    """Not signed in anywhere."""
    return Terminal(tmp_path / "config", "", {"XDG_CONFIG_HOME": str(tmp_path / "config"), "CLAW_URL": "", "CLAW_TOKEN": ""})


@pytest.fixture
def claw(server: Server, nowhere: Terminal) -> Terminal:
    """Signed in to `server` as its administrator."""
    nowhere.url = server.url
    done = nowhere("login", "--url", server.url, "--name", "admin", "--password-stdin", stdin=PASSWORD + "\n")
    assert done.exit_code == 0, done.output
    return nowhere


@pytest.fixture
def quiet_server(portal_app: Any) -> Any:
    """A server without background work: instances stay pending."""
    with serving(portal_app) as (url, port):
        yield Server(portal_app, url, port, make_person(portal_app, "admin", "portal-admin"))


@pytest.fixture
def quiet(quiet_server: Server, nowhere: Terminal) -> Terminal:
    nowhere.url = quiet_server.url
    nowhere.environment |= {"CLAW_URL": quiet_server.url, "CLAW_TOKEN": quiet_server.admin.token}
    return nowhere


# ---- signing in


def test_login_keeps_a_token_and_never_the_password(quiet_server: Server, nowhere: Terminal) -> None:
    done = nowhere("login", "--url", quiet_server.url, "--name", "admin", stdin=PASSWORD + "\n")
    assert done.exit_code == 0, done.output
    text = nowhere.config.read_text()
    assert PASSWORD not in text and PASSWORD not in done.output
    assert stat.S_IMODE(nowhere.config.stat().st_mode) == 0o600
    kept = json.loads(text)
    assert kept["url"] == quiet_server.url and kept["token"].startswith("clp_") and kept["name"] == "admin"
    assert kept["token"] not in done.output
    assert "admin" in nowhere("whoami").output

    done = nowhere("logout")
    assert done.exit_code == 0 and not nowhere.config.exists()
    assert quiet_server.app.test_client().get(
        "/api/v1/auth/me", headers={"Authorization": f"Bearer {kept['token']}"}
    ).status_code == 401  # fmt: skip
    assert nowhere("logout").exit_code == 0


def test_login_with_a_wrong_password(quiet_server: Server, nowhere: Terminal) -> None:
    done = nowhere("login", "--url", quiet_server.url, "--name", "admin", "--password-stdin", stdin="wrong\n")
    assert done.exit_code == 4 and "password is wrong" in done.stderr and not nowhere.config.exists()


def test_login_with_a_token(quiet_server: Server, nowhere: Terminal) -> None:
    assert nowhere("login", "--url", quiet_server.url, "--token", "-", stdin="clp_wrong\n").exit_code == 4
    assert not nowhere.config.exists()
    assert nowhere("login", "--url", quiet_server.url, "--token", quiet_server.admin.token).exit_code == 0
    assert nowhere.config.exists()
    assert nowhere("login", "--token", "x", "--name", "y").exit_code == 2


def test_not_signed_in(nowhere: Terminal) -> None:
    done = nowhere("list")
    assert done.exit_code == 4 and "claw login" in done.stderr and "Traceback" not in done.output


def test_a_stored_token_is_only_for_its_own_portal(quiet_server: Server, nowhere: Terminal) -> None:
    nowhere("login", "--url", quiet_server.url, "--token", quiet_server.admin.token)
    done = nowhere("--url", "http://127.0.0.1:1", "list")
    assert done.exit_code == 4 and "not signed in to http://127.0.0.1:1" in done.stderr


def test_a_broken_configuration_file(nowhere: Terminal) -> None:
    nowhere.config.parent.mkdir(parents=True)
    nowhere.config.write_text("[]")
    done = nowhere("list")
    assert done.exit_code == 4 and "claw login" in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1"])
def test_unreachable(nowhere: Terminal, url: str) -> None:
    done = nowhere("list", CLAW_URL=url, CLAW_TOKEN="clp_x")
    assert done.exit_code == 5 and "cannot be reached" in done.stderr and "Traceback" not in done.output


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://x:y"])
def test_a_bad_address(nowhere: Terminal, url: str) -> None:
    assert nowhere("list", CLAW_URL=url, CLAW_TOKEN="clp_x").exit_code == 2


def test_something_that_is_no_portal(nowhere: Terminal) -> None:
    def page(_environ: Any, start: Callable[..., Any]) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/html")])
        return [b"<h1>hello</h1>"]

    with serving(page) as (url, _):  # type: ignore[arg-type]
        done = nowhere("list", CLAW_URL=url, CLAW_TOKEN="clp_x")
    assert done.exit_code == 5 and "not from a portal" in done.stderr


# ---- without background work


def test_lists(quiet: Terminal, quiet_server: Server) -> None:
    assert "No instances" in quiet("list").stderr
    for number in range(3):
        assert quiet("create", f"e{number}", "--type", "echo").exit_code == 0
    done = quiet("list")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["NAME", "TYPE", "PHASE", "HEALTH", "AGE", "MESSAGE"]
    assert [row.split()[0] for row in rows] == ["e0", "e1", "e2"]
    assert quiet("list", "-o", "name", "--sort", "-name").stdout.split() == ["e2", "e1", "e0"]
    done = quiet("list", "-o", "name", "--limit", "2")
    assert done.stdout.split() == ["e0", "e1"] and "2 of 3" in done.stderr
    assert len(quiet.json("list", "--limit", "2", "--all")["items"]) == 3
    assert quiet("list", "--phase", "running", "-o", "name").stdout == ""
    assert quiet("list", "-q", "e1", "-o", "name").stdout.split() == ["e1"]
    assert quiet.json("get", "e1")["id"] in quiet("list", "-o", "wide").stdout
    assert quiet("list", "--phase", "nonsense").exit_code == 6
    assert quiet("list", "--limit", "0").exit_code == 2


def test_create_from_a_file_and_update(quiet: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "claw.yaml"
    file.write_text("name: helper\nadapter: echo\nlabels: {team: support}\nspec:\n  settings:\n    greeting: Hi\n")
    made = quiet.json("create", "-f", str(file), "--set", "log_every=5", "--set", "persona=Kim", "--label", "tier=1")
    assert made["spec"]["settings"] == {"greeting": "Hi", "log_every": 5} and made["spec"]["persona"] == "Kim"
    assert made["labels"] == {"team": "support", "tier": "1"}

    done = quiet("update", "helper", "greeting=Hello there", "log_every=null", "--label", "team=")
    assert done.exit_code == 0, done.output
    found = quiet.json("get", "helper")
    assert found["spec"]["settings"] == {"greeting": "Hello there"} and found["labels"] == {"tier": "1"}
    assert found["generation"] == 2

    exported = quiet("get", "helper", "-o", "yaml").stdout
    done = quiet("update", "helper", "-f", "-", stdin=exported.replace("Hello there", "Salut"))
    assert done.exit_code == 0, done.output
    assert quiet.json("get", "helper")["spec"]["settings"] == {"greeting": "Salut"}

    stale = quiet("update", "helper", "-f", "-", stdin=exported + "\ngeneration: 1\n")
    assert stale.exit_code == 6 and "generation 3" in stale.stderr
    assert quiet("update", "helper", "-f", "-", stdin="name: other\n").exit_code == 2
    assert quiet("update", "helper").exit_code == 2
    document = "version: '1.0'\nlabels: {answer: no, day: 2026-11-23}\nspec: {settings: {refuse: no}}\n"
    assert quiet("update", "helper", "-f", "-", stdin=document).exit_code == 0
    found = quiet.json("get", "helper")
    assert found["labels"] == {"answer": "no", "day": "2026-11-23"} and found["spec"]["settings"] == {"refuse": "no"}


def test_bad_input_is_told_in_plain_words(quiet: Terminal, tmp_path: Path) -> None:
    done = quiet("create", "Bad Name", "--type", "echo", "--set", "settings.greetin=x", "--set", "flood=many")
    assert done.exit_code == 6 and "Traceback" not in done.output
    assert "name:" in done.stderr and "spec.settings.greetin: is not a known field" in done.stderr
    assert "spec.settings.flood" in done.stderr
    assert quiet("create", "x", "--type", "nope").exit_code == 6
    assert quiet("create", "x").exit_code == 2
    assert quiet("create", "x", "--type", "echo", "--set", "nonsense").exit_code == 2
    assert quiet("create", "-f", "-", stdin="- a list").exit_code == 2
    assert quiet("create", "-f", "-", stdin=": :\n\t:").exit_code == 2
    assert quiet("create", "-f", "-", stdin="{name: x, adapter: echo, labels: [1]}").exit_code == 2
    assert quiet("create", "x", "--type", "echo", "--secret", "token=@/absent").exit_code == 2
    assert quiet("create", "-f", str(tmp_path / "absent.yaml")).exit_code == 2
    assert quiet("get", "absent").exit_code == 3
    assert quiet("chat", "absent", "hello").exit_code == 3
    assert quiet("nonsense").exit_code == 2


def test_secrets_are_never_arguments(quiet: Terminal, tmp_path: Path) -> None:
    done = quiet("create", "n", "--type", "nanobot", "--secret", "model_api_key=sk-123")
    assert done.exit_code == 2 and "can be read by others" in done.stderr
    file = tmp_path / "key"
    file.write_text("sk-very-secret\n")
    arguments = (
        "create",
        "n",
        "--type",
        "nanobot",
        "--provider",
        "openai",
        "--model",
        "gpt",
        "--secret",
        f"model_api_key=@{file}",
    )
    made = quiet(*arguments, "-o", "json")
    assert made.exit_code == 0, made.output
    assert [item["name"] for item in json.loads(made.stdout)["secrets"]] == ["model_api_key"]
    asked = quiet("update", "n", "--secret", "model_api_key", stdin="sk-other\n")
    assert asked.exit_code == 0 and "sk-other" not in asked.output


def test_buttons_refuse_with_a_reason(quiet: Terminal) -> None:
    quiet("create", "e", "--type", "echo")
    assert quiet("stop", "e").exit_code == 0
    done = quiet("stop", "e")
    assert done.exit_code == 6 and "already" in done.stderr
    several = quiet("start", "absent", "e")
    assert several.exit_code == 3 and "absent" in several.stderr and quiet.json("get", "e")["desired"] == "running"
    assert quiet("status", "e", "--wait", "--timeout", "1").exit_code == 1


def test_delete_asks_first(quiet: Terminal) -> None:
    quiet("create", "e", "--type", "echo")
    assert quiet("delete", "e", stdin="n\n").exit_code == 1
    assert quiet.json("get", "e")["desired"] == "running"
    assert quiet("delete", "e", stdin="y\n").exit_code == 0
    assert quiet.json("get", "e")["desired"] == "deleted"


def test_a_viewer_is_refused(quiet: Terminal, quiet_server: Server) -> None:
    quiet("create", "e", "--type", "echo")
    viewer = make_person(quiet_server.app, "vera", "viewer", "default")
    quiet.environment["CLAW_TOKEN"] = viewer.token
    done = quiet("stop", "e")
    assert done.exit_code == 4 and "lack the right" in done.stderr
    assert quiet("list", "-o", "name").stdout.split() == ["e"]


def test_events_operations_types_and_version(quiet: Terminal) -> None:
    quiet("create", "e", "--type", "echo")
    assert "e was created." in quiet("events").stdout and "e was created." in quiet("events", "e").stdout
    assert quiet.json("events", "e")["items"][0]["kind"] == "instance.created"
    assert quiet("events", "--place").exit_code == 2 and quiet("events", "e", "--place", "-f").exit_code == 2
    done = quiet("events", "e", "--place")
    assert done.exit_code == 0 and "says nothing" in done.stderr, "it was never started"
    assert quiet.json("events", "e", "--place") == {"items": []}
    assert "Create e" in quiet("operations").stdout
    operation = quiet.json("operations", "e")["items"][0]
    assert quiet("cancel", operation["id"]).exit_code == 6 and quiet("retry", "../tokens").exit_code == 3
    assert "echo" in quiet("types").stdout
    assert quiet.json("overview")["instances"]["total"] == 1 and "0 of 0 that run" in quiet("overview").stdout
    assert "clawportal_echo" in quiet("plugins").stdout and "echo" in quiet("plugins", "clawportal_echo").stdout
    assert quiet("plugins", "no/such").exit_code == 3
    facts = quiet.json("version")
    assert facts["status"] == "ok" and facts["claw"] == facts["portal_version"]


def test_files_are_listed_fetched_and_put(quiet: Terminal, quiet_server: Server, tmp_path: Path) -> None:
    made = quiet("create", "e", "--type", "echo") and quiet_server.admin.get("instances?name=e").get_json()["items"][0]["id"]
    settings = quiet_server.app.extensions["clawportal"].settings
    work = settings.data_dir / "clusters" / "local" / "instances" / made / "work"
    work.mkdir(parents=True)
    (work / "plan.md").write_text("one\n")
    assert quiet("files", "ls", "e", "-o", "name").stdout.split() == ["work", "state", "home"]
    assert "plan.md" in quiet("files", "ls", "e", "work").stdout
    assert quiet.json("files", "ls", "e", "work")["items"][0]["size"] == 4
    assert quiet("files", "ls", "e", "work/../x").exit_code == 6 and quiet("files", "ls", "e", "work/none").exit_code == 3
    target = tmp_path / "here.md"
    assert quiet("files", "get", "e", "work/plan.md", str(target)).exit_code == 0 and target.read_text() == "one\n"
    assert quiet("files", "get", "e", "work/plan.md", str(target)).exit_code == 6, "it is there already"
    assert quiet("files", "get", "e", "work/plan.md", "-").stdout == "one\n"
    assert quiet("files", "get", "e", "work", str(tmp_path)).exit_code == 0
    assert b"plan.md" in (tmp_path / "e-work.tar").read_bytes()
    assert quiet("files", "get", "e", "work/none", str(tmp_path)).exit_code == 3
    target.write_text("two\n")
    done = quiet("files", "put", "e", str(target))
    assert done.exit_code == 0 and (work / "here.md").read_text() == "two\n", done.output
    assert quiet("files", "put", "e", str(target), "work/new/name").exit_code == 0 and (work / "new" / "name").exists()
    target.write_text("three\n")
    assert quiet("files", "put", "e", str(target), stdin="n\n").exit_code == 6 and (work / "here.md").read_text() == "two\n"
    assert quiet("files", "put", "e", str(target), stdin="y\n").exit_code == 0 and (work / "here.md").read_text() == "three\n"
    assert quiet("files", "put", "e", "-", "work/piped", stdin="said").exit_code == 0 and (work / "piped").read_text() == "said"
    assert quiet("files", "put", "e", "-", stdin="said").exit_code == 2


def test_version_says_what_is_wrong(nowhere: Terminal) -> None:
    done = nowhere("version")
    assert done.exit_code == 0 and "not signed in" in done.stdout


# ---- with real claws


def test_the_life_of_a_claw(claw: Terminal) -> None:
    done = claw("create", "helper", "--type", "echo", "--set", "greeting=Hi", "--wait")
    assert done.exit_code == 0 and "helper: running" in done.stdout, done.output
    assert claw("status", "helper").exit_code == 0

    said = claw("chat", "helper", "good", "morning")
    assert said.exit_code == 0 and "Hi" in said.stdout and "good morning" in said.stdout
    assert claw.json("chat", "helper", "again", "--session", "other")["session"] == "other"
    talk = claw("chat", "helper", stdin="one\n\ntwo\n")
    assert talk.exit_code == 0 and "one" in talk.stdout and "two" in talk.stdout

    wait_for(lambda: claw("logs", "helper").stdout, what="it wrote something")
    line = json.loads(claw("logs", "helper", "--tail", "1", "-o", "json").stdout.splitlines()[-1])
    assert set(line) == {"at", "stream", "source", "level", "text"}

    done = claw("update", "helper", "refuse=always", "--wait", "--timeout", "30")
    assert done.exit_code == 1 and "Error:" in done.stderr
    assert claw("update", "helper", "refuse=no", "--wait").exit_code == 0
    assert claw("restart", "helper", "--wait").exit_code == 0
    assert claw("stop", "helper", "--wait").exit_code == 0
    done = claw("chat", "helper", "anybody there?")
    assert done.exit_code in (1, 6) and "Error:" in done.stderr
    assert claw("start", "helper", "--wait", "-o", "name").stdout == "helper\n"
    assert claw("kill", "helper", "--wait").exit_code == 0
    assert claw("delete", "helper", "--yes", "--wait").exit_code == 0
    assert claw("get", "helper").exit_code == 3


def test_a_claw_that_fails(claw: Terminal) -> None:
    done = claw("create", "bad", "--type", "echo", "--set", "refuse=always", "--wait", "--timeout", "60")
    assert done.exit_code == 1 and "Error:" in done.stderr and "Traceback" not in done.output
    assert claw("status", "bad").exit_code == 1


def test_following_a_log(claw: Terminal) -> None:
    claw("create", "talker", "--type", "echo", "--set", "log_every=0.2", "--wait")
    process = subprocess.Popen(
        [sys.executable, "-m", "clawportal.cli.claw", "logs", "-f", "talker", "--tail", "1"],
        env={**os.environ, **claw.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background work ignores Ctrl+C
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        assert all(line.strip() for line in lines)
        process.send_signal(2)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_letters_that_others_take_for_ends_of_lines(claw: Terminal) -> None:
    claw("create", "talker", "--type", "echo", "--wait")
    odd = "one\u2028two\u2029three\u0085four"
    done = claw("chat", "talker", odd)
    assert done.exit_code == 0 and "Traceback" not in done.output
    assert all(word in done.stdout for word in ("one", "two", "three", "four"))


# ---- small rules


@pytest.mark.parametrize(
    ("module", "word"), [("clawportal.cli.claw", "Exit codes:"), ("clawportal.cli.server", "clawportal settings")]
)
def test_help_imports_nothing_heavy(module: str, word: str) -> None:
    code = (
        f"import sys; sys.argv = ['it', '--help']\nfrom {module} import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "bad = {'httpx', 'rich', 'yaml', 'flask', 'sqlalchemy', 'pydantic'} & set(sys.modules)\nassert not bad, bad"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert word in done.stdout


def leaves(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command, those of groups too, by all that is typed for it."""
    context = click.Context(group)
    for name in group.list_commands(context):  # which asks plugins for theirs
        command = group.get_command(context, name)
        assert command is not None
        assert command.help, before + name
        if isinstance(command, click.Group):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield before + name, command


def test_every_command_has_help_and_json() -> None:
    found = dict(leaves(cli))
    groups = {name.split()[0] for name in found if " " in name}
    assert groups >= {"cluster", "files", "member", "project", "service-account", "tenant", "token"}
    for name, command in found.items():
        options = {option for parameter in command.params for option in parameter.opts}
        ends_something = name.split()[-1] in {"remove", "revoke", "delete", "end", "end-all", "unlink", "unmap"}
        tells_nothing = ends_something or name in {
            "login",
            "logout",
            "cancel",
            "retry",
            "console",
            "connect",
            "files get",
            "conversation export",
        }
        assert "--output" in options or tells_nothing, name


def test_text_of_others_cannot_steer_the_terminal() -> None:
    assert clean("a\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2Jb\tc\r\x9b1m") == "ared]0;titleb\tc1m"
    assert clean("\x1b[31mred\x1b[0m\x1b[2J", colours=True) == "\x1b[31mred\x1b[0m[2J"


@pytest.mark.parametrize(
    ("phase", "desired", "observed", "settled"),
    [
        ("running", "running", 2, True), ("running", "running", 1, False), ("starting", "running", 2, False),
        ("failed", "running", 2, True), ("failed", "running", 1, False), ("stopped", "stopped", 2, True),
        ("stopped", "running", 2, False), ("destroyed", "deleted", 0, True), ("deleting", "deleted", 2, False),
    ],
)  # fmt: skip
def test_what_counts_as_settled(phase: str, desired: str, observed: int, settled: bool) -> None:
    found = {"phase": phase, "desired": desired, "generation": 2, "observed_generation": observed}
    assert is_settled(found, 2) is settled


def test_a_group_of_the_core_is_open_to_plugins() -> None:
    """A command that a plugin adds to `claw files` is there, in its help too; a misspelt one is told as such."""
    from click.testing import CliRunner

    from clawportal.cli.claw import cli
    from clawportal.cli.extending import Open

    group = cli.commands["files"]
    assert isinstance(group, Open)
    ctx = click.Context(group, parent=click.Context(cli))
    assert {"ls", "get", "put"} <= set(group.list_commands(ctx)) and len(group.list_commands(ctx)) > 3
    assert CliRunner().invoke(cli, ["files", "no-such-thing"]).exit_code == 2
