"""Operations of the API: functions marked with `op` become routes below /api/v1 and entries of the OpenAPI document.

    @op("GET", "/skills/{skill_id}", permission=SKILL_READ, tags=("Skills",), summary="One skill", problems=(404,))
    def get_skill(actor: Actor, portal: Portal, skill_id: str) -> SkillDocument: ...

A parameter gets its value by its name: `actor`, `portal`, each name in braces of the path, `query` and `body` (pydantic models),
`if_match` (a generation or None) and `idempotency_key`. A function returns a model, plain data in the shape of `returns`,
`(that, status)`, `(that, status, headers)`, a Flask response, or None for 204. What goes on for long, such as `sse(...)`, is
made by `lasting(begin)`: it takes one of the places for what lasts.
"""

from __future__ import annotations

from clawportal.api._layer import (
    JSON,
    MERGE_PATCH,
    SSE,
    Answer,
    Page,
    Paged,
    Query,
    ServerEvent,
    UnsupportedMediaType,
    agreed_generation,
    op,
    paged,
    schema_of,
    sse,
)
from clawportal.engine.portal import Portal
from clawportal.http.streams import lasting

__all__ = [
    "JSON",
    "MERGE_PATCH",
    "SSE",
    "Answer",
    "Page",
    "Paged",
    "Portal",
    "Query",
    "ServerEvent",
    "UnsupportedMediaType",
    "agreed_generation",
    "lasting",
    "op",
    "paged",
    "schema_of",
    "sse",
]
