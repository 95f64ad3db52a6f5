"""The tutorial of plugins quotes the example as it is."""

from __future__ import annotations

import re

from tests.browser.portal import ROOT

TEXT = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "tests" / "plugin_example"
_BLOCK = re.compile(r"^```\w+\n(?:# |\{# )([\w./]+\.\w+)(?: #\})?\n(.*?)^```$", re.M | re.S)
_PIECES = re.compile(r"^### \d+\. (.*)$", re.M)


def quoted() -> list[tuple[str, str]]:
    """File of the example and what is quoted of it."""
    start, end = TEXT.index("## A capability, step by step"), TEXT.index("### All fields of a declaration")
    return _BLOCK.findall(TEXT[start:end])


def test_every_piece_stands_in_the_example_as_it_is_quoted() -> None:
    found = quoted()
    assert len(found) >= 12
    for name, piece in found:
        file = EXAMPLE / name if (EXAMPLE / name).exists() else EXAMPLE / "src" / name
        assert piece.strip() and piece.strip() in file.read_text(encoding="utf-8"), f"{name} says something else by now"


def test_no_code_of_the_steps_is_quoted_without_its_file() -> None:
    start, end = TEXT.index("## A capability, step by step"), TEXT.index("### All fields of a declaration")
    assert len(re.findall(r"^```\w", TEXT[start:end], re.M)) == len(quoted())


def test_every_module_of_the_example_is_quoted() -> None:
    named = {name.rpartition("/")[2] for name, _ in quoted()}
    modules = {file.name for file in (EXAMPLE / "src" / "clawportal_notes").glob("*.py")}
    assert modules - named == set()


def test_the_steps_are_numbered_through() -> None:
    numbers = [int(number) for number in re.findall(r"^### (\d+)\. ", TEXT, re.M)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) == len(_PIECES.findall(TEXT))
