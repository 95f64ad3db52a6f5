"""The few lines of POSIX shell that run inside pods: they need sh, tar, find and what else coreutils or busybox bring.

Paths arrive as arguments or quoted words, never as text to be parsed, so that any name is safe.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.file_scripts import STEP
from clawportal.sdk.runtimes import File

_PLACE = (
    """umask 077
mkdir -p "$B/home" "$B/state" "$B/work" "$B/.portal" || exit 1
"""
    + STEP
    + """
put() (  # policy mode folder name key
  cd "$B" || exit 1
  step "$3" make
  if [ -L "./$4" ]; then [ "$1" = always ] && rm -f "./$4" || exit 0
  elif [ -d "./$4" ]; then exit 67
  elif [ -e "./$4" ]; then
    [ "$1" = always ] || exit 0
    cmp -s "./$4" "$F/$5" 2>/dev/null && [ "$(stat -c %a "./$4")" = "$2" ] && exit 0
  fi
  new=".portal-new-$$"
  cat "$F/$5" > "./$new" && chmod "$2" "./$new" && mv -f "./$new" "./$4" || { rm -f "./$new"; exit 1; }
)
drop() (  # folder name
  keeps "$1/$2" && exit 0
  cd "$B" && step "$1" && rm -f "./$2"
)
fail() { echo "clawportal: cannot write $2: code $1" >&2; exit "$1"; }
"""
)

EXEC = """
if command -v -- "$0" >/dev/null 2>&1; then printf '\\001%s\\n' "$$"; exec "$0" "$@"; fi
printf '\\002\\n'; exit 127
"""
"""Says first whether there is such a program, and its process id: the API server tells neither."""

END = """
tree() { for one in $(cat /proc/"$1"/task/*/children 2>/dev/null); do tree "$one"; done; kill -"$S" "$1" 2>/dev/null; }
(S=TERM; tree "$1"; sleep 1; S=KILL; tree "$1") </dev/null >/dev/null 2>&1 &
exit 0
"""
"""Answers at once and goes on: who closes a session does not wait for the command to mind."""

LIST = (
    STEP
    + """
cd -P "$1" 2>/dev/null || exit 44
step "$2"
set --
for one in ./.[!.]* ./..?* ./*; do if [ -e "$one" ] || [ -L "$one" ]; then set -- "$@" "$one"; fi; done
[ $# = 0 ] && exit 0
printf '%s\\0' "$@"; printf '/'
stat -c '%f %s %Y' -- "$@"
"""
)

PULL = (
    STEP
    + """
cd -P "$1" 2>/dev/null || exit 44
step "$2"
[ -e "./$3" ] || [ -L "./$3" ] || exit 44
[ -n "$3" ] && exec tar -cf - "./$3"
exec tar -cf - .
"""
)

READ = (
    STEP
    + """
cd -P "$1" 2>/dev/null || exit 44
step "$2"
[ -L "./$3" ] && exit 66
[ -e "./$3" ] || exit 44
[ -f "./$3" ] || exit 66
exec head -c "$4" "./$3"
"""
)

PUSH = (
    STEP
    + """
umask 077
cd -P "$1" 2>/dev/null || exit 44
step "$2" make
new=".portal-push-$$"
mkdir "./$new" || exit 1
trap 'chmod -R u+rwx "./$new"; rm -rf "./$new"' EXIT
(cd "./$new" && umask 0 && tar -xpf -) || exit 1  # the tar of busybox minds the umask even so; nobody else sees this folder
T=$(pwd -P); export T
cd "./$new" || exit 1
find . -type d ! -name . -exec sh -c '
  for one; do
    [ -L "$T/$one" ] && exit 66
    if [ -e "$T/$one" ]; then [ -d "$T/$one" ] || exit 67; else mkdir "$T/$one" || exit 1; fi
  done' sh {} + || { cd "$T"; exit 66; }
find . ! -type d -exec sh -c '
  for one; do
    [ -L "$T/$one" ] && rm -f "$T/$one"
    [ -d "$T/$one" ] && exit 67
    mv -f "$one" "$T/$one" || exit 1
  done' sh {} + || { cd "$T"; exit 67; }
cd "$T"
"""
)
"""Into a folder beside, then moved: half a stream leaves nothing under the whole name."""

CHECK = """
umask 077
mkdir -p "$1" || exit 1
D=$1; shift
# by its own name: after the shift, $1 is the program that judges
trap 'rm -rf "$D"' EXIT
tar -xf - -C "$D" || exit 125
. "$D/.portal-env"; rm -f "$D/.portal-env"
cd "$D" || exit 125
"$@" </dev/null
"""

WRITE = """
umask 077
F="$1"; export F
mkdir -p "$F" || exit 1
trap 'rm -rf "$F"' EXIT
tar -xf - -C "$F" || exit 125
sh "$F/place.sh"
"""

HELPER = "trap 'exit 0' TERM INT; sleep 900 & wait"


def place(files: Iterable[File], keys: Iterable[str], base: str) -> str:
    """The script that brings the files of a workload to where they belong; `$F` is the folder that holds their contents."""
    owned = [file for file in files if file.policy == "always"]
    quote = shlex.quote
    kept = "|".join(quote(f"{file.root}/{_clean(file.path)}") for file in owned)
    lines = [
        f"B={quote(base)}", _PLACE,
        "keeps() { " + (f'case "$1" in {kept}) return 0;; esac; ' if kept else "") + "return 1; }",
    ]  # fmt: skip
    for file, key in zip(files, keys, strict=True):
        folder, name = split(f"{file.root}/{_clean(file.path)}")
        lines.append(f"put {file.policy} {file.mode:o} {quote(folder)} {quote(name)} {quote(key)} || fail $? {quote(file.path)}")
    lines.append('[ -f "$B/.portal/owned.sh" ] && . "$B/.portal/owned.sh"')
    drops = "".join(
        f"drop {quote(folder)} {quote(name)}\n" for folder, name in (split(f"{f.root}/{_clean(f.path)}") for f in owned)
    )
    lines.append(f'printf %s {quote(drops)} > "$B/.portal/owned.new" && mv -f "$B/.portal/owned.new" "$B/.portal/owned.sh"')
    return "\n".join(lines) + "\n"


def _clean(path: str) -> str:
    return str(PurePosixPath(path))


def split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


def safe(path: str) -> str:
    """A relative path in its shortest form; GiveUp for one that leads out. Empty is the root itself."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise GiveUp(
            _n("UnsafePath"), _m("%(path)s leads out of its folder.", path=repr(path)), _m("Use a relative path without `..`.")
        )
    return "/".join(parts)


def check_planned(files: Iterable[File]) -> None:
    for file in files:
        if not safe(file.path):
            raise GiveUp(_n("UnsafePath"), _m("A file of the plan has no name."), _m("Correct the path in the adapter."))
