"""From a row to what its adapter needs to know: the context of one instance, its workload, and the way to talk to it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import select

from clawportal import bounded
from clawportal.contracts.adapters import Adapter, HttpAnswer
from clawportal.contracts.extensions import ModelKey, ModelService
from clawportal.contracts.layers import Layer
from clawportal.contracts.runtimes import Ref, Runtime
from clawportal.contracts.specs import InstanceSpec, ModelChoice, parse_quantity
from clawportal.contracts.workloads import Artifact, Check, Context, File, Image, Model, Probe, Process, Workload
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError, GiveUp, Unavailable, Unsupported
from clawportal.messages import _m, _n, joined
from clawportal.models import Cluster, Instance, Tenant
from clawportal.runtime_helpers import output_of
from clawportal.services.clusters import clusters, egress, ports
from clawportal.services.configuration import catalog, layers, model_keys, secrets
from clawportal.services.configuration.catalog import MODEL_KEY
from clawportal.services.fleet import quotas

_LARGEST = 1_000_000
"""Of one answer of a claw to a plain question, bytes."""
_LONGEST_LINE = 4_000
KEY_VERSION = "CLAWPORTAL_MODEL_KEY_VERSION"
"""Environment variable of a process that gets a shared key."""


def ref_of(instance: Instance) -> Ref:
    return Ref(
        instance.id,
        instance.name,
        instance.tenant_id,
        unmanaged_id=instance.foreign_id or "",
        read_only=instance.managed is False,
    )


def unmanaged_refs(cluster_id: str) -> list[Ref]:
    """The instances of a cluster that somebody else made: what a runtime has to be told, as nothing in the place says so."""
    query = select(Instance.id, Instance.name, Instance.tenant_id, Instance.foreign_id, Instance.managed).where(
        Instance.cluster_id == cluster_id, Instance.foreign_id != "", Instance.destroyed_at.is_(None)
    )
    return [Ref(row[0], row[1], row[2], unmanaged_id=row[3], read_only=not row[4]) for row in db.session.execute(query)]


def known_ports(instance: Instance) -> dict[str, int]:
    """Ports of its own network by their names: as it was planned or, where somebody else made it, as it was found."""
    return dict(((instance.foreign if instance.foreign_id else instance.workload) or {}).get("ports", {}))


def whole_ref(portal: Portal, instance: Instance) -> Ref:
    """With what a place needs that keeps tenants apart: the tenant's name and quota."""
    tenant = db.session.get_one(Tenant, instance.tenant_id)
    return replace(ref_of(instance), tenant_name=tenant.name, limits=quotas.tenant_limits(instance.tenant_id))


def adapter_of(portal: Portal, instance: Instance) -> Adapter:
    """GiveUp when the plugin that knows this kind is not loaded."""
    adapter = portal.registry.adapters.get(instance.adapter)
    if adapter is None:
        raise GiveUp(
            _n("AdapterMissing"),
            _m("No loaded plugin knows the kind of claw %(adapter)s.", adapter=repr(instance.adapter)),
            _m("Install the plugin again and restart the portal, or delete the instance."),
        )
    return adapter


def context_of(
    portal: Portal, instance: Instance, adapter: Adapter, runtime: Runtime, given: Mapping[str, int], *,
    layer: Layer | None = None,
) -> Context:  # fmt: skip
    """All that the adapter may know; secrets by name only. `layer`: in place of what the organisation says now."""
    providers = portal.registry.providers
    layer = layers.of(instance.tenant_id) if layer is None else layer
    said = layers.effective(providers, layer, adapter, instance.version, instance.spec or {})
    spec = InstanceSpec.model_validate(said.spec)
    names = layers.usable(providers, adapter, instance.version, said.spec, secrets.listing(instance.id))
    key = _stored_key(portal, instance, adapter, said.spec)
    if model_keys.named_in(said.spec) or layers.has_key(portal, instance):
        names = names | {MODEL_KEY}
    model = _model(portal, spec, adapter, runtime, instance.cluster_id)
    return Context(
        instance_id=instance.id,
        name=instance.name,
        tenant=instance.tenant_id,
        version=instance.version,
        spec=spec,
        settings=adapter.settings_model(instance.version).model_validate(spec.settings),
        layout=runtime.layout(ref_of(instance), adapter.artifacts(instance.version), adapter.image(instance.version)),
        ports=dict(given),
        bind_host=_bind_host(runtime, spec),
        model=replace(model, key_version=key.version) if key else model,
        secrets=frozenset(names),
    )


