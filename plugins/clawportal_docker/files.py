"""Files of an instance: those that the portal writes, and those that people list, fetch and send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import docker.errors

from clawportal.sdk import _m, _n, file_scripts
from clawportal.sdk.errors import Retry
from clawportal.sdk.runtimes import FileEntry, Image, Ref, Workload
from clawportal_docker import archives, naming
from clawportal_docker.changes import Changes
from clawportal_docker.containers import Containers
from clawportal_docker.engine import LONG, Engine
from clawportal_docker.errors import map_errors
from clawportal_docker.helpers import Helpers
from clawportal_docker.notes import Notes

_LIST = r"""cd -P -- "$1" && cd -P -- "$2" || exit 44
case "$(pwd -P)" in "$3"|"$3"/*) ;; *) exit 77;; esac
for f in * .[!.]* ..?*; do if [ -e "$f" ] || [ -L "$f" ]; then stat -c '%f %s %Y' -- "$f" && printf '%s\0' "$f"; fi; done"""

_WHERE = r"""cd -P -- "$1" && cd -P -- "$2" || exit 44
case "$(pwd -P)" in "$3"|"$3"/*) ;; *) exit 77;; esac
if [ -L "$4" ]; then exit 78; fi
if [ -n "$4" ] && [ ! -e "$4" ]; then exit 44; fi"""


class Files:
    def __init__(self, engine: Engine, containers: Containers, notes: Notes, helpers: Helpers) -> None:
        self.engine, self.containers, self.notes, self.helpers = engine, containers, notes, helpers
        self.changes = Changes(self._ask)

    def update(self, ref: Ref, workload: Workload) -> None:
        with self.containers.locked(ref), map_errors(ref):
            main = self.containers.main(ref)
            if main is None:
                raise Retry(_n("Gone"), _m("%(ref)s is not there.", ref=ref))
            self.write(ref, main["Id"], workload)
            if main["State"] == "running":
                self.notes.write(main["Id"], "applied.json", {"container": main["Id"], "digest": workload.digest()})

    def write(self, ref: Ref, container: str, workload: Workload) -> None:
        """Bring a container's files up to date, and take away what an earlier plan wrote and this one no longer names."""
        image = workload.image or Image("")
        seeds = {(file.root, file.path) for file in workload.files if file.policy == "seed_once"}
        there = {key for key in seeds if self._exists(container, f"{naming.BASE}/{key[0]}/{archives.inside(key[1])}")}
        files = [file for file in workload.files if (file.root, file.path) not in there]
        self.engine.client.put_archive(container, naming.BASE, archives.of_files(files, image.uid, image.gid))
        owned = sorted([file.root, file.path] for file in workload.files if file.policy == "always")
        former = self.notes.read(container, "owned.json").get("files", [])
        lost = [item for item in former if item not in owned]
        if lost:
            paths = [f"{naming.BASE}/{root}/{archives.inside(path)}" for root, path in lost]
            self.helpers.beside(ref, workload.image, ("rm", "-f", "--", *paths))
        if former != owned:
            self.notes.write(container, "owned.json", {"files": owned})

    def _exists(self, container: str, path: str) -> bool:
        try:
            stream, _ = self.engine.client.get_archive(container, path)
        except docker.errors.NotFound:
            return False
        stream.close()
        return True

    def read(self, ref: Ref, root: str, path: str, limit: int) -> bytes:
        if root not in naming.ROOTS:
            raise FileNotFoundError(2, "there is no such root", root)
        pure = PurePosixPath(archives.inside(path))
        with map_errors(ref):
            self._find(ref, root, str(pure.parent), pure.name)
            main = self.containers.any(ref)
            try:
                stream, _ = self.engine.client.get_archive(main["Id"], f"{naming.BASE}/{root}/{pure}")
            except docker.errors.NotFound as error:
                raise FileNotFoundError(2, "there is no such file", path) from error
            return archives.first_file(stream, limit)

    # ---- for people

    def _ask(self, ref: Ref, script: str, *arguments: str) -> tuple[int, bytes]:
        """Run a script beside the instance's files: in the claw where it runs, otherwise in a helper with the same volume."""
        main = self.containers.any(ref)
        argv = ("/bin/sh", "-c", script, "sh", *arguments)
        user = main["Labels"].get(naming.USER, "")
        if main["State"] == "running":
            return self.helpers.run(main["Id"], argv, user)
        return self.helpers.beside(ref, None, argv, reference=main["ImageID"], user=user)

    def _find(self, ref: Ref, root: str, folder: str, name: str = "") -> None:
        """FileNotFoundError, or GiveUp where links lead out of the root."""
        base = f"{naming.BASE}/{root}"
        code, _ = self._ask(ref, _WHERE, base, folder or ".", base, name)
        if code in (77, 78):
            raise archives.unsafe(f"{folder}/{name}")
        if code:
            raise FileNotFoundError(2, "there is no such file", f"{folder}/{name}")

    def entries(self, ref: Ref, root: str, path: str = "") -> list[FileEntry]:
        if root not in naming.ROOTS:
            raise FileNotFoundError(2, "there is no such root", root)
        folder, base = archives.inside(path) or ".", f"{naming.BASE}/{root}"
        with map_errors(ref):
            code, output = self._ask(ref, _LIST, base, folder, base)
        if code == 77:
            raise archives.unsafe(path)
        if code:
            raise FileNotFoundError(2, "there is no such folder", path)
        found = [file_scripts.entry(item.lstrip(b"\n")) for item in output.split(b"\0") if item.strip()]
        return sorted(found, key=lambda entry: entry.name)

    def pull(self, ref: Ref, root: str, path: str = "") -> Iterator[bytes]:
        if root not in naming.ROOTS:
            raise FileNotFoundError(2, "there is no such root", root)
        inner = archives.inside(path)
        pure = PurePosixPath(inner)
        client = self.engine.connect(LONG)
        with map_errors(ref):
            self._find(ref, root, str(pure.parent) if inner else "", pure.name)
            whole = f"{naming.BASE}/{root}/{inner}" if inner else f"{naming.BASE}/{root}/."
            stream, _ = client.get_archive(self.containers.any(ref)["Id"], whole, chunk_size=256 * 1024)
        return archives.pieces(stream, client.close)

    def push(self, ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        if root not in naming.ROOTS:
            raise FileNotFoundError(2, "there is no such root", root)
        folder = archives.inside(path)
        with map_errors(ref):
            main = self.containers.any(ref)
            links = self._links(ref, root)
            pure = PurePosixPath(folder)
            if links.intersection(map(str, (pure, *pure.parents))):
                raise archives.unsafe(folder)
            uid, _, gid = main["Labels"].get(naming.USER, "1000:1000").partition(":")
            how = archives.Cleaned(folder, int(uid), int(gid or uid), links)
            stream = archives.cleaned(chunks, how)
            try:
                self.engine.connect(LONG).put_archive(main["Id"], f"{naming.BASE}/{root}", stream)
            except BaseException:
                if how.current:  # a part of it may have arrived
                    self._ask(ref, 'rm -f -- "$1"', f"{naming.BASE}/{root}/{how.current}")
                raise

    def _links(self, ref: Ref, root: str) -> frozenset[str]:
        """The symbolic links in a root: the engine would follow them."""
        code, output = self._ask(ref, 'cd -P -- "$1" && find . -type l -print0', f"{naming.BASE}/{root}")
        if code:
            raise FileNotFoundError(2, "there is no such root", root)
        return frozenset(item.decode("utf-8", "surrogateescape").removeprefix("./") for item in output.split(b"\0") if item)
