"""The main job on a Docker engine, from the pages alone: connect it, and let a claw live there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import places
from tests.browser.conftest import Watch

pytest.importorskip("docker")

from tests.docker import engine as engines

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def engine_url() -> Iterator[str]:
    yield from engines.reached("docker", engines.why_not(), engines.engine)


def test_a_claw_on_docker_from_the_pages(page: Page, engine_url: str, watch: Watch, tmp_path: Path) -> None:
    watch.expect("(status of|Status Error Code) 422")
    places.open_form(page, "Docker")
    page.locator("#f-name").fill("engine")
    page.locator("#f-title").fill("Engine room")
    page.locator('[name="policy.images"]').fill(f'{{"echo": "{engines.IMAGE}"}}')
    page.locator('[name="settings.url"]').fill(f"unix://{tmp_path}/nobody.sock")
    report = places.try_connection(page, "Something is missing")
    expect(report).to_contain_text("What to do:")
    page.locator('[name="settings.url"]').fill(engine_url)
    expect(places.try_connection(page, "The connection works")).to_contain_text("Memory limits")
    places.connect(page, "Engine room")
    places.live_and_go(page, "Engine room")
    with engines.connected(engine_url) as client:
        assert client.containers(all=True, filters={"label": "io.clawportal.instance"}) == []
