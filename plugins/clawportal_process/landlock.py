"""Landlock: rules about files, ports, signals and abstract sockets that a process gives itself, for good and for all below it.

The numbers are those of `linux/landlock.h`, the same on every machine.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from clawportal_process import kernel

TYPE_CHECKING = False  # the type checker takes it for true; importing typing would cost memory
if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2
_BIND_TCP = 1
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
_MAKE_DEVICES = 1 << 6 | 1 << 11
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEVICE
READ = EXECUTE | READ_FILE | READ_DIR
WRITE = 0xFFFF & ~_MAKE_DEVICES & ~_IOCTL_DEVICE
DEVICE = READ_FILE | WRITE_FILE | READ_DIR | _IOCTL_DEVICE
_KNOWN = {1: 13, 2: 14, 3: 15, 4: 15}
"""Version of the interface -> how many rights of files it knows; all 16 from 5 on."""


def version() -> int:
    """Of the kernel's interface; 0 where there is none."""
    try:
        return kernel.syscall(_CREATE, 0, 0, _ASK_VERSION)
    except OSError:
        return 0


class Domain:
    """Rules under construction: whatever is not allowed is refused."""

    def __init__(self, *, ports: bool = True) -> None:
        self.version = version()
        if not self.version:
            raise OSError(errno.ENOSYS, "this kernel has no Landlock")
        self.rights = (1 << _KNOWN.get(self.version, 16)) - 1
        self.ports = ports and self.version >= 4
        scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if self.version >= 6 else 0
        told = struct.pack("QQQ", self.rights, _BIND_TCP if self.ports else 0, scoped)
        size = 8 if self.version < 4 else 16 if self.version < 6 else 24
        self.handle = kernel.syscall(_CREATE, told[:size], size, 0)

    def allow(self, path: str, rights: int) -> None:
        """Below a folder, or for one file. What is not there, or cannot be reached, cannot be allowed and is left out."""
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            self.allow_handle(handle, rights)
        finally:
            os.close(handle)

    def allow_handle(self, handle: int, rights: int) -> None:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _OF_FILES
        kernel.syscall(_ADD, self.handle, _PATH_BENEATH, struct.pack("=Qi", rights & self.rights, handle), 0)

    def allow_ports(self, ports: Iterable[int]) -> None:
        """To listen on. Where the kernel cannot say, every port is open."""
        for port in ports if self.ports else ():
            kernel.syscall(_ADD, self.handle, _NET_PORT, struct.pack("QQ", _BIND_TCP, port), 0)

    def enforce(self) -> None:
        """On this process, which has given up new privileges before."""
        kernel.syscall(_RESTRICT, self.handle, 0)
        os.close(self.handle)