def _stored_key(portal: Portal, instance: Instance, adapter: Adapter, spec: Mapping[str, Any]) -> ModelKey | None:
    """The key that its model names; GiveUp where that is not there any more, or was entered for another address."""
    key = model_keys.of_instance(portal, instance, spec)
    if key is None and model_keys.named_in(spec) and "model" in adapter.capabilities:
        raise GiveUp(
            _n("CredentialMissing"),
            _m("The stored key that its model names is not there, or was entered for another address."),
            _m("Edit the instance and choose another key."),
        )
    return key


def _bind_host(runtime: Runtime, spec: InstanceSpec) -> str:
    """Loopback only where that is shared with the portal; elsewhere the network of the place keeps strangers out."""
    return "127.0.0.1" if "allocated-ports" in runtime.capabilities and not spec.expose else "0.0.0.0"


def _model(portal: Portal, spec: InstanceSpec, adapter: Adapter, runtime: Runtime, cluster_id: str) -> Model:
    choice = spec.model
    provider = portal.registry.providers.get(choice.provider or portal.registry.providers.usual)
    if provider is None:
        return _unknown(choice, adapter)
    if served := catalog.model_service(portal, provider.id):
        url = served.base_url  # claws need no restart for a service that comes a moment later
        if "model" in adapter.capabilities and "allocated-ports" not in runtime.capabilities:
            url = _from_afar(served, db.session.get_one(Cluster, cluster_id))
        return Model(served.provider, url, choice.name or served.model, provider.dialect, MODEL_KEY)
    url, fixed = choice.base_url or provider.base_url, provider.has_fixed_sampling(choice.name)
    return Model(provider.id, url, choice.name, provider.dialect, MODEL_KEY, fixed)


def _unknown(choice: ModelChoice, adapter: Adapter) -> Model:
    """Nobody asks a model there; GiveUp for a claw that would."""
    if "model" in adapter.capabilities:
        raise GiveUp(
            _n("ProviderMissing"),
            _m("No loaded plugin knows the model provider %(provider)s.", provider=repr(choice.provider)),
            _m("Install the plugin again and restart the portal, or edit the instance and choose another provider."),
        )
    return Model(choice.provider, choice.base_url, choice.name)


def _from_afar(service: ModelService, cluster: Cluster) -> str:
    """A model that the portal serves, as claws in another place reach it; GiveUp where nobody has said how."""
    host, url = clusters.policy_of(cluster).portal_host, service.base_url
    if not host:
        raise GiveUp(_n("ModelUnreachable"), _beyond_reach(cluster), service.remedy)
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, f"{host}:{parts.port}", parts.path, "", "")) if url else ""


def check_place(portal: Portal, cluster: Cluster, adapter: Adapter, version: str, spec: InstanceSpec) -> list[FieldError]:
    """What is known to keep a claw from running in a cluster, so that a form can say it before anything is stored."""
    known = frozenset(cluster.capabilities or ())
    errors = []
    if "images" in known and adapter.image(version) is None:
        words = _m(
            "There is no container image for %(title)s %(version)s. Choose another cluster.", title=adapter.title, version=version
        )
        errors.append(FieldError("cluster", words))
    far = bool(known) and "allocated-ports" not in known and "model" in adapter.capabilities
    served = catalog.model_service(portal, spec.model.provider) if far else None
    if served is not None and not clusters.policy_of(cluster).portal_host:
        errors.append(FieldError("spec.model.provider", joined((_beyond_reach(cluster), served.remedy))))
    return errors


