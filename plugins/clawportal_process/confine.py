"""Puts the process that calls it behind its wall: what it sees, whom it is, what it may. There is no way back.

It runs between the fork and the exec of every process of a claw, and is told everything in plain values (see `separation`).
Whatever fails here is raised: a process that could not be confined must not run.
"""

from __future__ import annotations

import os
import stat

from clawportal_process import kernel, landlock, seccomp

TYPE_CHECKING = False  # the type checker takes it for true; importing typing would cost memory
if TYPE_CHECKING:
    from typing import Any


def enter(wall: dict[str, Any]) -> None:
    """Every part is optional but the last: nothing that runs here ever gains privileges."""
    if wall.get("view"):
        _see_only(wall)
    domain = _domain(wall) if wall.get("landlock") else None
    if wall.get("user"):
        _become(*wall["user"])
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if domain is not None:
        domain.enforce()
    if wall.get("filter"):
        seccomp.enforce(wall["filter"])


def hand_over(wall: dict[str, Any], handles: tuple[int, ...]) -> None:
    """The streams of a process belong to its user, who may want to open them again by `/dev/stderr`."""
    for handle in handles if wall.get("user") else ():
        if stat.S_ISFIFO(os.fstat(handle).st_mode) or os.isatty(handle):  # never /dev/null, which is everybody's
            os.fchown(handle, *wall["user"])


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)  # takes every capability along


# ---- what it may


def _domain(wall: dict[str, Any]) -> landlock.Domain:
    """Built while the process may still open everything; in force later."""
    domain = landlock.Domain()
    for path, rights in wall["landlock"]:
        domain.allow(path, rights)
    for handle in (0, 1, 2):
        if os.isatty(handle):  # a terminal that was handed down is not among its own ones
            domain.allow_handle(handle, landlock.DEVICE)
    domain.allow_ports(wall["ports"])
    return domain


# ---- what it sees


def _see_only(wall: dict[str, Any]) -> None:
    """A root of its own that holds what is in the view and nothing else."""
    inside, outside = wall.get("inside"), (os.geteuid(), os.getegid())
    kernel.call("unshare", kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | (kernel.CLONE_NEWUSER if inside else 0))
    if inside:
        _map(inside, outside)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    stage = wall["stage"]
    kernel.mount("tmpfs", stage, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755,size=4m")
    for name, *told in wall["view"]:
        _STEPS[name](stage, *told)
    os.chdir(stage)
    kernel.syscall(kernel.PIVOT_ROOT[os.uname().machine], b".", b".")
    kernel.call("umount2", b".", kernel.MNT_DETACH)
    os.chdir("/")


def _map(inside: tuple[int, int], outside: tuple[int, int]) -> None:
    """One user and one group; outside they stay the portal's."""
    _write("/proc/self/setgroups", b"deny")
    _write("/proc/self/uid_map", b"%d %d 1" % (inside[0], outside[0]))
    _write("/proc/self/gid_map", b"%d %d 1" % (inside[1], outside[1]))


def _write(path: str, content: bytes, flags: int = 0) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o644)
    try:
        os.write(handle, content)
    finally:
        os.close(handle)


def _folder(stage: str, path: str) -> None:
    try:
        os.mkdir(stage + path)
        os.chmod(stage + path, 0o755)  # noqa: S103  # of the view, which is its own
    except FileExistsError:
        pass


def _link(stage: str, path: str, target: str) -> None:
    try:
        os.symlink(target, stage + path)
    except FileExistsError:
        pass


def _bind(stage: str, path: str, is_folder: bool, writable: bool) -> None:
    """The same place as outside; what has gone since the view was made is left out."""
    if not os.path.lexists(path):
        return
    if is_folder:
        _folder(stage, path)
    else:
        _write(stage + path, b"", os.O_CREAT)
    kernel.mount(path, stage + path, None, kernel.MS_BIND | kernel.MS_REC)
    if not writable:
        kernel.read_only(stage + path)


def _put(stage: str, path: str, source: str) -> None:
    """What the view has by another name, too."""
    kernel.mount(source, stage + path, None, kernel.MS_BIND)


def _replace(stage: str, path: str, content: str) -> None:
    """A file of the system by one of its own."""
    name = path.replace("/", ".")
    _write(f"{stage}/{name}", content.encode(), os.O_CREAT)
    os.chmod(f"{stage}/{name}", 0o644)
    kernel.mount(f"{stage}/{name}", stage + path, None, kernel.MS_BIND)


def _memory(stage: str, path: str, options: str) -> None:
    _folder(stage, path)
    kernel.mount("tmpfs", stage + path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)


def _terminals(stage: str, path: str) -> None:
    _folder(stage, path)
    kernel.mount("devpts", stage + path, "devpts", kernel.MS_NOSUID, "newinstance,ptmxmode=0666,mode=0620")


_STEPS: dict[str, Any] = {
    "folder": _folder, "link": _link, "bind": _bind, "put": _put, "replace": _replace, "memory": _memory,
    "terminals": _terminals,
}  # fmt: skip
