"""A section of the settings: a pydantic model, named in `Feature.settings`.

It is read from `[name]` in clawportal.toml and from `CLAWPORTAL_<NAME>_<FIELD>`, which wins. `portal.section(NoteSettings)` gives
it where there is a portal; `read(settings, "notes", NoteSettings)` in doctor checks, which get the settings alone. Each field has
a description with its unit: it stands in `clawportal settings`.

A setting that `portal.section(...)` is asked for each time it is used may change while the portal runs; it says so, in words that
people read:

    keep_days: int = Field(
        30, ge=1, title=_m("How long notes are kept"), description=_m("..."), json_schema_extra=CHANGEABLE
    )

A target of `STORED_SETTINGS` gives the values that people stored. What the environment or the file has outranks them;
`portal.current` knows where each comes from. A secret never changes in this way.
"""

from __future__ import annotations

from clawportal.engine.current_settings import EVERY, Setting, look
from clawportal.sections import read
from clawportal.settings import CHANGEABLE, Settings

__all__ = [
    "CHANGEABLE",
    "EVERY",
    "Setting",
    "Settings",
    "look",
    "read",
]