def _beyond_reach(cluster: Cluster) -> str:
    return _m("Claws in cluster %(name)s cannot reach this model: the portal serves it on its own machine.", name=cluster.name)


def workload_of(adapter: Adapter, context: Context, runtime: Runtime, policy: clusters.ClusterPolicy | None = None) -> Workload:
    """The adapter's plan with the limits that the spec asks for, and with the image where the place runs images."""
    plan = _marked(adapter.plan(context), context)
    if "images" in runtime.capabilities:
        plan = _with_image(adapter, context.version, plan, policy)
    if policy is not None:
        plan = egress.applied(plan, context, policy)
    memory = context.spec.resources.memory or adapter.suggested_memory
    cpu, storage = context.spec.resources.cpu, context.spec.resources.storage
    if storage and "volumes" in runtime.capabilities:
        plan = replace(plan, storage_bytes=int(parse_quantity(storage)))
    return replace(
        plan,
        memory_bytes=int(parse_quantity(memory)) if memory else plan.memory_bytes,
        cpu_cores=float(parse_quantity(cpu)) if cpu else plan.cpu_cores,
    )


def _marked(plan: Workload, context: Context) -> Workload:
    """A shared key that was changed is another plan: its version stands beside it, so that whoever got it starts anew."""
    model = context.model
    if not model.key_version:
        return plan
    mark = {KEY_VERSION: model.key_version}
    return replace(plan, processes=tuple(
        replace(one, env={**one.env, **mark}) if model.key_secret in one.secret_env.values() else one for one in plan.processes
    ))  # fmt: skip


def software(
    adapter: Adapter, version: str, runtime: Runtime, policy: clusters.ClusterPolicy | None = None
) -> tuple[Artifact, ...]:
    """What the place has to have before an instance of this version can start there, in the order of installation."""
    if "artifacts" in runtime.capabilities:
        return adapter.artifacts(version)
    if "images.pull" in runtime.capabilities:
        return (Artifact(adapter.kind, version, "image", (image_of(adapter, version, policy).reference,)),)
    return ()


def image_of(adapter: Adapter, version: str, policy: clusters.ClusterPolicy | None = None) -> Image:
    """As the cluster's policy maps it; GiveUp where there is none."""
    image = adapter.image(version)
    if image is None:
        raise GiveUp(
            _n("NoImage"),
            _m("There is no container image for %(title)s %(version)s.", title=adapter.title, version=version),
            _m("Choose a cluster that installs software, such as this machine."),
        )
    return replace(image, reference=mapped(image.reference, adapter.kind, version, policy)) if policy else image


def mapped(reference: str, kind: str, version: str, policy: clusters.ClusterPolicy) -> str:
    """The image that a cluster runs instead: one of its own, or the same from its mirror."""
    if own := policy.images.get(kind):
        return own.replace("{version}", version)
    if not policy.image_registry:
        return reference
    first, slash, rest = reference.partition("/")
    has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return f"{policy.image_registry}/{rest if has_registry else reference}"


def _with_image(adapter: Adapter, version: str, plan: Workload, policy: clusters.ClusterPolicy | None) -> Workload:
    image = image_of(adapter, version, policy)
    return replace(plan, artifacts=(), image=image, probe=adapter.probe(version), startup_seconds=adapter.startup_seconds)


def workload_from(stored: Mapping[str, Any]) -> Workload:
    """A workload out of its stored form (`dataclasses.asdict` through JSON)."""
    check = stored.get("check")
    return Workload(
        files=tuple(File(**item) for item in stored["files"]),
        processes=tuple(Process(**_tuples(item, "argv")) for item in stored["processes"]),
        check=Check(**_tuples(check, "argv")) if check else None,
        ports=dict(stored["ports"]),
        artifacts=tuple(Artifact(**_tuples(item, "packages", "needs", "check")) for item in stored["artifacts"]),
        memory_bytes=stored["memory_bytes"],
        cpu_cores=stored["cpu_cores"],
        stop_grace=stored["stop_grace"],
        image=Image(**stored["image"]) if stored.get("image") else None,
        probe=Probe(**stored["probe"]) if stored.get("probe") else None,
        startup_seconds=stored.get("startup_seconds"),
        storage_bytes=stored.get("storage_bytes"),
    )


