"""Keeps whole files, such as uploads, exports and backups, in a folder of the portal's machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from clawportal.sdk import _m, hookimpl

SUMMARY = _m("Keeps whole files, such as uploads, exports and backups, in a folder of the portal's machine.")

if TYPE_CHECKING:
    from clawportal.sdk.stores import FileStore


@hookimpl
def register_file_stores(data_dir: str) -> Iterable[FileStore]:
    from clawportal_localfiles.store import LocalFiles

    return [LocalFiles(data_dir)]
