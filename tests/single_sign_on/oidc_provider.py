"""A real OpenID provider (the certified npm package `oidc-provider`) on loopback, for tests and their browsers."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx

HERE = Path(__file__).parent / "provider"
CLIENT, SECRET = "portal", "secret-of-the-portal"
VERSION = re.compile(r'"oidc-provider": "([^"]+)"')
ANNA: dict[str, Any] = {
    "preferred_username": "anna", "name": "Anna Example", "email": "anna@example.com", "email_verified": True, "groups": [],
}  # fmt: skip


def missing() -> str:
    """Why there can be no provider here; empty when there can."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "there is no Node.js with npm here; on Debian: apt-get install nodejs npm"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return "" if int(version.lstrip("v").split(".")[0]) >= 18 else f"Node.js {version} is too old, 18 is needed"


def _installed() -> Path:
    """Into the cache of the tests, once; a second worker waits and finds it done."""
    cache = Path(os.environ.get("CLAWPORTAL_TEST_ARTIFACTS") or Path.home() / ".cache" / "clawportal-tests")
    found = VERSION.search((HERE / "package.json").read_text())
    assert found
    folder = cache / f"oidc-provider-{found[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (cache / ".oidc-provider.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder)
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True, timeout=200)
            (folder / "done").touch()
    return folder


@dataclass
class OpenIdProvider:
    """The running provider."""

    url: str
    accounts: dict[str, Any] = field(default_factory=dict)

    def _control(self, what: str, given: Mapping[str, Any]) -> None:
        httpx.post(f"{self.url}/control/{what}", json=dict(given), timeout=30, trust_env=False).raise_for_status()

    def reset(self, *redirects: str, in_id_token: bool = False, **more: Any) -> None:
        """As new, with Anna as its only account. `more`: `signed` (userinfo as a JWT), `userinfo` (its answer), `secret`."""
        self.accounts = {"anna": dict(ANNA)}
        self._control("reset", {"redirects": redirects, "accounts": self.accounts, "inIdToken": in_id_token, **more})

    def account(self, name: str, **claims: Any) -> None:
        """An account with these claims; None takes one away."""
        known = self.accounts.setdefault(name, {"preferred_username": name})
        known.update(claims)
        self.accounts[name] = {key: value for key, value in known.items() if value is not None}
        self._control("accounts", self.accounts)

    def forget(self, name: str, claim: str) -> None:
        """This account has the claim no more."""
        self.accounts[name].pop(claim, None)
        self._control("accounts", self.accounts)

    def mangle(self, **how: Any) -> None:
        """From now on ID tokens are wrong: `claims`, `without`, `alg`, `kid`."""
        self._control("mangle", how)

    def rotate(self) -> None:
        """A new key; the old one is gone."""
        self._control("rotate", {})

    def sign_in(self, url: str, account: str = "anna", *, answer: str = "yes") -> str:
        """What a person does at the provider: returns the address that the browser is sent back to."""
        with httpx.Client(timeout=30, trust_env=False) as browser:
            for _ in range(10):
                found = browser.get(url)
                if found.status_code == 200 and "/interaction/" in url:
                    found = browser.post(url, data={"account": account, "answer": answer})
                assert found.is_redirect, (url, found.status_code, found.text[:500])
                url = urljoin(url, found.headers["location"])
                if not url.startswith(self.url):
                    return url
        raise AssertionError("the provider never sent the browser back")


@contextmanager
def running() -> Iterator[OpenIdProvider]:
    environment = {"MODULES": str(_installed()), "PATH": os.environ["PATH"]}
    command = ["node", str(HERE / "server.mjs")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.match(r"listening (\d+)", line):
                    yield OpenIdProvider(f"http://127.0.0.1:{found[1]}")
                    break
            else:
                raise AssertionError(f"the provider ended with code {process.wait(10)}")
        finally:
            process.kill()
