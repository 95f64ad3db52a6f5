"""The main job on Kubernetes, from the pages alone; the cluster is the double of the API, which really runs its pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser import places
from tests.kubernetes.double.api import KubeDouble

pytestmark = pytest.mark.slow
IMAGE = "python:3.12-slim"


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubeDouble]:
    with KubeDouble() as double:
        yield double


def test_a_claw_on_kubernetes_from_the_pages(page: Page, cluster: KubeDouble) -> None:
    settings = cluster.settings()
    places.open_form(page, "Kubernetes")
    page.locator("#f-name").fill("harbour")
    page.locator("#f-title").fill("Harbour")
    page.locator('[name="policy.images"]').fill(f'{{"echo": "{IMAGE}"}}')
    page.locator('[name="secrets.kubeconfig"]').fill(settings.pop("kubeconfig"))
    for group in page.locator("#cluster-form details").all():
        group.evaluate("(element) => { element.open = true; }")
    for name, value in settings.items():
        page.locator(f'[name="settings.{name}"]').fill(value)
    cluster.denied.add(("create", "pods/exec"))
    report = places.try_connection(page, "Something is missing")
    expect(report).to_contain_text("pods/exec")
    expect(report).to_contain_text("What to do:")
    cluster.denied.clear()
    expect(places.try_connection(page, "The connection works")).to_contain_text("Kubernetes v1")
    places.connect(page, "Harbour")
    places.live_and_go(page, "Harbour")
    assert cluster.store.select("/pods", "", "clawportal.io/instance")[1] == []
