"""`/metrics`: what features declare, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from clawportal import declarations, hookimpl
from clawportal.contracts.features import Feature, Metric
from clawportal.engine.portal import Portal
from clawportal.services.system import metrics
from tests.conftest import People, Person, portal_of

Values = list[tuple[Mapping[str, Any], float]]


def figures(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """By name and labels, as a Prometheus server reads them."""
    return {
        sample.name: {
            tuple(one.labels.items()): one.value for one in family.samples if one.name == sample.name
        }
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }  # fmt: skip


def test_the_core_tells_how_its_things_are(admin: Person) -> None:
    made = admin.create("counted")
    answer = admin.get("/metrics")
    assert answer.status_code == 200 and answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    found = figures(answer.get_data(as_text=True))
    phases = found["clawportal_instances"]
    assert phases[(("phase", made["phase"]),)] == 1 and phases[(("phase", "running"),)] == 0
    assert sum(phases.values()) == sum(found["clawportal_instances_health"].values()) == 1
    assert sum(found["clawportal_clusters"].values()) == 1
    assert found["clawportal_events_total"][()] >= 1
    assert (
        found["clawportal_operations_open"][(("state", "queued"),)] + found["clawportal_operations_open"][(("state", "running"),)]
        == 1
    )
    declared = {metric.name for feature in portal_of(admin.app).registry.features for metric in feature.metrics}
    assert set(found) == declared
    assert admin.get("metrics").get_data() == admin.get("/metrics").get_data(), "also below /api/v1"


def test_a_token_of_the_one_right_collects_them_and_nothing_else(people: People) -> None:
    token = people.admin.post("tokens", {"name": "prometheus", "scopes": ["portal.read"]}).get_json()["token"]
    asks = people.admin.app.test_client()
    sent = {"Authorization": f"Bearer {token}"}
    assert asks.get("/metrics", headers=sent).status_code == 200
    assert asks.get("/api/v1/instances", headers=sent).status_code == 403
    assert asks.get("/metrics").status_code == 401
    assert people.owner.get("/metrics").status_code == 403


def no_values(portal: Portal) -> Values:
    return []


def odd_labels(portal: Portal) -> Values:
    return [({"name": 'a "quoted"\\ line\nand another'}, 1), ({"name": "plain"}, 2.5)]


def fails(portal: Portal) -> Values:
    raise LookupError("no table")


def twice(portal: Portal) -> Values:
    return [({"a": "1"}, 1), ({"a": 1}, 2)]


def bad_label(portal: Portal) -> Values:
    return [({"a-b": "1"}, 1)]


def too_many(portal: Portal) -> Iterable[tuple[Mapping[str, str], float]]:
    return (({"row": str(number)}, 1.0) for number in range(metrics.MOST + 1))


def with_metrics(app: Flask, *reads: Callable[..., Any]) -> Portal:
    """A third party's plugin with these."""
    portal = portal_of(app)
    declared = tuple(Metric(f"clawportal_odd_{read.__name__}", "gauge", "Odd.", f"{__name__}:{read.__name__}") for read in reads)
    plugin = SimpleNamespace(register_features=hookimpl(lambda: (Feature("odd", "Odd", metrics=declared),)))
    portal.registry.add("odd", plugin)
    portal.registry.settle()
    return portal


def test_a_plugin_brings_its_own(admin: Person) -> None:
    with_metrics(admin.app, odd_labels, no_values)
    found = figures(admin.get("/metrics").get_data(as_text=True))
    assert found["clawportal_odd_odd_labels"] == {
        (("name", 'a "quoted"\\ line\nand another'),): 1.0, (("name", "plain"),): 2.5,
    }  # fmt: skip
    portal_of(admin.app).registry.without("odd")
    assert "clawportal_odd" not in admin.get("/metrics").get_data(as_text=True)


@pytest.mark.parametrize(
    ("read", "said"),
    [(fails, "no table"), (twice, "two values have the labels"), (bad_label, "'a-b' is no name of a label"),
     (too_many, "more than 1000 values")],
)  # fmt: skip
def test_one_that_fails_is_named_and_the_others_are_told(
    admin: Person, read: Callable[..., Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    portal = with_metrics(admin.app, read, odd_labels)
    found = figures(admin.get("/metrics").get_data(as_text=True))
    assert "clawportal_odd_odd_labels" in found and f"clawportal_odd_{read.__name__}" not in found
    (fault,) = portal.registry.faults
    assert fault.plugin == "odd" and said in fault.message and f"clawportal_odd_{read.__name__}" in caplog.text


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (Metric("clawportal_other", "gauge", "x", "a:b"), "must be named clawportal_odd or begin with clawportal_odd_"),
        (Metric("clawportal_oddity", "gauge", "x", "a:b"), "must be named clawportal_odd"),
        (Metric("clawportal_odd_Open", "gauge", "x", "a:b"), "in small letters"),
        (Metric("clawportal_odd_total", "gauge", "x", "a:b"), "the names of counters end in _total"),
        (Metric("clawportal_odd", "counter", "x", "a:b"), "the names of counters end in _total"),
        (Metric("clawportal_odd", "histogram", "x", "a:b"), "may be a gauge or a counter"),
        (Metric("clawportal_odd", "gauge", " ", "a:b"), "has no help"),
        (Metric("clawportal_odd", "gauge", "x", "ab"), "metrics.read is 'ab'"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(metric: Metric, said: str) -> None:
    with pytest.raises(declarations.Broken, match=said):
        declarations.check(Feature("odd", "Odd", metrics=(metric,)))


def test_two_metrics_of_one_name_are_refused() -> None:
    one = Feature("odd", "Odd", metrics=(Metric("clawportal_odd_a", "gauge", "x", "a:b"),))
    two = Feature("odd_a", "Odd", metrics=(Metric("clawportal_odd_a", "gauge", "x", "a:b"),))
    with pytest.raises(declarations.Broken, match="'odd_a': metrics has clawportal_odd_a, which the feature 'odd' brings"):
        declarations.distinct((one, two), "metrics")
