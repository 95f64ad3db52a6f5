"""What the vendored Swagger UI says by itself, for readers of another language: it has English words only.

`tests/web/test_api_page.py` holds that each of them is still in its bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clawportal.catalogues import SOURCE_LANGUAGE
from clawportal.contracts.features import Feature
from clawportal.http.i18n import language, translate_label
from clawportal.http.security import portal
from clawportal.messages import _n

WORDS = (
    _n("Authorize"), _n("Available authorizations"), _n("Callbacks"), _n("Cancel"), _n("Clear"), _n("Close"),
    _n("Collapse all"), _n("Curl"), _n("Description"), _n("Details"), _n("Download"), _n("Errors"), _n("Example Value"),
    _n("Examples"), _n("Execute"), _n("Expand all"), _n("Links"), _n("Logout"), _n("Media type"), _n("Name"), _n("No links"),
    _n("No parameters"), _n("Parameters"), _n("Request URL"), _n("Request body"), _n("Request duration"), _n("Reset"),
    _n("Response body"), _n("Response headers"), _n("Responses"), _n("Schema"), _n("Schemas"), _n("Send empty value"),
    _n("Server response"), _n("Servers"), _n("Try it out"),
)  # fmt: skip


def words() -> dict[str, Mapping[str, str]]:
    """`page`: its own words; `tags`: titles and descriptions of the groups of operations. Empty for readers of English."""
    if language() == SOURCE_LANGUAGE:
        return {"page": {}, "tags": {}}
    return {"page": _told(WORDS), "tags": _told(text for one in portal().registry.features for text in _of(one))}


def _of(feature: Feature) -> list[str]:
    return [text for tag in feature.api_tags for text in (tag.name, tag.description)]


def _told(texts: Iterable[str]) -> dict[str, str]:
    return {str(text): translate_label(text) for text in texts}
