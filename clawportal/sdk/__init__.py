"""What plugins import, and the core does not: a facade whose modules load alone.

`adapters`, `runtimes` and `stores` load neither Flask nor SQLAlchemy. In tests a plugin may use `clawportal.testing` beside it;
everything else in the package may change between minor versions.
"""

from __future__ import annotations

from clawportal import __version__, hookimpl
from clawportal.messages import Message, _m, _mn, _n, as_json, clipped, joined, mapped

__all__ = ["Message", "__version__", "_m", "_mn", "_n", "as_json", "clipped", "hookimpl", "joined", "mapped"]
