"""`${name}` in texts: which names stand there, what is wrong with them, and the texts with values put in.

Nothing is evaluated, `$${` means `${` itself, and what was put in is never looked at again. `filled_in` raises TooLong before
anything long is made.
"""

from __future__ import annotations

from clawportal.services.configuration.placeholders import LONGEST, TooLong, as_text, filled_in, flaw_in, names_in, too_long

__all__ = ["LONGEST", "TooLong", "as_text", "filled_in", "flaw_in", "names_in", "too_long"]
