"""Runs Python as an ordinary user, for tests that run as root: `python tests/ordinary_user.py 12345 -m pytest ...`.

Where the interpreter lies below a folder that only root may pass, such as `/root`, it is shown there in a mount namespace, and so
are the folders that `TEST_SHOW_FOLDERS` names with colons between them. With `TEST_NO_NAMESPACES` nobody can make a namespace, as
in most containers.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UID = 54_321


def become(uid: int) -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]
    from clawportal_process import kernel, seccomp

    kernel.call("unshare", kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    needed = [Path(sys.base_prefix), *map(Path, filter(None, os.environ.pop("TEST_SHOW_FOLDERS", "").split(":")))]
    hidden = [(path, os.open(path, os.O_PATH)) for path in needed if _closed(path)]
    for top in {_closed(path)[-1] for path, _ in hidden}:
        kernel.mount("tmpfs", str(top), "tmpfs", 0, "mode=0755")
    for path, handle in hidden:
        path.mkdir(parents=True)
        kernel.mount(f"/proc/self/fd/{handle}", str(path), None, kernel.MS_BIND | kernel.MS_REC)
    if os.environ.pop("TEST_NO_NAMESPACES", ""):
        seccomp.enforce(without_namespaces())
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def no_mounts() -> bool:
    """Whether this is a root that may not make a mount namespace, as in most containers."""
    if os.geteuid() != 0:
        return False
    code = "from clawportal_process import kernel; kernel.call('unshare', kernel.CLONE_NEWNS)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False).returncode != 0


def without_namespaces() -> bytes:
    """A filter that refuses `unshare`."""
    unshare = {"x86_64": 272, "aarch64": 97}[os.uname().machine]
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, unshare), (0x06, 0, 0, 0x00050000 | errno.EPERM), (0x06, 0, 0, 0x7FFF0000)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _closed(path: Path) -> list[Path]:
    """Folders on the way that others may not pass, the outermost last."""
    return [parent for parent in path.parents if not parent.stat().st_mode & 0o001]


if __name__ == "__main__":
    become(int(sys.argv[1]))
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
