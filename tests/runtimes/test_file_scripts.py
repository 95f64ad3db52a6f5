"""What places tell of files by scripts: odd times and names, and output that was cut."""

from __future__ import annotations

import math

import pytest

from clawportal import file_scripts


@pytest.mark.parametrize(
    ("at", "year"), [("0", 1970), ("-99999999999", 1970), ("9223372036854775807", 9999), ("nan", 1970), ("inf", 9999)]
)
def test_any_time_of_a_file_is_one_that_can_be_said(at: str, year: int) -> None:
    found = file_scripts.entry(f"81a4 12 {at}\n./a\n\udcff".encode("utf-8", "surrogateescape"))
    assert (found.name, found.kind, found.size, found.mode) == ("a\n\udcff", "file", 12, 0o644) and found.modified.year == year


def test_times_are_clamped_for_archives_too() -> None:
    assert [int(file_scripts.clamped(at)) for at in (-1.0, 5.5, math.nan, math.inf, 1e300)] == [
        0,
        5,
        0,
        253402300799,
        253402300799,
    ]


def test_output_that_was_cut_is_told() -> None:
    row = b"81a4 1 5\n./name\0"
    assert not file_scripts.found(row * 3, 3).cut and file_scripts.found(row * 4, 3).cut
    room = int(file_scripts.room(1))
    long = (b"81a4 1 5\n./" + b"n" * room)[:room]
    assert file_scripts.found(long, 1).cut and file_scripts.found(long, 1) == []
