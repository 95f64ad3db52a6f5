"""Software from an npm registry: in a prefix of its own."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from clawportal.sdk import _m
from clawportal_process.install_job import Job, link


def install(job: Job) -> None:
    """A prefix of npm; its commands are in bin/ as everywhere."""
    watcher = NpmProgress(job)
    job.say(0.01, _m("Asking the package registry for %(title)s", title=job.title))
    job.run(
        [
            "npm", "install", "--prefix", str(job.folder), "--no-audit", "--no-fund", "--omit=dev", "--no-progress",
            "--loglevel=http", "--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=10000",
            *job.artifact.packages,
        ],
        on_line=watcher.line,
    )  # fmt: skip
    link(job.folder / "bin", Path("node_modules") / ".bin")
    job.check()


def last_name(address: str) -> str:
    """What an address names, as people write it: `@scope/name`, which npm asks for as `@scope%2fname`."""
    return unquote(re.split("[?#]", address)[0].rsplit("/", 1)[-1]).removesuffix(".tgz")


class NpmProgress:
    """npm names each file that it fetches: first the descriptions, then the packages."""

    _FETCH = re.compile(r"npm http (?:fetch|cache) (?:GET \d+ )?(\S+)")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.described = self.fetched = 0

    def line(self, line: str) -> None:
        found = self._FETCH.match(line)
        if not found:
            return
        if re.search(r"\.tgz(?:$|[?#])", found[1]):
            self.fetched += 1
        else:
            self.described += 1
        name = last_name(found[1])
        expected = max(self.job.artifact.expected_packages, self.described, self.fetched) + 1
        self.job.say(
            0.01 + 0.2 * min(self.described / expected, 1) + 0.74 * self.fetched / expected,
            _m("Fetching %(unquote)s (%(fetched)s)", unquote=unquote(name)[:60], fetched=self.fetched),
        )
