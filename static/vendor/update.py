"""Fetches the pinned third-party files of the pages, so that the portal needs no CDN and no build step.

Run by hand after a pin below changed: `python static/vendor/update.py`. It needs npm (only for `npm pack`) and writes
the named files, their licences, the icon sprite `static/icons.svg` and `MANIFEST.json`. A plugin that serves files of others pins
them in `static/vendor/packages.json` of its own folder and gets its own manifest. `--check` fetches nothing and says whether the
files on disk still are those of the manifests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).resolve().parent
SPRITE = VENDOR.parent / "icons.svg"
PLUGINS = VENDOR.parents[1] / "plugins"


@dataclass(frozen=True)
class Package:
    """One npm package at one version, and which of its files are served."""

    name: str
    version: str
    licence: str
    folder: str
    files: tuple[str, ...] = ()
    licence_files: tuple[str, ...] = ("LICENSE",)
    bundle: str = ""
    """A source `NAME.src.js` in its folder, with `package.json` and `package-lock.json`, that is built to `NAME.min.js`."""


ICONS_PACKAGE = Package("@tabler/icons", "3.51.0", "MIT", "tabler-icons")

PACKAGES = (
    # htmx 4 is "latest" on npm; the pages are written for the 2.x line.
    Package("htmx.org", "2.0.11", "0BSD", "htmx", ("dist/htmx.min.js",)),
    Package("idiomorph", "0.8.0", "0BSD", "idiomorph", ("dist/idiomorph-ext.min.js",)),
    Package("socket.io-client", "4.8.4", "MIT", "socket.io", ("dist/socket.io.min.js",)),
    Package("uplot", "1.6.32", "MIT", "uplot", ("dist/uPlot.iife.min.js", "dist/uPlot.min.css")),
    Package("@xterm/xterm", "6.0.0", "MIT", "xterm", ("lib/xterm.js", "css/xterm.css")),
    Package("@xterm/addon-fit", "0.11.0", "MIT", "xterm-fit", ("lib/addon-fit.js",)),
    Package("@tabler/core", "1.6.1", "MIT", "tabler", ("dist/css/tabler.min.css",)),
    Package("@fontsource-variable/inter", "5.3.0", "OFL-1.1", "inter", ("files/inter-latin-wght-normal.woff2",)),
    Package(
        "@fontsource-variable/jetbrains-mono",
        "5.3.0",
        "OFL-1.1",
        "jetbrains-mono",
        ("files/jetbrains-mono-latin-wght-normal.woff2",),
    ),
    Package(
        "swagger-ui-dist",
        "5.35.0",
        "Apache-2.0",
        "swagger-ui",
        ("swagger-ui-bundle.js", "swagger-ui.css"),
        ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"),
    ),
    Package("markdown-it", "15.0.3", "MIT", "markdown-it", ("dist/browser/markdown-it.umd.min.js",)),
    Package("dompurify", "3.5.0", "(MPL-2.0 OR Apache-2.0)", "dompurify", ("dist/purify.min.js",)),
    Package("@highlightjs/cdn-assets", "11.12.0", "BSD-3-Clause", "highlight", ("highlight.min.js",)),
    ICONS_PACKAGE,
)

ICONS = (
    "activity", "adjustments", "alert-circle", "alert-triangle", "api", "archive", "archive-off", "arrow-down", "arrow-left", "arrow-right", "arrow-up",
    "bell", "book", "bolt", "brain", "building", "chart-line", "check", "chevron-down", "chevron-left", "chevron-right", "chevron-up",
    "circle-check", "circle-x", "clock", "code", "copy", "cpu", "database", "device-desktop", "dots", "download", "edit",
    "external-link", "eye", "eye-off", "file-text", "filter", "folder", "heartbeat", "help", "history", "home", "info-circle", "key",
    "keyboard", "language", "link", "list-check", "loader-2", "lock", "logout", "menu-2", "message-circle", "message-plus",
    "moon", "paperclip", "photo", "player-pause", "player-play", "player-stop", "plug", "plus", "puzzle", "refresh", "rotate-clockwise", "search",
    "send", "server", "settings", "share", "shield-lock", "skull", "stack-2", "sun", "terminal-2", "text-wrap", "tool", "trash", "upload", "user",
    "users",
    "wifi-off", "x",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the files on disk with MANIFEST.json")
    return check() if parser.parse_args().check else update()


def pinned() -> dict[Path, tuple[Package, ...]]:
    """Each folder for files of others, and what belongs into it: the core's, then those of plugins."""
    return {VENDOR: PACKAGES} | {file.parent: packages_of(file) for file in sorted(PLUGINS.glob("*/static/vendor/packages.json"))}


