"""Notes of the portal's own in an instance's volume: what was written last, and what is being stopped."""

from __future__ import annotations

from typing import Any

import docker.errors

from clawportal.sdk.bounded import parse_json
from clawportal_docker import archives, naming
from clawportal_docker.engine import Engine


class Notes:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def write(self, container: str, name: str, document: object) -> None:
        self.engine.client.put_archive(container, naming.BASE, archives.of_note(name, document))

    def read(self, container: str, name: str) -> dict[str, Any]:
        """Empty where there is none."""
        try:
            stream, _ = self.engine.client.get_archive(container, f"{naming.BASE}/.clawportal/{name}")
        except docker.errors.NotFound:
            return {}
        except docker.errors.APIError as error:
            if "/ns/mnt" in str(error.explanation):  # Podman, of what ends at this very moment
                return {}
            raise
        found = parse_json(archives.first_file(stream, 1_000_000) or b"{}")
        return found if isinstance(found, dict) else {}
