"""Finds out whether a wall holds: a program behind it tries what a hostile claw would try. One success, and there is no wall."""

from __future__ import annotations

import errno
import json
import os
import secrets as random_bytes
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import DoctorResult, Separation, SeparationLevel
from clawportal_process import guarded, identity, launch, safefiles
from clawportal_process.methods import Decision, Method, Own
from clawportal_process.walls import Walls

_PATIENCE = 30.0
_MOST = 12
"""How many pieces of software and sockets are tried."""
_SOCKETS = (
    "/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/systemd/private", "/run/postgresql/.s.PGSQL.5432",
    "/run/mysqld/mysqld.sock", "/run/redis/redis.sock",
    "/run/user/{uid}/bus", "/run/user/{uid}/systemd/private", "/run/user/{uid}/docker.sock", "/run/user/{uid}/podman/podman.sock",
    "/run/user/{uid}/gnupg/S.gpg-agent", "/run/user/{uid}/keyring/control",
)  # fmt: skip

Target = tuple[str, str, str]
_WORDS = (
    _m("the portal's files"),
    _m("a neighbour's files"),
    _m("other processes"),
    _m("signals"),
    _m("installed software"),
    _m("local sockets"),
    _m("foreign ports"),
    _m("its own folder"),
)
FILES, NEIGHBOUR, PROCESSES, SIGNALS, SOFTWARE, SOCKETS, PORTS, OWN = _WORDS


@dataclass(frozen=True)
class Trial:
    """What came of one method."""

    broken: str
    """Why nothing could be run behind it; empty when it could."""
    tried: tuple[tuple[str, str, bool], ...] = ()
    """What, its target, and whether it was done."""

    def through(self) -> list[tuple[str, str]]:
        return [(what, target) for what, target, done in self.tried if done and what not in (OWN, PORTS)]


def decide(walls: Walls, methods: Sequence[Method], *, off: bool = False) -> Decision:
    """The first that holds; where none does, the first behind which anything runs at all. `off`: nobody asks for a wall."""
    findings: list[DoctorResult] = []
    fallback: Method | None = None
    for method in methods:
        trial = attempt(walls, method)
        if trial.broken:
            findings.append(
                DoctorResult(
                    _m("separation: %(words)s", words=method.words),
                    True,
                    _m("Not possible here: %(broken)s", broken=trial.broken),
                )
            )
            continue
        fallback = fallback or method
        if method.level is SeparationLevel.NONE:
            break
        if not trial.through():
            return Decision(method, Separation(method.level, (*_held(method, trial), *findings)))
        findings += _reached(method, trial)
    return Decision(fallback, Separation(SeparationLevel.NONE, (*_nothing(fallback, off=off), *findings)))


def _held(method: Method, trial: Trial) -> Iterator[DoctorResult]:
    count = sum(what != OWN for what, _, _ in trial.tried)
    yield DoctorResult(
        _m("separation"),
        True,
        _m(
            "%(value)s: %(count)s attempts to get at the portal, at other claws or at the machine were refused",
            value=method.level.value,
            count=count,
        ),
    )
    ports = [done for what, _, done in trial.tried if what == PORTS]
    if any(ports):
        yield DoctorResult(
            _m("separation: ports"), True, _m("A claw can listen on ports of others that are free: the kernel cannot forbid it.")
        )


def _reached(method: Method, trial: Trial) -> Iterator[DoctorResult]:
    for what, target in trial.through()[:_MOST]:
        yield DoctorResult(
            _m("separation: %(what)s", what=what),
            False,
            _m("A claw reached %(target)s in spite of %(words)s.", target=target, words=method.words),
        )


def _nothing(method: Method | None, *, off: bool) -> Iterator[DoctorResult]:
    if off:
        yield DoctorResult(
            _m("separation"),
            False,
            _m("It is switched off in the settings of this cluster: a claw reaches what its user reaches."),
            _m("Set the separation to auto."),
        )
    elif method is None:
        yield DoctorResult(
            _m("separation"), False, _m("The portal is root and cannot give a claw another user, so that no claw runs here."),
            _m("Put the portal's data where other users may pass, such as /var/lib/clawportal, or run it as an ordinary user."),
        )  # fmt: skip
    else:
        yield DoctorResult(
            _m("separation"),
            False,
            _m("Nothing keeps a claw from what the portal's user reaches."),
            _m(
                "Use Linux 6.12 or newer with Landlock switched on, or run the "
                "portal as root so that each claw gets its own user."
            ),
        )


# ---- one attempt


