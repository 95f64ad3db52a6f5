"""A section of the settings: a pydantic model, named in `Feature.settings`.

It is read from `[name]` in clawportal.toml and from `CLAWPORTAL_<NAME>_<FIELD>`, which wins. `portal.section(NoteSettings)` gives
it where there is a portal; `read(settings, "notes", NoteSettings)` in doctor checks, which get the settings alone. Each field has
a description with its unit: it stands in `clawportal settings`.
"""

from __future__ import annotations

from clawportal.sections import read
from clawportal.settings import Settings

__all__ = [
    "Settings",
    "read",
]
