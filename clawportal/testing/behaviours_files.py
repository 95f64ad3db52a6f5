"""The files that an instance gets and hands out, whatever place it is in."""

from __future__ import annotations

import hashlib
import random
import stat
import tarfile
import time
from collections.abc import Iterator

import pytest

from clawportal.contracts.workloads import File
from clawportal.errors import GiveUp, Problem
from clawportal.testing.lab import REFUSALS, Lab, Reader, link, pieces, refused, resident, tar_of

ODD_NAMES = (
    "with space", " leading space", "trailing space ", "ünïcode-中文-🦀", ".hidden", "-dash", "quote'and\"quote",
    "dollar$HOME`id`", "semi;colon&|pipe", "star*question?[x]", "back\\slash", "new\nline", "tab\there", "per%20cent", "x" * 200,
)  # fmt: skip
_SHARED = "/tmp"  # noqa: S108  # where a push must not lead
_READ = "found = {}\nfor path in sys.argv[1:]: found[path] = open(path, encoding='utf-8', newline='').read()"


class FileBehaviours:
    # ---- files of the workload

    def test_files_are_written(self, lab: Lab) -> None:
        """Files of all roots, also in deep folders, are there before the program starts."""
        ref = lab.ref()
        files = [File("a", "1", root="home"), File("deep/er/b.json", "2"), File("c", "3", root="work")]
        paths = [f"{lab.folder(ref, file.root)}/{file.path}" for file in files]
        assert lab.asks(ref, _READ, *paths, files=files) == dict(zip(paths, "123", strict=True))

    def test_owned_files_are_always_rewritten(self, lab: Lab) -> None:
        """A file that the portal owns is again as planned at each start."""
        ref = lab.ref()
        path = lab.folder(ref, "state") + "/owned"
        spoil = "found = open(sys.argv[1]).read()\ntry: open(sys.argv[1], 'w').write('spoilt')\nexcept OSError: pass"
        assert lab.asks(ref, spoil, path, files=[File("owned", "one")]) == "one"
        lab.stopped(ref)
        assert lab.asks(ref, spoil, path, files=[File("owned", "one")]) == "one"
        lab.stopped(ref)
        assert lab.asks(ref, spoil, path, files=[File("owned", "two")]) == "two"

    def test_seeded_files_belong_to_the_claw(self, lab: Lab) -> None:
        """A file that is seeded once is written only where there is none; what the claw makes of it stays."""
        ref = lab.ref()
        path = lab.folder(ref, "work") + "/SOUL.md"
        change = "found = open(sys.argv[1]).read()\nopen(sys.argv[1], 'w').write('mine')"
        for content, expected in (("one", "one"), ("two", "mine")):
            assert lab.asks(ref, change, path, files=[File("SOUL.md", content, "work", policy="seed_once")]) == expected
            lab.stopped(ref)
        assert lab.asks(ref, change, path) == "mine", "it stays, even where it is no longer planned"

    def test_files_that_are_no_longer_planned_go(self, lab: Lab) -> None:
        """An owned file that a later plan does not name is taken away."""
        ref = lab.ref()
        folder = lab.folder(ref, "state")
        look = "found = sorted(name for name in ('one', 'two') if os.path.exists(sys.argv[1] + '/' + name))"
        assert lab.asks(ref, look, folder, files=[File("one", "1"), File("two", "2")]) == ["one", "two"]
        lab.stopped(ref)
        assert lab.asks(ref, look, folder, files=[File("two", "2")]) == ["two"]

    def test_files_have_their_modes(self, lab: Lab) -> None:
        """A file has the mode that its plan names, and the program may use it."""
        ref = lab.ref()
        files = [File("secret", "x"), File("open", "x", mode=0o644), File("tool.sh", "#!/bin/sh\necho it runs\n", mode=0o700)]
        found = lab.asks(
            ref,
            "import subprocess\nos.chdir(sys.argv[1])\n"
            "found = {name: os.stat(name).st_mode & 0o777 for name in ('secret', 'open', 'tool.sh')}\n"
            "found['said'] = subprocess.run(['./tool.sh'], capture_output=True, text=True).stdout",
            lab.folder(ref, "state"),
            files=files,
        )
        assert found == {"secret": 0o600, "open": 0o644, "tool.sh": 0o700, "said": "it runs\n"}

    def test_files_with_odd_names(self, lab: Lab) -> None:
        """Names with spaces, quotes, line ends, Unicode, a leading dash or 200 characters arrive as they are."""
        ref = lab.ref()
        files = [File(name, f"content of {place}", root="work") for place, name in enumerate(ODD_NAMES)]
        files += [File(f"folder {place}/{name}", "below", root="work") for place, name in enumerate(ODD_NAMES[:4])]
        work = lab.folder(ref, "work")
        found = lab.asks(ref, _READ, *(f"{work}/{file.path}" for file in files), files=files)
        assert found == {f"{work}/{file.path}": file.content for file in files}

    def test_odd_and_big_content(self, lab: Lab) -> None:
        """Content arrives byte for byte: no line end at the end, CRLF, Unicode, what looks like a template, 600 kB, nothing."""
        ref = lab.ref()
        texts = ["no end", "a\r\nb\r\n", "ü中🦀\n", "$(HOME) ${HOME} {{ x }} %s $$\n", "", "line of a big file\n" * 32_000]
        files = [File(f"f{place}", text) for place, text in enumerate(texts)]
        state = lab.folder(ref, "state")
        code = (
            "import hashlib\n"
            "found = [hashlib.sha256(open(f'{sys.argv[1]}/f{n}', 'rb').read()).hexdigest() for n in range(int(sys.argv[2]))]"
        )
        found = lab.asks(ref, code, state, str(len(files)), files=files)
        assert found == [hashlib.sha256(text.encode()).hexdigest() for text in texts]

    def test_files_are_changed_while_it_runs(self, lab: Lab) -> None:
        """Files can be brought up to date without a restart; the digest tells that it happened."""
        ref = lab.ref()
        code = "import sys, time\nwhile True:\n    print(open(sys.argv[1]).read(), flush=True)\n    time.sleep(0.2)"
        arguments = (code, lab.folder(ref, "state") + "/hot")
        old, new = (lab.workload(*arguments, files=[File("hot", text)]) for text in ("old words", "new words"))
        lab.apply(ref, old)
        lab.said(ref, "old words")
        before = lab.running(ref)
        lab.runtime.write_files(ref, new)
        lab.said(ref, "new words")
        after = lab.runtime.inspect(ref)
        assert (after.incarnation, after.digest) == (before.incarnation, new.digest())
        assert lab.apply(ref, new).incarnation == before.incarnation, "what was brought up to date is not started again"

    def test_planned_paths_cannot_lead_out(self, lab: Lab) -> None:
        """A planned file whose path leads out of its root is refused, and nothing is started."""
        for path in ("../x", "/etc/x", "a/../../x", "", "a\0b"):
            ref = lab.ref()
            with pytest.raises((GiveUp, Problem)):
                lab.apply(ref, lab.workload(files=[File(path, "x")]))
            assert lab.runtime.inspect(ref).digest == ""

    def test_one_file_can_be_read(self, lab: Lab) -> None:
        """The portal reads the beginning of a file; what is missing or leads out is told."""
        ref = lab.ref()
        lab.start(ref, lab.workload(files=[File("deep/a", "abcdef"), File("b", "", root="work")]))
        assert lab.runtime.read_file(ref, "state", "deep/a", 100) == b"abcdef"
        assert lab.runtime.read_file(ref, "state", "deep/a", 3) == b"abc"
        assert lab.runtime.read_file(ref, "work", "b", 100) == b""
        with pytest.raises(FileNotFoundError):
            lab.runtime.read_file(ref, "state", "missing", 100)
        for root, path in (("state", "../work/b"), ("state", "/etc/passwd"), ("work", "x/../../state/b"), ("nowhere", "b")):
            with pytest.raises((*REFUSALS, FileNotFoundError)):
                lab.runtime.read_file(ref, root, path, 100)

    # ---- files that people pull and push

    def test_files_come_back_as_they_were_pushed(self, lab: Lab) -> None:
        """What is pushed can be pulled again: odd names, empty files, modes, empty folders, binary content."""
        lab.needs("files")
        ref = lab.ref()
        lab.start(ref)
        names = {f"odd/{name}": (0o600, name.encode()) for name in ODD_NAMES}
        others = {"deep/er/bin": (0o755, bytes(range(256)) * 10), "empty": (0o640, b""), "read-only": (0o444, b"r")}
        lab.runtime.push(ref, "work", "in coming", pieces(tar_of({**names, **others, "nothing in it/": (0o700, b"")}), 1000))
        found = lab.pulled(ref, "work", "in coming")
        got = {name: (info.mode & 0o777, data) for name, (info, data) in found.items() if info.isfile()}
        assert got == {f"in coming/{name}": entry for name, entry in {**names, **others}.items()}
        assert found["in coming/nothing in it"][0].isdir()
        assert "in coming/deep/er/bin" in lab.pulled(ref, "work"), "those of a whole root are relative to it"

    def test_pushed_files_reach_the_program(self, lab: Lab) -> None:
        """The claw itself can read, change and delete what was pushed."""
        lab.needs("files")
        ref = lab.ref()
        code = (
            "path = sys.argv[1] + '/in/a'\nwhile not os.path.exists(path): time.sleep(0.1)\n"
            "found = open(path).read()\nopen(path, 'a').write('!')\nopen(sys.argv[1] + '/in/new', 'w').close()"
        )
        workload = lab.workload(f"import json, os, sys, time\n{code}\nprint('REPORT', json.dumps(found))\ntime.sleep(3600)",
                                lab.folder(ref, "work"))  # fmt: skip
        lab.apply(ref, workload)
        lab.running(ref)
        lab.push(ref, "work", "in", {"a": b"pushed"})
        assert lab.report(ref) == "pushed"
        assert lab.runtime.read_file(ref, "work", "in/a", 100) == b"pushed!"

    def test_one_file_can_be_pulled(self, lab: Lab) -> None:
        """A pull of one file is a tar of that file alone."""
        lab.needs("files")
        ref = lab.ref()
        lab.start(ref, lab.workload(files=[File("deep/a", "abc"), File("deep/b", "x")]))
        found = lab.pulled(ref, "state", "deep/a")
        assert {name: data for name, (_, data) in found.items()} == {"a": b"abc"}

    def test_folders_are_listed(self, lab: Lab) -> None:
        """A folder tells its entries by name, with kind, size, mode and time, sorted."""
        lab.needs("files")
        ref = lab.ref()
        code = (
            "os.chdir(sys.argv[1])\nos.mkdir('folder')\nopen('file', 'w').write('12345')\nos.chmod('file', 0o640)\n"
            "os.symlink('/etc', 'link')\nopen('.hidden', 'w').close()\nos.mkfifo('pipe')\nopen('new\\nline', 'w').close()\n"
            "found = True"
        )
        lab.asks(ref, code, lab.folder(ref, "work"))
        entries = lab.runtime.list_files(ref, "work")
        assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
        kinds = {entry.name: entry.kind for entry in entries}
        assert kinds == {
            ".hidden": "file",
            "file": "file",
            "folder": "folder",
            "link": "link",
            "new\nline": "file",
            "pipe": "other",
        }
        file = next(entry for entry in entries if entry.name == "file")
        assert (file.size, stat.S_IMODE(file.mode)) == (5, 0o640) and abs(file.modified.timestamp() - time.time()) < 300
        assert lab.runtime.list_files(ref, "work", "folder") == []

    def test_missing_files_are_told(self, lab: Lab) -> None:
        """Listing or pulling what is not there is told as such."""
        lab.needs("files")
        ref = lab.ref()
        lab.start(ref)
        for work in (
            lambda: lab.runtime.list_files(ref, "work", "missing"),
            lambda: list(lab.runtime.pull(ref, "work", "missing")),
            lambda: list(lab.runtime.pull(ref, "work", "missing/below")),
        ):
            with pytest.raises(FileNotFoundError):
                work()

    def test_pulls_and_lists_cannot_lead_out(self, lab: Lab) -> None:
        """Paths with `..`, absolute paths and links laid by the claw hand out nothing from outside of the root."""
        lab.needs("files")
        ref = lab.ref()
        code = (
            "os.chdir(sys.argv[1])\nos.symlink('/etc', 'link')\nos.symlink('/etc/passwd', 'peek')\n"
            "os.mkdir('folder')\nos.symlink('../../state', 'folder/up')\nfound = True"
        )
        lab.asks(ref, code, lab.folder(ref, "work"), files=[File("outside-of-work", "must not be seen")])
        for path in ("../state", "/etc", "folder/../../state", "link", "link/", "peek", "link/passwd", "folder/up"):
            assert refused(lambda path=path: lab.runtime.list_files(ref, "work", path)), path  # type: ignore[misc]
            try:
                raw = b"".join(lab.runtime.pull(ref, "work", path))
            except (*REFUSALS, FileNotFoundError):
                continue
            assert b"root:" not in raw and b"must not be seen" not in raw, path
        raw = b"".join(lab.runtime.pull(ref, "work"))
        assert b"root:" not in raw and b"must not be seen" not in raw, "links are told, not followed"
        found = lab.pulled(ref, "work")
        assert [info.linkname for name, (info, _) in found.items() if name.rpartition("/")[2] == "peek"] == ["/etc/passwd"]

    def test_pushes_cannot_lead_out(self, lab: Lab) -> None:
        """Entries with `..`, absolute names, links that lead out or devices are refused, and nothing outside is touched."""
        lab.needs("files")
        ref = lab.ref()
        lab.asks(ref, f"os.symlink('{_SHARED}', sys.argv[1] + '/laid')\nfound = True", lab.folder(ref, "work"))
        outside = "x-conformance-outside"
        bad = [
            tar_of({f"../{outside}": (0o600, b"x")}), tar_of({f"{_SHARED}/{outside}": (0o600, b"x")}),
            tar_of({f"a/../../{outside}": (0o600, b"x")}), tar_of({}, link("out", _SHARED)), tar_of({}, link("out", "../../..")),
            tar_of({}, link("hard", "../../outside", tarfile.LNKTYPE)), tar_of({}, link("device", "", tarfile.CHRTYPE)),
        ]  # fmt: skip
        for place, raw in enumerate(bad):
            with pytest.raises(GiveUp) as caught:
                lab.runtime.push(ref, "work", "in", pieces(raw))
            assert caught.value.reason == "UnsafePath", place
        for path in ("../up", _SHARED, "a/../../up"):
            assert refused(lambda path=path: lab.push(ref, "work", path, {outside: b"x"})), path  # type: ignore[misc]
        assert refused(lambda: lab.push(ref, "work", "laid", {outside: b"x"})), "a link laid by the claw is not followed"
        assert refused(lambda: lab.push(ref, "work", "", {f"laid/{outside}": b"x"}))
        lab.stopped(ref)
        code = "found = [path for path in sys.argv[1:] if os.path.exists(path)]"
        places = [f"{folder}/{outside}" for folder in (_SHARED, lab.folder(ref, "work") + "/..", lab.folder(ref, "work"))]
        assert lab.asks(ref, code, *places) == []

    def test_files_are_moved_and_deleted(self, lab: Lab) -> None:
        """Files, folders and links are renamed, also into another root, never over something, and deleted as a whole."""
        lab.needs("files.change")
        ref = lab.ref()
        names = ("one", *ODD_NAMES[:-1])
        lab.asks(ref, "os.symlink('/etc', sys.argv[1] + '/laid')\nfound = True", lab.folder(ref, "work"))
        lab.push(ref, "work", "from here", {name: name.encode() for name in names} | {"deep/er/file": b"below"})
        for name in names:
            lab.runtime.move_file(ref, "work", f"from here/{name}", "work", f"to/a new/{name}")
        lab.runtime.move_file(ref, "work", "from here", "home", "all of it")
        assert lab.pulled(ref, "home", "all of it")["all of it/deep/er/file"][1] == b"below"
        assert [entry.name for entry in lab.runtime.list_files(ref, "work", "to/a new")] == sorted(names)
        for path, target in (("to/a new/one", "to/a new/with space"), ("to/a new/one", "to"), ("to", "laid"), ("laid", "to")):
            with pytest.raises(FileExistsError):
                lab.runtime.move_file(ref, "work", path, "work", target)
        assert lab.runtime.read_file(ref, "work", "to/a new/with space", 100) == b"with space"
        lab.runtime.move_file(ref, "work", "laid", "work", "link itself")
        lab.runtime.remove_file(ref, "work", "link itself")
        lab.runtime.remove_file(ref, "work", "to/a new/one")
        lab.runtime.remove_file(ref, "work", "to")
        assert [entry.name for entry in lab.runtime.list_files(ref, "work")] == []
        with pytest.raises(FileNotFoundError):
            lab.runtime.remove_file(ref, "work", "to")
        with pytest.raises(FileNotFoundError):
            lab.runtime.move_file(ref, "work", "x/y", "home", "z")

    def test_a_folder_that_the_claw_locked_is_deleted(self, lab: Lab) -> None:
        """What the claw took its own rights from goes all the same."""
        lab.needs("files.change")
        ref = lab.ref()
        code = (
            "os.makedirs(sys.argv[1] + '/shut/in')\nos.chmod(sys.argv[1] + '/shut/in', 0)\n"
            "os.chmod(sys.argv[1] + '/shut', 0)\nfound = True"
        )
        lab.asks(ref, code, lab.folder(ref, "work"))
        lab.runtime.remove_file(ref, "work", "shut")
        assert lab.runtime.list_files(ref, "work") == []

    def test_files_are_found_by_name(self, lab: Lab) -> None:
        """A search tells entries at any depth by a part of their name, as it stands, and no more than were asked for."""
        lab.needs("files.change")
        ref = lab.ref()
        lab.asks(ref, "os.symlink('/etc', sys.argv[1] + '/plan-link')\nfound = True", lab.folder(ref, "work"))
        lab.push(ref, "work", "a", {"Plan.md": b"12345", "b/c/my plan": b"", "b/other": b"", "x[1]*?": b"", "中文-plan\n2": b""})
        found = {entry.name: entry for entry in lab.runtime.find_files(ref, "work", "", "plan", 100)}
        assert set(found) == {"a/Plan.md", "a/b/c/my plan", "a/中文-plan\n2", "plan-link"}
        assert (found["a/Plan.md"].kind, found["a/Plan.md"].size, found["plan-link"].kind) == ("file", 5, "link")
        assert [entry.name for entry in lab.runtime.find_files(ref, "work", "a", "[1]*?", 100)] == ["x[1]*?"]
        assert [entry.name for entry in lab.runtime.find_files(ref, "work", "a/b", "中", 100)] == []
        few, all_of_it = lab.runtime.find_files(ref, "work", "", "plan", 2), lab.runtime.find_files(ref, "work", "", "plan", 4)
        assert (len(few), few.cut, len(all_of_it), all_of_it.cut) == (2, True, 4, False), "it is told whether there is more"
        lab.push(ref, "home", ".clawportal/trash", {"plan of the trash": b""})
        lab.push(ref, "home", "plans", {"plan": b""})
        assert [entry.name for entry in lab.runtime.find_files(ref, "home", "", "plan", 9)] == ["plans", "plans/plan"]

    def test_changes_cannot_lead_out(self, lab: Lab) -> None:
        """Nothing is moved, deleted or found by way of a link that the claw laid, or by `..`."""
        lab.needs("files.change")
        ref = lab.ref()
        code = "os.symlink('../state', sys.argv[1] + '/laid')\nfound = True"
        lab.asks(ref, code, lab.folder(ref, "work"), files=[File("kept", "kept")])
        lab.push(ref, "work", "", {"mine": b"mine"})
        for path in ("laid/kept", "../state/kept", f"{lab.folder(ref, 'state')}/kept"):
            assert refused(lambda path=path: lab.runtime.move_file(ref, "work", path, "work", "got")), path  # type: ignore[misc]
            assert refused(lambda path=path: lab.runtime.move_file(ref, "work", "mine", "work", path)), path  # type: ignore[misc]
            assert refused(lambda path=path: lab.runtime.remove_file(ref, "work", path)), path  # type: ignore[misc]
        for path in ("laid", "../state"):
            assert refused(lambda path=path: lab.runtime.find_files(ref, "work", path, "kept", 9)), path  # type: ignore[misc]
        assert lab.runtime.find_files(ref, "work", "", "kept", 9) == []
        assert (
            lab.runtime.read_file(ref, "state", "kept", 9) == b"kept" and lab.runtime.read_file(ref, "work", "mine", 9) == b"mine"
        )

    def test_a_broken_stream_is_told(self, lab: Lab) -> None:
        """A push of what is no tar stream, or only half of one, is an error, and leaves no half file under the whole name."""
        lab.needs("files")
        ref = lab.ref()
        lab.start(ref)
        half = tar_of({"half": (0o600, b"z" * 100_000)})[:50_000]
        for raw in (b"this is no tar at all" * 100, half):
            with pytest.raises((GiveUp, Problem, OSError)):
                lab.runtime.push(ref, "work", "in", pieces(raw))
        with pytest.raises(FileNotFoundError):
            lab.runtime.read_file(ref, "work", "in/half", 10)

    def test_a_hundred_megabytes_with_flat_memory(self, lab: Lab) -> None:
        """100 MB are pushed and pulled in pieces; this process grows by less than 30 MB."""
        lab.needs("files")
        ref = lab.ref()
        lab.start(ref)
        size, began, most = 100 * 1024 * 1024, resident(), 0
        sent, got = hashlib.sha256(), hashlib.sha256()

        def upload() -> Iterator[bytes]:
            nonlocal most
            info = tarfile.TarInfo("big")
            info.size = size
            yield info.tobuf(tarfile.USTAR_FORMAT)
            source = random.Random(7)
            for _ in range(100):
                piece = source.randbytes(65536) * 16
                sent.update(piece)
                yield piece
                most = max(most, resident())
            yield bytes(1024)

        def download() -> Iterator[bytes]:
            nonlocal most
            for piece in lab.runtime.pull(ref, "work", "in/big"):
                assert len(piece) <= 1024 * 1024
                yield piece
                most = max(most, resident())

        lab.runtime.push(ref, "work", "in", upload())
        with tarfile.open(fileobj=Reader(download()), mode="r|") as tar:
            for info in tar:
                file = tar.extractfile(info)
                while file is not None and (piece := file.read(1024 * 1024)):
                    got.update(piece)
        assert got.hexdigest() == sent.hexdigest()
        assert most - began < 30 * 1024 * 1024, f"grew by {(most - began) >> 20} MiB"
