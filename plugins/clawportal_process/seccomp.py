"""A filter of system calls: no way around the other rules, and, where it is asked for, no local sockets at all."""

from __future__ import annotations

import errno
import os
import struct

from clawportal_process import kernel

_MODE_FILTER = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_AT_NUMBER, _AT_MACHINE, _AT_FIRST, _AT_SECOND = 0, 4, 16, 24
_AF_UNIX = 1
_OTHER_INTERFACE = 0x40000000
"""System calls of x32 begin here: the same functions by other numbers."""
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_REFUSED = {
    # the rings of io_uring open sockets and files without a system call; keys of the session are the portal's
    "x86_64": {
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "add_key": 248, "request_key": 249, "keyctl": 250,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
    },
    "aarch64": {
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "add_key": 217, "request_key": 218, "keyctl": 219,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
    },
}  # fmt: skip
_OF_A_PROCESS = {  # whom they mean stands in this argument; 0 is the caller
    "x86_64": {302: _AT_FIRST, 203: _AT_FIRST, 144: _AT_FIRST, 142: _AT_FIRST, 314: _AT_FIRST, 141: _AT_SECOND, 251: _AT_SECOND},
    "aarch64": {261: _AT_FIRST, 122: _AT_FIRST, 119: _AT_FIRST, 118: _AT_FIRST, 274: _AT_FIRST, 140: _AT_SECOND, 30: _AT_SECOND},
}
"""prlimit64, sched_setaffinity, sched_setscheduler, sched_setparam, sched_setattr, setpriority, ioprio_set: Landlock knows
none of them, and by the first a claw could end every process of the same user."""
_SHARED_MEMORY = {"x86_64": (29, 30, 64, 68, 240), "aarch64": (194, 196, 190, 186, 180)}
"""shmget, shmat, semget, msgget, mq_open: shared with all of the same user, where there is no namespace for it."""


def possible() -> bool:
    return os.uname().machine in MACHINES


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)


def program(machine: str, *, unix_sockets: bool = True, others: bool = True, shared_memory: bool = True) -> bytes:
    """In the language of the kernel's packet filter. `socketpair` always stays: programs talk to their children by it.
    Without `others`, limits and priorities can only be set by a process for itself."""
    refuse = _step(_RETURN, _ERRNO | errno.EPERM)
    steps = [
        _step(_LOAD, _AT_MACHINE), _step(_EQUAL, MACHINES[machine], yes=1), _step(_RETURN, _ERRNO | errno.ENOSYS),
        _step(_LOAD, _AT_NUMBER), _step(_AT_LEAST, _OTHER_INTERFACE, no=1), _step(_RETURN, _ERRNO | errno.ENOSYS),
    ]  # fmt: skip
    for number in _REFUSED[machine].values():
        steps += [_step(_EQUAL, number, no=1), refuse]
    for number in () if shared_memory else _SHARED_MEMORY[machine]:
        steps += [_step(_EQUAL, number, no=1), refuse]
    for number, argument in () if others else _OF_A_PROCESS[machine].items():
        steps += [_step(_EQUAL, number, no=4), _step(_LOAD, argument), _step(_EQUAL, 0, no=1), _step(_RETURN, _ALLOW), refuse]
    if not unix_sockets:
        steps += [
            _step(_EQUAL, _SOCKET[machine], no=3), _step(_LOAD, _AT_FIRST), _step(_EQUAL, _AF_UNIX, no=1),
            _step(_RETURN, _ERRNO | errno.EACCES),
        ]  # fmt: skip
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def enforce(code: bytes) -> None:
    """On this process, which has given up new privileges before, and on all below."""
    steps = kernel.Memory(code)
    told = kernel.Memory(struct.pack("HxxxxxxQ", len(code) // 8, steps.address))
    kernel.prctl(kernel.PR_SET_SECCOMP, _MODE_FILTER, told.address)
