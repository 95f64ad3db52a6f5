"""What a claw of this machine can reach beside itself, whatever the wall is made of: nothing.

Runs as root and, by `test_all_of_this_as_an_ordinary_user`, as somebody else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.runtimes import Place, Ref, RunState, SeparationLevel
from clawportal.contracts.workloads import Check, File, Workload
from clawportal.errors import GiveUp
from clawportal_process import landlock, methods, probe, walls
from clawportal_process.driver import ProcessDriver
from clawportal_process.settings import ProcessSettings
from tests.ordinary_user import UID, no_mounts
from tests.runtimes.process_helpers import SLEEPER, connect, eventually, exited, python, ready, runtime_in, texts, workload

pytestmark = [
    pytest.mark.skipif(landlock.version() < 6, reason="no Landlock with scopes here (Linux 6.12)"),
    pytest.mark.skipif(no_mounts(), reason="this root may not mount, and the home of root is closed to others"),
]
ROOT = os.geteuid() == 0
ONE, TWO = Ref("one"), Ref("two")
THIS = Path(__file__)


@pytest.fixture
def place() -> Iterator[Path]:
    """Where people have their data: below a home that only its owner may enter."""
    home = Path.home() if os.access(Path.home(), os.W_OK) else Path(os.environ["TMPDIR"])
    folder = Path(tempfile.mkdtemp(prefix="clawportal-test-", dir=home))
    yield folder / "place"
    shutil.rmtree(folder)


@pytest.fixture
def runtime(place: Path) -> Iterator[Any]:
    with runtime_in(place) as found:
        yield found


def folder(runtime: Any, ref: Ref = ONE) -> Path:
    return Path(runtime.layout(ref, ()).home).parent


ATTACK = """
import json, os, socket, sys, time
for line in open(sys.argv[1]):
    what, path = json.loads(line)
    try:
        if what == 'read': open(path, 'rb').read()
        elif what == 'list': os.listdir(path)
        elif what == 'write': open(path, 'ab').write(b'x')
        elif what == 'connect':
            handle = os.open(os.path.dirname(path), os.O_PATH)
            socket.socket(socket.AF_UNIX).connect(f'/proc/self/fd/{handle}/{os.path.basename(path)}')
        elif what == 'signal': os.kill(int(path), 0)
        print('REACHED', what, path, flush=True)
    except OSError as error:
        print('refused', what, path, error.strerror, flush=True)
