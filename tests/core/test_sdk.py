"""The facade for plugins: each of its modules loads alone, and the light ones stay light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import clawportal.sdk

MODULES = sorted(file.stem for file in Path(clawportal.sdk.__file__).parent.glob("*.py") if file.stem != "__init__")
LIGHT = ("adapters", "runtimes", "stores", "errors", "bounded", "features")
HEAVY = ("flask", "sqlalchemy", "kubernetes", "docker", "apscheduler")


@pytest.mark.parametrize("name", MODULES)
def test_each_module_loads_alone(name: str) -> None:
    subprocess.run([sys.executable, "-c", f"import clawportal.sdk.{name}"], check=True, timeout=60)


@pytest.mark.parametrize("name", LIGHT)
def test_adapters_and_runtimes_load_no_web_and_no_database(name: str) -> None:
    program = f"import sys, clawportal.sdk.{name}; print(*(one for one in {HEAVY!r} if one in sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert found.stdout.split() == []