def _tuples(item: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: tuple(value) if key in names else value for key, value in item.items()}


class InstanceIO:
    """The way from an adapter to one running instance (`types.AdapterIO`)."""

    def __init__(self, portal: Portal, instance_id: str, ref: Ref, runtime: Runtime, given: Mapping[str, int]) -> None:
        self._portal, self._instance_id, self._ref, self._runtime, self._ports = portal, instance_id, ref, runtime, given
        self._secrets: dict[str, str] | None = None

    def address(self, port: str) -> tuple[str, int]:
        return self._runtime.open_port(self._ref, self._ports[port])

    def number(self, port: str) -> int:
        """Of a named port, as the claw itself knows it."""
        return self._ports[port]

    def secret(self, name: str) -> str:
        if self._secrets is None:
            row = db.session.get(Instance, self._instance_id)
            self._secrets = layers.secrets_for(self._portal, row, giving=False) if row else {}
        return self._secrets.get(name, "")

    def get(self, port: str, path: str, *, headers: Mapping[str, str] | None = None, timeout: float = 2.0) -> HttpAnswer:
        host, number = self.address(port)
        connection = bounded.HTTPConnection(host, number, bounded.Budget(timeout, _LARGEST))
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return HttpAnswer(answer.status, answer.read(_LARGEST))
        except http.client.HTTPException as error:
            raise Unavailable(_m("The claw's answer is not HTTP: %(error)s", error=repr(error))) from error
        finally:
            connection.close()

    def read_file(self, root: str, path: str, limit: int = 1_000_000) -> bytes:
        return self._runtime.read_file(self._ref, root, path, limit)

    def run(self, argv: Sequence[str], timeout: float) -> tuple[int, bytes]:
        if "exec" not in self._runtime.capabilities:
            raise Unsupported(_m("The place where this claw runs has no console."))
        return output_of(self._runtime.exec(self._ref, argv), timeout)

    def last_lines(self, count: int = 50) -> tuple[str, ...]:
        if "logs" not in self._runtime.capabilities:
            return ()
        lines = self._runtime.logs(self._ref, tail=count, since=None, follow=False, stop=self._portal.stopping.is_set)
        return tuple(line.text[:_LONGEST_LINE] for line in lines if line is not None)


def reach(portal: Portal, instance: Instance) -> InstanceIO:
    """The way to a running instance, for who has no connection to its place at hand."""
    return io_of(portal, instance, clusters.connect(portal, cluster_of(instance)))


def whole_context(portal: Portal, instance: Instance) -> Context:
    """As it runs now."""
    runtime = clusters.connect(portal, cluster_of(instance))
    return context_of(portal, instance, adapter_of(portal, instance), runtime, ports_of(runtime, instance))


def io_of(portal: Portal, instance: Instance, runtime: Runtime) -> InstanceIO:
    return InstanceIO(portal, instance.id, ref_of(instance), runtime, ports_of(runtime, instance))


def ports_of(runtime: Runtime, instance: Instance) -> dict[str, int]:
    if "allocated-ports" in runtime.capabilities:
        return ports.allocated(instance.id)
    return known_ports(instance)


def cluster_of(instance: Instance) -> Cluster:
    return db.session.get_one(Cluster, instance.cluster_id)


def as_stored(workload: Workload) -> dict[str, Any]:
    """The form in which a workload is kept in a row: what JSON keeps of it."""
    from dataclasses import asdict

    return json.loads(json.dumps(asdict(workload)))  # type: ignore[no-any-return]  # a dict by construction