print('ready', flush=True)
"""


def targets(runtime: Any, *, pids: tuple[int, ...]) -> list[tuple[str, str]]:
    base, two = runtime.base, folder(runtime, TWO)
    files = [base / "mark", two / "state/config", folder(runtime) / "run/state.json", two / "run/control"]
    return [
        *((what, str(path)) for path in files for what in ("read", "write")),
        ("list", str(two / "work")), ("list", str(two / "run")), ("list", str(two)), ("list", str(base / "users")),
        ("write", str(base / "artifacts/tool/program")), ("write", str(base / "artifacts/new")),
        ("write", str(folder(runtime) / "new")),
        ("connect", str(two / "work/socket")), ("write", "/usr/clawportal-test"), ("write", "/etc/passwd"),
        *((what, path) for pid in pids for what, path in (
            ("signal", str(pid)), ("read", f"/proc/{pid}/environ"), ("read", f"/proc/{pid}/mem"), ("list", f"/proc/{pid}/cwd/"))),
    ]  # fmt: skip


def neighbour(runtime: Any) -> int:
    """With a secret in a file, one in its environment, and a socket that everybody may use."""
    code = """
        import os, socket, time
        try:
            server = socket.socket(socket.AF_UNIX)
            server.bind('socket'); os.chmod('socket', 0o777); server.listen()
        except OSError:
            pass  # no local sockets here at all
        print('ready', flush=True); time.sleep(600)
    """
    plan = Workload(processes=(python(code, secret_env={"KEY": "key"}),), files=(File("config", "secret"),))
    seen = runtime.apply(TWO, plan, {"key": "secret"})
    ready(runtime, TWO)
    return int(seen.pid)


def supervisor(runtime: Any, ref: Ref) -> int:
    return int(json.loads((folder(runtime, ref) / "run/state.json").read_text())["pid"])


def test_a_claw_and_its_console_reach_nothing_of_others(runtime: Any) -> None:
    (runtime.base / "artifacts/tool").mkdir()
    (runtime.base / "artifacts/tool/program").write_text("x")
    two = neighbour(runtime)
    tried = targets(runtime, pids=(two, os.getpid(), supervisor(runtime, TWO), 1))
    path = f"{runtime.layout(ONE, ()).state}/targets"
    plan = Workload(processes=(python(ATTACK + "time.sleep(600)", path),), files=listed(tried))
    runtime.apply(ONE, plan, {})
    ready(runtime, ONE)
    said = texts(runtime, ONE)
    assert [line for line in said if line.startswith("REACHED")] == [] and len(said) == len(tried) + 1
    session = runtime.exec(ONE, [sys.executable, "-I", "-S", "-c", ATTACK, path])
    told = heard(session)
    assert "REACHED" not in told and told.count("refused") == len(tried), told


def listed(tried: list[tuple[str, str]]) -> tuple[File, ...]:
    return (File("targets", "\n".join(map(json.dumps, tried))),)


def heard(session: Any) -> str:
    found = b""
    try:
        while True:
            piece = session.receive(20)
            assert piece is not None, "it says nothing more"
            found += piece[1]
    except EOFError:
        return found.decode()
    finally:
        session.close()


def test_its_own_check_is_behind_the_wall_too(runtime: Any) -> None:
    neighbour(runtime)
    tried = [one for one in targets(runtime, pids=(os.getpid(),)) if "artifacts/tool" not in one[1]]
    code = ATTACK + "sys.exit(3)"
    check = Check((*python(code).argv, "{candidate}/targets"))
    plan = workload(files=listed(tried), check=check)
    with pytest.raises(GiveUp) as caught:
        runtime.check(ONE, plan, {})
    assert caught.value.lines[-1] == "ready"
    assert [line for line in caught.value.lines if not line.startswith("refused")] == ["ready"]
    assert not list(folder(runtime).glob("check-*"))


def test_who_it_is_and_what_it_has(runtime: Any) -> None:
    code = """
        import json, os, pwd, tempfile
        status = dict(line.rstrip().partition(':\\t')[::2] for line in open('/proc/self/status'))
        with open(os.path.join(os.environ['TMPDIR'], 'x'), 'w') as file: file.write('x')
        os.rename(os.path.join(os.environ['TMPDIR'], 'x'), 'moved')
        os.link('moved', os.path.join(os.environ['HOME'], 'linked'))
        told = [status[name] for name in ('CapEff', 'CapPrm', 'NoNewPrivs')]
        print(json.dumps([os.getuid(), os.getgroups(), *told, sorted(os.listdir())]))
    """
    if (
        runtime.separator.walls.crowded()
    ):  # the folders of a claw are mounts of their own then: nothing is moved or linked between them
        code = code.replace("os.rename", "__import__('shutil').move").replace("os.link", "__import__('shutil').copy")
    runtime.apply(ONE, workload(textwrap.dedent(code)), {})
    assert exited(runtime, ONE).exit_code == 0, texts(runtime, ONE)
    uid, groups, *capabilities, privileges, files = json.loads(texts(runtime, ONE)[-1])
    assert uid != 0 and set(capabilities) == {"0" * 16} and privileges == "1" and files == ["moved"]
    assert not set(groups) & {0, 4, 27, 998, 999}, "no group of the portal's that opens doors"
    if ROOT:
        assert uid == (folder(runtime) / "work/moved").stat().st_uid == runtime.separator.walls.users.of("one") >= 1_900_000_000


def test_a_claw_has_a_temporary_folder_of_its_own(runtime: Any) -> None:
    """By the name that programs have built in, too, where a view of its own is to be had."""
    if not runtime.separator.method().view:
        pytest.skip("no mount namespaces here")
    if runtime.separator.walls.crowded():
        pytest.skip("software of the tests lies below a temporary folder of the machine, which is shown empty but for that")
    mark = Path(tempfile.gettempdir()) / f"clawportal-test-{os.getpid()}"
    mark.write_text("of the machine")
    try:
        runtime.apply(ONE, workload("import os; print(os.listdir('/tmp')); open('/tmp/made', 'w')"), {})
        assert exited(runtime, ONE).exit_code == 0, texts(runtime, ONE)
        assert texts(runtime, ONE) == ["[]"] and (folder(runtime) / "tmp/made").exists()
    finally:
        mark.unlink()


def test_the_portal_writes_and_reads_what_the_claw_has(runtime: Any) -> None:
    """Both see the same files, although they may belong to a user that the portal made up."""
    code = """
        import sys, time
        with open('answer', 'w') as file: file.write(open(sys.argv[1]).read())
        print('ready', flush=True); time.sleep(600)
    """
    layout = runtime.layout(ONE, ())
    plan = Workload(processes=(python(code, f"{layout.state}/deep/config"),), files=(File("deep/config", "first", mode=0o400),))
    runtime.apply(ONE, plan, {})
    ready(runtime, ONE)
    assert runtime.read_file(ONE, "work", "answer", 100) == b"first"
    runtime.write_files(ONE, Workload(processes=plan.processes, files=(File("deep/config", "second", mode=0o400),)))
    session = runtime.exec(ONE, ["cat", f"{layout.state}/deep/config"])
    assert heard(session) == "second"
    archive = b"".join(runtime.pull(ONE, "work"))
    runtime.push(ONE, "home", "copy", [archive])
    assert heard(runtime.exec(ONE, ["cat", f"{layout.home}/copy/answer"])) == "first"
    runtime.kill(ONE)
    exited(runtime, ONE)
    runtime.remove(ONE, keep_data=False)
    assert not folder(runtime).exists()


@pytest.mark.skipif(not ROOT, reason="only root gives others a user")
def test_an_instance_of_an_earlier_version_moves_without_loss(runtime: Any) -> None:
    for name in ("home", "state", "work", "tmp"):
        (folder(runtime) / name / "deep").mkdir(parents=True, mode=0o700)
        (folder(runtime) / name / "deep/kept").write_text("kept")
    outside = runtime.base / "mark"
    os.link(outside, folder(runtime) / "work/stolen")
    code = "import os; print(open('deep/kept').read()); open('deep/kept', 'a').write('!'); print(os.access('stolen', os.R_OK))"
    runtime.apply(ONE, workload(code), {})
    assert exited(runtime, ONE).exit_code == 0
    assert texts(runtime, ONE) == ["kept", "False"] and (folder(runtime) / "work/deep/kept").read_text() == "kept!"
    assert outside.stat().st_uid == 0


def test_claws_of_an_earlier_version_are_told(runtime: Any) -> None:
    runtime.apply(ONE, workload(SLEEPER), {})
    assert all(finding.ok for finding in runtime.diagnose() if finding.name.startswith("separation"))
    state = folder(runtime) / "run/state.json"
    told = json.loads(state.read_text())
    assert told.pop("separation") == runtime.separation().level
    state.write_text(json.dumps(told))  # as an earlier supervisor wrote it
    (folder(runtime) / "run/touched").touch()
    (found,) = [finding for finding in runtime.diagnose() if finding.name == "separation: older claws"]
    assert not found.ok and found.message.startswith("1 claws")
    assert runtime.inspect(ONE).state is RunState.RUNNING


@pytest.mark.skipif(not ROOT, reason="only root gives others a user")
def test_a_user_is_free_again_when_nothing_of_it_is_left(runtime: Any) -> None:
    runtime.apply(ONE, workload("pass"), {})
    exited(runtime, ONE)
    users, number = runtime.separator.walls.users, runtime.separator.walls.users.of("one")
    runtime.remove(ONE, keep_data=True)
    assert (users.folder / str(number)).exists()
    runtime.remove(ONE, keep_data=False)
    assert not (users.folder / str(number)).exists()


def test_the_level_is_proved(runtime: Any) -> None:
    found = runtime.separation()
    assert found.level in ((SeparationLevel.USER,) if ROOT else (SeparationLevel.NAMESPACE, SeparationLevel.SECCOMP))
    assert all(finding.ok for finding in found.findings) and "refused" in found.findings[0].message
    assert not any((runtime.base / "probe").iterdir())


def test_every_wall_that_can_be_built_holds_and_none_does_not(runtime: Any) -> None:
    """The probe itself is proved by what it finds where there is no wall."""
    built = 0
    for method in methods.methods("auto", root=ROOT):
        if method.level is not SeparationLevel.NONE:
            trial = probe.attempt(runtime.separator.walls, method)
            built += not trial.broken
            assert trial.through() == [], method
    assert built
    open_door = methods.Method(SeparationLevel.NONE, landlock=False)
    reached = {what for what, _ in probe.attempt(runtime.separator.walls, open_door).through()}
    assert reached == {probe.FILES, probe.NEIGHBOUR, probe.PROCESSES, probe.SIGNALS, probe.SOFTWARE, probe.SOCKETS}


def test_switched_off_says_none(place: Path) -> None:
    with runtime_in(place, settings={"separation": "off"}) as runtime:
        found = runtime.separation()
        assert found.level is SeparationLevel.NONE and "switched off" in found.findings[0].message
        runtime.apply(ONE, workload("import os; print(os.getuid())"), {})
        exited(runtime, ONE)
        assert texts(runtime, ONE) != ["0"], "a claw never runs as root"


def test_less_than_what_is_asked_for_starts_nothing(place: Path) -> None:
    wanted = "user+landlock" if not ROOT else None
    if wanted is None:
        pytest.skip("root has the strongest")
    with runtime_in(place, settings={"separation": wanted}) as runtime, pytest.raises(GiveUp) as caught:
        runtime.apply(ONE, workload(), {})
    assert caught.value.reason == "NotSeparated"


@pytest.mark.parametrize(
    "given", [{"users": "9-5"}, {"users": "0-70"}, {"readable_folders": "relative"}, {"readable_folders": "/"}]
)
def test_settings_that_cannot_work_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        ProcessSettings.model_validate(given)


def test_folders_that_an_administrator_opens(place: Path) -> None:
    models = place.parent / "models"
    models.mkdir()
    models.chmod(0o755)
    (models / "weights").write_text("w")
    (models / "weights").chmod(0o644)
    with runtime_in(place, settings={"readable_folders": str(models)}) as runtime:
        code = f"import os; print(open({str(models / 'weights')!r}).read(), os.access({str(models)!r}, os.W_OK))"
        runtime.apply(ONE, workload(code), {})
        assert exited(runtime, ONE).exit_code == 0, texts(runtime, ONE)
        assert texts(runtime, ONE)[0].startswith("w ")


def test_a_portal_that_was_killed_finds_its_claws_and_their_users(place: Path) -> None:
    with runtime_in(place) as runtime:
        before = runtime.apply(ONE, workload(SLEEPER), {})
        ready(runtime, ONE)
        again = connect(place)
        assert again.inspect(ONE).incarnation == before.incarnation and again.inspect(ONE).state is RunState.RUNNING
        assert heard(again.exec(ONE, ["cat", "/proc/self/uid_map"]))
        again.close()


def test_the_portals_own_files_are_named_to_the_runtime(place: Path) -> None:
    """A key ring that lies in a folder that claws may read is cut out of it."""
    keys = place.parent / "opt/keys"
    keys.mkdir(parents=True)
    for path in (keys / "keyring.json", keys.parent / "program"):
        path.write_text("x")
        path.chmod(0o644)
    for path in (keys, keys.parent):
        path.chmod(0o755)
    given, files = {"readable_folders": str(keys.parent)}, [str(keys.parent / "program"), str(keys / "keyring.json")]
    runtime = ProcessDriver().connect(Place("here", "", given, str(place), private=(str(keys / "keyring.json"),)))
    try:
        opened = f"""
            for path in {files!r}:
                try: print(open(path).read())
                except OSError as error: print(type(error).__name__)
        """
        runtime.apply(ONE, workload(opened), {})
        exited(runtime, ONE)
        assert texts(runtime, ONE)[0] == "x" and texts(runtime, ONE)[1] in ("PermissionError", "FileNotFoundError")
    finally:
        runtime.kill(ONE)
        runtime.close()


def test_folders_that_others_must_pass_show_them_nothing(place: Path) -> None:
    """Where there are no mount namespaces; what was readable because nobody could get there is closed first."""
    data = place.parent / "data"
    base = data / "clusters/local"
    base.mkdir(parents=True)
    for path in (data / "clawportal.db", base / "mark"):
        path.write_text("x")
        path.chmod(0o644)
    (data / "keys").mkdir(mode=0o755)
    walls.Walls(base, private=(str(data),), users="").open_ways()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (data, base.parent, base, data / "keys")}
    assert modes == {"data": 0o711, "clusters": 0o711, "local": 0o711, "keys": 0o700}
    assert (data / "clawportal.db").stat().st_mode & 0o777 == 0o600 == (base / "mark").stat().st_mode & 0o777
    assert connect(base).base.stat().st_mode & 0o777 == 0o711


def test_a_folder_that_was_open_is_closed(place: Path) -> None:
    place.mkdir(mode=0o755)
    assert connect(place).base.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="it is one already")
@pytest.mark.parametrize("without", ["", "namespaces"])
def test_all_of_this_as_an_ordinary_user(without: str) -> None:
    home = Path(tempfile.mkdtemp(prefix="clawportal-user-", dir="/home"))
    os.chown(home, UID, UID)
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home), "PYTEST_ADDOPTS": "", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["TEST_NO_NAMESPACES"] = without
    program = str(THIS.parents[1] / "ordinary_user.py")
    command = [sys.executable, program, str(UID), "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", str(THIS)]
    try:
        done = subprocess.run(
            [*command, f"--basetemp={home}/pytest"], cwd=THIS.parents[2], env=environment, capture_output=True, text=True,
            check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    finally:
        shutil.rmtree(home)


def test_the_exit_of_a_claw_is_seen_through_the_wall(runtime: Any) -> None:
    runtime.apply(ONE, workload("import os; os.kill(os.getpid(), 9)"), {})
    assert exited(runtime, ONE).exit_signal == 9
    eventually(lambda: not runtime.sample(), "nothing of it is measured any more")
