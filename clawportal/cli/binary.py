"""The portal as one file: what that file does when it is started, by people and by itself.

A program of one file has no Python beside it that could be given a module to run. It is given the module or the file itself,
behind a word that no command has (see `clawportal.paths.program` and `script`).
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from clawportal import paths

_LIBRARIES = "LD_LIBRARY_PATH"


def main() -> None:
    _restore_libraries()
    how, what = (*sys.argv[1:3], "", "")[:2]
    if how in (paths.RUN_MODULE, paths.RUN_FILE):
        del sys.argv[1:3]
        _run(how, what)
    elif Path(sys.argv[0]).name == "claw":
        from clawportal.cli.claw import main as claw

        claw()
    else:
        from clawportal.cli.server import main as server

        server()


def _run(how: str, what: str) -> None:
    """Only what was brought along: this is no Python for others."""
    brought = Path(paths.__file__).resolve().parents[1]
    if how == paths.RUN_MODULE and what in paths.MODULES:
        runpy.run_module(what, run_name="__main__")
    elif how == paths.RUN_FILE and Path(what).resolve().is_relative_to(brought):
        runpy.run_path(what, run_name="__main__")
    else:
        sys.exit(f"Error: {what} is no program of clawportal.")


def _restore_libraries() -> None:
    """The libraries that were unpacked are for this process: git, Python or a claw would load the wrong ones with them."""
    before = os.environ.pop(f"{_LIBRARIES}_ORIG", None)
    os.environ.pop(_LIBRARIES, None)
    if before is not None:
        os.environ[_LIBRARIES] = before
