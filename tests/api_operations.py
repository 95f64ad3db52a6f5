"""The operations of a portal with all bundled plugins."""

from __future__ import annotations

from clawportal import api, pluginmanager

API = api.collected(pluginmanager.load(pluginmanager.BUNDLED))
OPERATIONS = API.operations