def attempt(walls: Walls, method: Method) -> Trial:
    folder = walls.base / "probe" / random_bytes.token_hex(4)
    try:
        folder.mkdir(mode=0o711, parents=True)
        _forget(folder.parent)
        if method.user and not method.view:
            walls.open_ways()
        with _scene(walls, method, folder) as targets:
            return _run(walls, method, _own(folder, walls, method), targets)
    except GiveUp as error:
        return Trial(error.message)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ENOMEM, errno.EMFILE):
            raise  # it says nothing about the wall, and may be otherwise in a moment
        return Trial(str(error))
    finally:
        safefiles.remove_tree(folder)


def _forget(place: Path) -> None:
    """What portals left that were killed at it."""
    for path in place.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - path.lstat().st_ctime > 10 * _PATIENCE:
                safefiles.remove_tree(path)


def _own(folder: Path, walls: Walls, method: Method) -> Own:
    own = folder / "own"
    own.mkdir(mode=0o700)
    for name in ("tmp", "hidden"):
        (own / name).mkdir(mode=0o700)
    uid = walls.user(".probe", method)
    if uid is not None:
        own.chmod(0o710)
        os.chown(own, 0, uid)
        identity.hand_over(own, ("tmp",), uid)
    return Own(own, ("tmp",), str(own / "tmp"), ".probe", hidden=("hidden",))


@contextmanager
def _scene(walls: Walls, method: Method, folder: Path) -> Iterator[list[Target]]:
    """A neighbour with a secret, a folder and two sockets, beside what is there anyway."""
    neighbour = folder / "neighbour"
    neighbour.mkdir(mode=0o700)
    safefiles.write(neighbour, "secret", b"secret")
    uid = walls.user(".neighbour", method)
    if uid is not None:
        identity.hand_over(folder, ("neighbour",), uid)
    with ExitStack() as stack:
        abstract = f"clawportal-probe-{random_bytes.token_hex(8)}"
        for name in (None, abstract):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            _listen(listener, neighbour if name is None else None, abstract)
        free = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = free.getsockname()[1]
        free.close()
        yield [
            *_of_the_portal(walls), (NEIGHBOUR, "read", str(neighbour / "secret")), (NEIGHBOUR, "make", str(neighbour)),
            *((PROCESSES, "look into", str(pid)) for pid in (os.getpid(), os.getppid(), 1)),
            (SIGNALS, "signal", str(os.getpid())),
            (PROCESSES, "limit", str(os.getpid())), *_software(walls),
            *((SOCKETS, "connect", path) for path in (str(neighbour / "socket"), f"@{abstract}", *_sockets())),
            (PORTS, "listen", str(port)),
        ]  # fmt: skip


def _listen(listener: socket.socket, folder: Path | None, name: str) -> None:
    if folder is None:
        listener.bind(f"\0{name}")
    else:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{handle}/socket")
        finally:
            os.close(handle)
        (folder / "socket").chmod(0o777)
    listener.listen()


def _of_the_portal(walls: Walls) -> Iterator[Target]:
    for path in (str(walls.base / "mark"), *walls.private):
        if os.path.isfile(path):
            yield FILES, "read", path
            yield FILES, "write", path


def _software(walls: Walls) -> Iterator[Target]:
    artifacts = walls.base / "artifacts"
    with suppress(OSError):
        yield from ((SOFTWARE, "make", str(path)) for path in [artifacts, *sorted(artifacts.iterdir())[:_MOST]] if path.is_dir())


def _sockets() -> list[str]:
    paths = (path.format(uid=os.getuid()) for path in _SOCKETS)
    return [path for path in paths if os.path.exists(path)]


def _run(walls: Walls, method: Method, own: Own, targets: list[Target]) -> Trial:
    place = own.folder / "tmp"
    wanted = [*targets, (OWN, "make", str(place))]
    safefiles.write(place, "targets.json", json.dumps(wanted).encode())
    # the program travels, too: the portal's own files may be out of reach behind the wall
    safefiles.write(place, "attack.py", Path(__file__).with_name("attack.py").read_bytes())
    outcome = guarded.run(
        [launch.python(), "-I", "-S", str(place / "attack.py"), str(place / "targets.json")], env={"HOME": str(place)}, cwd=place,
        wall=walls.wall(own, method), timeout=_PATIENCE, lines=10_000,
    )  # fmt: skip
    tried = tuple(_told(line) for line in outcome.lines if line.startswith("{"))
    if outcome.code is None:
        raise Retry(
            _n("MachineBusy"), _m("This machine is too busy to find out how it can keep claws apart."), timedelta(seconds=5)
        )
    if outcome.code != 0 or len(tried) != len(wanted):
        return Trial(" ".join(outcome.lines[-2:]) or f"the program ended with code {outcome.code}")
    if not tried[-1][2]:
        return Trial("its own folder cannot be written")
    return Trial("", tried)


def _told(line: str) -> tuple[str, str, bool]:
    told = json.loads(line)
    return told["what"], told["target"], told["done"]
