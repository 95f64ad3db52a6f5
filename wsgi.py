"""`gunicorn wsgi:app`: the portal for a WSGI server of your own. `clawportal serve` does this, and more, by itself."""

from __future__ import annotations

from clawportal.app import create_app, start_jobs

app = create_app()
start_jobs(app, exclusive=False)
