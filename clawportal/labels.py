"""Labels that people give to instances and clusters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from clawportal.errors import FieldError
from clawportal.messages import _m

_LABEL = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?$")
MOST_LABELS = 64


def check_labels(labels: Mapping[str, str]) -> list[FieldError]:
    if len(labels) > MOST_LABELS:
        return [FieldError("labels", _m("There may be %(MOST_LABELS)s labels at most.", MOST_LABELS=MOST_LABELS))]
    bad = [key for key, value in labels.items() if not _LABEL.fullmatch(key) or (value and not _LABEL.fullmatch(value))]
    return [
        FieldError(f"labels.{key}", _m("Labels have letters, digits and . _ / - inside, 63 characters at most.")) for key in bad
    ]
