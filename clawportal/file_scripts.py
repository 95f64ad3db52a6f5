"""How a place that runs commands in an instance changes its files: a few lines of POSIX shell, and what their exit codes mean.

They need sh, find and what else coreutils or busybox bring. Paths arrive as arguments, never as text to be parsed, so that any
name is safe; no step leads through a link.
"""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Literal

from clawportal.contracts.runtimes import OWN_FOLDER, FileEntry, FoundFiles

Kind = Literal["file", "folder", "link", "other"]
MISSING, UNSAFE, NOT_A_FOLDER, EXISTS = 44, 66, 67, 68
"""Exit codes of the scripts below."""

STEP = """
step() {  # into a folder below the present one, never through a link
  rest=$1
  while [ -n "$rest" ]; do
    case "$rest" in */*) one=${rest%%/*}; rest=${rest#*/};; *) one=$rest; rest=;; esac
    [ -L "./$one" ] && exit 66
    if [ -n "$2" ] && [ ! -e "./$one" ]; then mkdir "./$one" 2>/dev/null || [ -d "./$one" ] || exit 67; fi
    [ -e "./$one" ] || exit 44
    [ -d "./$one" ] || exit 67
    cd -P "./$one" || exit 67
  done
}
"""

_TO = (
    STEP
    + """
to() { cd -P "$1" 2>/dev/null || exit 44; step "$2" "$3"; }
there() { [ -e "$1" ] || [ -L "$1" ]; }
"""
)

MOVE = (
    _TO
    + """
umask 077
to "$1" "$2"
there "./$3" || exit 44
from=$(pwd -P; echo .); from=${from%??}
to "$4" "$5" make
there "./$6" && exit 68
if mv -T -n -- "$from/$3" "./$6" 2>/dev/null; then :
elif there "./$6"; then exit 68
else mv -- "$from/$3" "./$6" 2>/dev/null || exit 1; fi
there "$from/$3" && exit 68
exit 0
"""
)
"""Root, folder, name; root, folder and name of where to. The second way is for a `mv` that knows no -T."""

REMOVE = (
    _TO
    + """
to "$1" "$2"
there "./$3" || exit 44
if [ -d "./$3" ] && [ ! -L "./$3" ]; then chmod -R u+rwx "./$3" 2>/dev/null; fi
rm -rf "./$3" 2>/dev/null || exit 1
"""
)
"""Root, folder, name."""

FIND = (
    _TO
    + """
to "$1" "$2"
find . ! -name . -path "./$5" -prune -o ! -name . -iname "$3" -exec sh -c '
  for one; do told=$(stat -c "%f %s %Y" -- "$one") && printf "%s\\n%s\\0" "$told" "$one"; done' sh {} + 2>/dev/null | head -c "$4"
exit 0
"""
)
"""Root, folder, `pattern` of the text, `room` for so many entries, `passed_over` of root and folder."""

_ENTRY_BYTES = 5000
_LATEST = 253_402_300_799.0
"""The end of the year 9999."""
_KINDS: dict[int, Kind] = {stat.S_IFLNK: "link", stat.S_IFDIR: "folder", stat.S_IFREG: "file"}


def pattern(text: str) -> str:
    """For `find`: any name that contains the text."""
    return "*" + re.sub(r"([\\*?\[\]])", r"\\\1", text) + "*"


def room(limit: int) -> str:
    """Bytes that so many entries have at most; also what keeps a search from running over."""
    return str(min(limit * _ENTRY_BYTES, 4_000_000))


def passed_over(root: str, folder: str) -> str:
    """What a search in a folder does not look into; empty for nothing."""
    return OWN_FOLDER if root == "home" and not PurePosixPath(folder).parts else ""


def found(output: bytes, limit: int) -> FoundFiles:
    """What FIND said, without an entry that was cut off."""
    rows = output.split(b"\0")[:-1]
    cut = len(rows) > limit or len(output) >= int(room(limit))
    return FoundFiles(sorted(map(entry, rows[:limit]), key=lambda one: one.name), cut=cut)


def clamped(seconds: float) -> float:
    """A time of a file as something that every place and archive can say: a claw may set any, also none that is a number."""
    return min(max(0.0, seconds), _LATEST)


def entry(row: bytes) -> FileEntry:
    """`MODE SIZE TIME` as `stat` tells them, a line end, and the name."""
    told, _, name = row.partition(b"\n")
    mode, size, at = told.split()
    return entry_of(name.removeprefix(b"./").decode("utf-8", "surrogateescape"), int(mode, 16), int(size), float(at))


def entry_of(name: str, mode: int, size: int, at: float) -> FileEntry:
    """From the bits and seconds of `stat`."""
    kind = _KINDS.get(stat.S_IFMT(mode), "other")
    return FileEntry(name, kind, size, datetime.fromtimestamp(clamped(at), UTC), stat.S_IMODE(mode))
