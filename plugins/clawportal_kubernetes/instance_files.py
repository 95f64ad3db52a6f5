"""The files of an instance for people: through the pod that runs, or one that lives only for that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clawportal.sdk import _m, file_scripts
from clawportal.sdk.runtimes import FileEntry, FoundFiles, NoFolderYet, Ref, RunState
from clawportal_kubernetes import files, manifests, scripts
from clawportal_kubernetes.cluster import Cluster
from clawportal_kubernetes.commands import Commands
from clawportal_kubernetes.helper_pods import HelperPods

ROOTS = ("home", "state", "work")


class InstanceFiles:
    def __init__(self, cluster: Cluster, helpers: HelperPods, commands: Commands) -> None:
        self.cluster, self.helpers, self.commands = cluster, helpers, commands

    def _root(self, ref: Ref, root: str) -> str:
        if root not in ROOTS:
            raise FileNotFoundError(_m("There is no root %(root)s; there are %(join)s.", root=repr(root), join=[*ROOTS]))
        return str(getattr(manifests.layout(self.cluster.settings, ref, None), root))

    def _way(self, ref: Ref) -> files.Open:
        """The pod that runs, or one that lives only to hand out files while the claw is stopped."""
        found = self.commands.begun(ref)
        if found is not None and self.cluster.mirror.look(ref).state is RunState.RUNNING and found.containers:
            return self.commands.opener(ref, found)
        owner, found = self.cluster.look(ref)
        if owner is None:
            raise NoFolderYet(_m("%(ref)s is not in this cluster.", ref=ref))
        if found is not None or owner.replicas:
            raise files.not_running(f"{ref} is just starting, so that it")
        return self.helpers.for_files(ref, owner)

    def entries(self, ref: Ref, root: str, path: str = "") -> list[FileEntry]:
        folder = self._root(ref, root)
        scripts.safe(path)
        with self.cluster.map_errors(ref):
            return files.list_folder(self._way(ref), folder, path)

    def pull(self, ref: Ref, root: str, path: str = "") -> Iterator[bytes]:
        folder = self._root(ref, root)
        scripts.safe(path)
        with self.cluster.map_errors(ref):
            yield from files.pull(self._way(ref), folder, path)

    def push(self, ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        folder = self._root(ref, root)
        scripts.safe(path)
        with self.cluster.map_errors(ref):
            files.push(self._way(ref), folder, path, chunks)

    def read(self, ref: Ref, root: str, path: str, limit: int) -> bytes:
        folder = self._root(ref, root)
        scripts.safe(path)
        with self.cluster.map_errors(ref):
            return files.read(self._way(ref), folder, path, limit)

    def move(self, ref: Ref, root: str, path: str, target_root: str, target: str) -> None:
        self._change(ref, path, file_scripts.MOVE, *self._split(ref, root, path), *self._split(ref, target_root, target))

    def remove(self, ref: Ref, root: str, path: str) -> None:
        self._change(ref, path, file_scripts.REMOVE, *self._split(ref, root, path))

    def find(self, ref: Ref, root: str, path: str, text: str, limit: int) -> FoundFiles:
        folder = scripts.safe(path)
        how = (file_scripts.pattern(text), file_scripts.room(limit), file_scripts.passed_over(root, folder))
        return file_scripts.found(self._change(ref, path, file_scripts.FIND, self._root(ref, root), folder, *how), limit)

    def _split(self, ref: Ref, root: str, path: str) -> tuple[str, str, str]:
        folder, name = scripts.split(scripts.safe(path))
        if not name:
            raise files.unsafe(_m("A file or folder is needed, not all of a claw's."))
        return self._root(ref, root), folder, name

    def _change(self, ref: Ref, path: str, script: str, *arguments: str) -> bytes:
        with self.cluster.map_errors(ref):
            outcome = files.run(self._way(ref), files.script(script, *arguments))
            files.raise_for(outcome, path)
            return outcome.out
