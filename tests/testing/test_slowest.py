"""The report of the slowest tests counts each test as a whole."""

from __future__ import annotations

from tests.slowest import SHOWN, Times


def test_setup_and_teardown_belong_to_their_test() -> None:
    times = Times()
    for phase, seconds in (("setup", 40.0), ("call", 1.0), ("teardown", 4.0)):
        times.add("tests/docker/test_a.py::test_dear_fixture", phase, seconds)
    times.add("tests/web/test_b.py::test_long", "call", 30.0)
    for number in range(SHOWN):
        times.add(f"tests/web/test_b.py::test_{number}", "call", 0.5)
    head, *slowest, folders = times.lines()
    assert head == f"The {SHOWN} slowest of {SHOWN + 2} tests take 99 % of 1.5 min."
    assert slowest[0] == "   45.0 s  tests/docker/test_a.py::test_dear_fixture  (44.0 s of it around it)"
    assert slowest[1] == "   30.0 s  tests/web/test_b.py::test_long" and len(slowest) == SHOWN
    assert folders == "By folder: tests/docker 0.8 min, tests/web 0.8 min"
