"""Calls of the kernel that Python has no function for, by the C module below ctypes: a supervisor has no room for all of it."""

from __future__ import annotations

import _ctypes
import os
import sys

TYPE_CHECKING = False  # the type checker takes it for true; importing typing would cost memory
if TYPE_CHECKING:
    from typing import Any

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 15, 22, 36, 38
_MOUNT_SETATTR, _AT_RECURSIVE, _READ_ONLY = 442, 0x8000, 1
_HERE = -100
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PLAIN_CALL, _KEEPS_ERRNO = 1, 8


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]  # it cannot be subscribed
    _type_ = "l"


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]  # as above
    _type_ = "i"


class _Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]  # as above
    _type_ = "c"


class _Function(_ctypes.CFuncPtr):
    """Answers an `int`: read as a `long`, the -1 of many a function is 4294967295, and its failure passes for success."""

    _flags_ = _PLAIN_CALL | _KEEPS_ERRNO
    _restype_ = _Int


class _LongFunction(_ctypes.CFuncPtr):
    _flags_ = _PLAIN_CALL | _KEEPS_ERRNO
    _restype_ = _Long


def _of_c(name: str) -> Any:
    library = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]  # typeshed does not know that None is this process itself
    kind = _LongFunction if name == "syscall" else _Function
    return kind(_ctypes.dlsym(library, name))


def call(name: str, *arguments: int | bytes | None) -> int:
    """A function of the C library that answers -1 on failure, which is raised as OSError."""
    given = [_Long(argument) if isinstance(argument, int) else argument for argument in arguments]
    answer = int(_of_c(name)(*given))
    if answer == -1:
        number = _ctypes.get_errno()
        raise OSError(number, os.strerror(number), _told(name, arguments))
    return answer


def _told(name: str, arguments: tuple[int | bytes | None, ...]) -> str:
    """What was refused: paths of the arguments, not what else is in bytes."""
    texts = [os.fsdecode(part) for part in arguments if isinstance(part, bytes)]
    texts = [text for text in texts if text.isascii() and text.isprintable()]
    return " ".join([name, *texts]) if name != "syscall" else f"system call {arguments[0]!r}"


def syscall(number: int, *arguments: int | bytes | None) -> int:
    return call("syscall", number, *arguments)


def prctl(option: int, value: int | bytes, extra: int | bytes = 0) -> int:
    return call("prctl", option, value, extra, 0, 0)


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (kind, data)]
    call("mount", os.fsencode(source), os.fsencode(target), texts[0], flags, texts[1])


def read_only(path: str) -> None:
    """A mount with all below; flags that it has stay."""
    wanted = _READ_ONLY.to_bytes(8, sys.byteorder) + bytes(24)
    syscall(_MOUNT_SETATTR, _HERE, os.fsencode(path), _AT_RECURSIVE, wanted, len(wanted))


class Memory:
    """Bytes with an address, as long as this object lives."""

    def __init__(self, content: bytes) -> None:
        kind = type("_Bytes", (_ctypes.Array,), {"_type_": _Byte, "_length_": len(content)})
        self._bytes: Any = kind(*content)
        self.address = _ctypes.addressof(self._bytes)
