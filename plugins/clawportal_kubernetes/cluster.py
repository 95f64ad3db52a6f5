"""One connection to one cluster, as all parts of the runtime share it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clawportal.sdk.runtimes import Ref
from clawportal_kubernetes import names, records
from clawportal_kubernetes.client import Api, ApiError, verdict
from clawportal_kubernetes.mirror import Mirror

if TYPE_CHECKING:
    from clawportal_kubernetes.settings import KubernetesSettings

WHOLE = Ref("", "the cluster")


class Cluster:
    def __init__(self, place: str, settings: KubernetesSettings) -> None:
        self.place, self.settings = place, settings
        self.api = Api(settings)
        self.mirror = Mirror(self.api, place, settings.namespace_prefix)

    def look(self, ref: Ref) -> tuple[records.Set | None, records.Pod | None]:
        """Its StatefulSet and pod as they are kept. Unavailable where the cluster cannot be heard."""
        names.check_ids(self.place, ref)
        self.mirror.ready()
        with self.mirror.lock:
            return self.mirror.set_by.get(ref.instance_id), self.mirror.pod_of(ref.instance_id)

    def pod(self, ref: Ref) -> records.Pod | None:
        with self.mirror.lock:
            return self.mirror.pod_of(ref.instance_id)

    @contextmanager
    def map_errors(self, ref: Ref) -> Iterator[None]:
        """What the cluster refuses, as what that means for the instance."""
        try:
            yield
        except ApiError as error:
            raise verdict(error, str(ref)) from error

    def close(self) -> None:
        self.api.close()