def packages_of(file: Path) -> tuple[Package, ...]:
    entries = json.loads(file.read_text(encoding="utf-8"))
    return tuple(Package(**{key: tuple(value) if isinstance(value, list) else value for key, value in one.items()}) for one in entries)


def update() -> int:
    for vendor, packages in pinned().items():
        entries = []
        with tempfile.TemporaryDirectory() as scratch:
            for package in packages:
                entries += fetched(package, unpack(package, Path(scratch)), vendor)
        text = json.dumps({"files": entries}, indent=1, sort_keys=True) + "\n"
        (vendor / "MANIFEST.json").write_text(text, encoding="utf-8")
        print(f"{vendor}: {len(entries)} files, {sum(int(entry['bytes']) for entry in entries) / 1000:.0f} kB")
    return 0


def fetched(package: Package, tree: Path, vendor: Path) -> list[dict[str, str | int]]:
    entries = [copy(package, tree, name, vendor) for name in package.files]
    if package is ICONS_PACKAGE:
        entries.append(sprite(package, tree))
    if package.bundle:
        entries.append(bundled(package, vendor))
    return entries + [copy(package, tree, name, vendor) for name in package.licence_files if (tree / name).is_file()]


def bundled(package: Package, vendor: Path) -> dict[str, str | int]:
    """One script out of many packages, built by esbuild from a source beside the lock file that pins all; none of theirs is run."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("package.json", "package-lock.json", package.bundle):
            shutil.copy(vendor / package.folder / name, scratch)
        subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=scratch, check=True)
        esbuild = ["node_modules/.bin/esbuild", package.bundle, "--bundle", "--minify", "--format=esm", "--target=es2022"]
        subprocess.run([*esbuild, "--legal-comments=none", "--outfile=made.js"], cwd=scratch, check=True, capture_output=True)
        target = vendor / package.folder / package.bundle.replace(".src.js", ".min.js")
        return write(package, target, (Path(scratch) / "made.js").read_bytes(), source=package.bundle, static=vendor.parent)


def check() -> int:
    wrong = [file for vendor in pinned() for file in strange(vendor)]
    for file in wrong:
        print(f"{file} is not the file of the manifest; run static/vendor/update.py", file=sys.stderr)
    return 1 if wrong else 0


def strange(vendor: Path) -> list[Path]:
    """Files that are not those of the manifest."""
    entries = json.loads((vendor / "MANIFEST.json").read_text(encoding="utf-8"))["files"]
    return [file for entry in entries if digest(file := vendor.parent / entry["file"]) != entry["sha256"]]


def unpack(package: Package, scratch: Path) -> Path:
    """`npm pack` verifies the registry's integrity hash; nothing of the package is run."""
    command = ["npm", "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
    archive = scratch / subprocess.run(command, cwd=scratch, check=True, capture_output=True, text=True).stdout.split()[-1]
    target = scratch / package.folder
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    return target / "package"


def copy(package: Package, tree: Path, name: str, vendor: Path) -> dict[str, str | int]:
    content = (tree / name).read_bytes()
    # A source map that is not served is a 404 in every developer console.
    content = re.sub(rb"\n?(//|/\*)# sourceMappingURL=[^\n*]*(\*/)?\s*$", b"\n", content)
    target = vendor / package.folder / Path(name).name
    return write(package, target, content, source=name, static=vendor.parent)


def sprite(package: Package, tree: Path) -> dict[str, str | int]:
    """One file with a symbol for each icon: cached once, coloured by CSS through `currentColor`."""
    symbols = "\n".join(symbol(name, (tree / "icons/outline" / f"{name}.svg").read_text(encoding="utf-8")) for name in ICONS)
    head = f"<!-- {package.name} {package.version}, MIT, see vendor/{package.folder}/LICENSE -->\n"
    text = f'{head}<svg xmlns="http://www.w3.org/2000/svg">\n{symbols}\n</svg>\n'
    return write(package, SPRITE, text.encode(), source="icons/outline", static=VENDOR.parent)


def symbol(name: str, svg: str) -> str:
    shapes = [shape for shape in re.findall(r"<(?!svg|/)[^>]*/>", svg) if 'd="M0 0h24v24H0z"' not in shape]
    attributes = 'fill="none" stroke="currentColor" stroke-linecap="round" stroke-linejoin="round"'
    return f'<symbol id="{name}" viewBox="0 0 24 24" {attributes}>{"".join(shapes)}</symbol>'


def write(package: Package, target: Path, content: bytes, *, source: str, static: Path) -> dict[str, str | int]:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return {
        "package": package.name, "version": package.version, "licence": package.licence, "source": source,
        "file": target.relative_to(static).as_posix(), "sha256": digest(target), "bytes": len(content),
    }  # fmt: skip


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
