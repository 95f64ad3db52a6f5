"""What a hostile claw would try, as a program: each line that it writes names one thing and says whether it was done.

It gets a file with its targets as JSON and runs behind the wall that is being measured. It harms nobody: it opens files
and closes them again, connects and hangs up, and sends the signal 0.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from collections.abc import Callable


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def make(folder: str) -> None:
    path = os.path.join(folder, f".attack-{os.getpid()}")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)


def look_into(pid: str) -> None:
    """Environment, memory or folder of a process; one is enough."""
    for action in (
        lambda: read(f"/proc/{pid}/environ"),
        lambda: read(f"/proc/{pid}/mem"),
        lambda: os.readlink(f"/proc/{pid}/cwd"),
    ):
        try:
            action()
        except OSError:
            continue
        return
    raise PermissionError("neither environment nor memory nor folder")


def connect(address: str) -> None:
    """`@name` is an abstract socket."""
    if address.startswith("@"):
        name = f"\0{address[1:]}"
    else:  # by a descriptor: the path may be too long for a socket
        folder, last_part = os.path.split(address)
        name = f"/proc/self/fd/{os.open(folder, os.O_PATH)}/{last_part}"
    last: OSError | None = None
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        try:
            with socket.socket(socket.AF_UNIX, kind) as channel:
                channel.settimeout(2)
                channel.connect(name)
                return
        except OSError as error:
            last = error
    assert last is not None
    raise last


def signal(pid: str) -> None:
    os.kill(int(pid), 0)


def limit(pid: str) -> None:
    """Set it to what it is; another value could end the process."""
    resource.prlimit(int(pid), resource.RLIMIT_CORE, resource.prlimit(int(pid), resource.RLIMIT_CORE))


def listen(port: str) -> None:
    with socket.create_server(("127.0.0.1", int(port))):
        pass


ACTIONS: dict[str, Callable[[str], object]] = {
    "read": read, "write": write, "make": make, "look into": look_into, "connect": connect, "signal": signal,
    "limit": limit, "listen": listen,
}  # fmt: skip


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        targets = json.load(file)
    for what, action, target in targets:
        try:
            ACTIONS[action](target)
            why = ""
        except Exception as error:  # whatever stops it
            why = f"{type(error).__name__}: {error}"
        print(json.dumps({"what": what, "action": action, "target": target, "done": not why, "why": why}), flush=True)


if __name__ == "__main__":
    main()
