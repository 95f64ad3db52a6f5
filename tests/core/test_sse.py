"""Server-sent events, cut anywhere, with letters that others take for ends of lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawportal.sse import Event, TooLong, events, lines

ODD = "one\u2028two\u2029three\u0085four\x0bfive\x0csix\x1cseven\x1deight\x1enine"


def cut(text: str, size: int) -> list[bytes]:
    raw = text.encode()
    return [raw[at : at + size] for at in range(0, len(raw), size)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_only_three_ends_of_lines(end: str, size: int) -> None:
    stream = end.join([": comment", "event: lines", "id: 7", f"data: {ODD}", "data:more", "", ": \ufeff", "data: last", "", ""])
    assert list(events(cut(stream, size))) == [Event("lines", "7", f"{ODD}\nmore"), Event("message", "7", "last")]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)))), st.integers(1, 9))
def test_what_was_written_is_read(written: list[str], size: int) -> None:
    assert list(lines(cut("".join(f"{line}\r\n" for line in written), size))) == written


def test_half_an_event_is_none() -> None:
    assert list(events([b"data: whole\n\ndata: half\n"])) == [Event("message", "", "whole")]


def test_what_is_no_utf8_does_not_end_the_stream() -> None:
    assert [event.data for event in events([b"data: \xff\xfe!\n\n"])] == ["\ufffd\ufffd!"]


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(TooLong):
        list(lines((b"x" * 1000 for _ in range(1000)), longest=10_000))
