"""The figures of the whole portal, as Prometheus collects them."""

from __future__ import annotations

from flask import Response

from clawportal.api._layer import op
from clawportal.contracts.core_permissions import PORTAL_READ
from clawportal.engine.portal import Portal
from clawportal.services.system import metrics

TEXT = "text/plain"


@op("GET", "/metrics", permission=PORTAL_READ, tags=("System",), summary="Figures for Prometheus", produces=(TEXT,),
    returns=str, at_root=True)  # fmt: skip
def get_metrics(portal: Portal) -> Response:
    """In the text format of Prometheus: what the core and each plugin declare. Also at `/metrics`.

    A token that is limited to `portal.read` is enough. The figures are of the whole portal, whichever process answers.
    """
    return Response(metrics.exposition(portal), content_type="text/plain; version=0.0.4; charset=utf-8")
