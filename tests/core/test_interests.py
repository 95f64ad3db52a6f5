"""What people may ask to be told of is declared beside the kinds of events."""

from __future__ import annotations

import pytest

from clawportal import pluginmanager
from clawportal.contracts.features import Interest

DECLARED = [(kind, one) for kind in pluginmanager.load(pluginmanager.BUNDLED).event_kinds() for one in kind.interests]


def test_an_interest_means_levels_and_values() -> None:
    one = Interest("odd.failed", "It failed", least="warning", where={"phase": ("failed", "lost")})
    assert one.fits("error", {"phase": "lost"}) and one.fits("warning", {"phase": "failed", "more": 1})
    assert not one.fits("info", {"phase": "failed"}), "it is not grave enough"
    assert not one.fits("error", {"phase": "running"}) and not one.fits("error", {})
    assert not one.fits("deafening", {"phase": "running"})


def test_interests_of_one_name_are_one() -> None:
    said: dict[str, set[tuple[str, bool, str]]] = {}
    for _kind, one in DECLARED:
        said.setdefault(one.name, set()).add((str(one.title), one.default, one.follows))
    assert {"instance.failed", "instance.recovered", "session.new_place", "operation.failed"} <= set(said)
    assert all(len(ways) == 1 for ways in said.values())


@pytest.mark.parametrize("name", sorted({one.follows for _kind, one in DECLARED if one.follows}))
def test_what_is_followed_is_declared(name: str) -> None:
    assert name in {one.name for _kind, one in DECLARED}
