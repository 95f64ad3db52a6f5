"""Errors of the system as verdicts: what may heal by itself is tried again, what cannot is given up."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Ref
from clawportal_process import safefiles

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def map_errors(ref: Ref) -> Iterator[None]:
    try:
        yield
    except safefiles.UnsafePath as error:
        raise GiveUp(
            _n("UnsafePath"),
            f"{error.filename}: {error.strerror}.",
            _m("Remove the link or file from the claw's folder, or correct the path in the adapter."),
        ) from error
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise Retry(
                _n("DiskFull"),
                _m(
                    "%(ref)s cannot be written: %(strerror)s. Free some space on the portal's disk.",
                    ref=ref,
                    strerror=error.strerror,
                ),
            ) from error
        raise Retry(_n("MachineError"), f"{ref}: {error}") from error
