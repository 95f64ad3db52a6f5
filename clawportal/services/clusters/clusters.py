"""Clusters: the places where claws run, who may use them, and the connection that belongs to each row.

Only those who look after the portal manage them. Members of a tenant see those that it may use, by name and health alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from pydantic import BaseModel, Field, ValidationError, field_validator
from sqlalchemy import ColumnElement, delete, func, or_, select

from clawportal import clock, folding, lifecycle, paging, secret_settings, validation
from clawportal.addresses import carries_credentials
from clawportal.certificates import certificates
from clawportal.contracts.core_permissions import CLUSTER_MANAGE, CLUSTER_READ
from clawportal.contracts.permissions import Actor, Permission, Scope
from clawportal.contracts.runtimes import Runtime, RuntimeDriver, SendsSecrets
from clawportal.contracts.specs import Strict
from clawportal.db import db, transaction
from clawportal.engine.connections import Target
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, Invalid, PreconditionFailed, Retry
from clawportal.labels import check_labels
from clawportal.messages import Message, _m, _n, joined
from clawportal.models import Cluster, ClusterSecret, ClusterTenant, EventRow, Instance, Tenant
from clawportal.models.clusters import UNREACHABLE
from clawportal.paging import FIRST_PAGE, Slice, Which
from clawportal.services.clusters import claw_proxy, separation
from clawportal.services.events import event_log
from clawportal.services.identity import names
from clawportal.services.rights import access

LOCAL = "local"
MOST_NAMED = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")
_REGISTRY = re.compile(r"^[a-z0-9][a-z0-9.-]*(?::\d{1,5})?(?:/[a-z0-9][a-z0-9._/-]*)?$")
_IMAGE = re.compile(r"^[a-zA-Z0-9][\w.:/@{}-]*$")
_LOGIN = re.compile(r"@(?!sha\d+:)")
_PROXY = re.compile(r"^https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?/?$")
_DIRECT = re.compile(r"^(?:\*|[*.]{0,2}[A-Za-z0-9:\[][A-Za-z0-9.:\[\]/_-]*)$")
_HOST = re.compile(r"^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])$")


class ClusterPolicy(Strict):
    """How the portal uses a cluster, whatever its kind."""

    max_concurrent_starts: int | None = Field(
        None, title=_m("Starts at a time"), ge=1, le=1000,
        description=_m("How many claws may be starting there at a time. Empty: as many as the setting of the portal says."),
    )  # fmt: skip
    repair_drift: bool = Field(
        False, title=_m("Repair what others changed"),
        description=_m("What somebody changed by hand is put back by itself. Off: it is only shown."),
    )  # fmt: skip
    image_registry: str = Field(
        "", title=_m("Mirror registry"), max_length=200, json_schema_extra={"x-placeholder": "registry.example.internal/mirror"},
        description=_m("Images are fetched from here instead of the registry that they name. Only where images are run."),
    )  # fmt: skip
    images: dict[str, str] = Field(
        default_factory=dict, title=_m("Images of your own"), max_length=50,
        json_schema_extra={"x-placeholder": "nanobot=registry.example.internal/claws/nanobot:{version}"},
        description=_m("Kind of claw and the image to run for it; {version} is the version of the claw."),
    )  # fmt: skip
    portal_host: str = Field(
        "", title=_m("Host name of the portal"), max_length=253, json_schema_extra={"x-placeholder": "portal.example.internal"},
        description=_m("By which claws there reach a model that this portal serves itself. Not needed for other providers."),
    )  # fmt: skip
    claw_proxy: str = Field(
        "", title=_m("Proxy of claws"), max_length=300, json_schema_extra={"x-placeholder": "http://proxy.example.internal:3128"},
        description=_m("By which claws there reach their model and what else is outside. Empty: directly."),
    )  # fmt: skip
    claw_proxy_login: bool = Field(
        False, title=_m("Sign-in at the proxy"), json_schema_extra={"x-secret": True, "x-placeholder": "user:password"},
        description=_m("User and password with a colon between them, where the proxy asks. Claws get them in their environment."),
    )  # fmt: skip
    """Whether one is stored; never what it is. Set by what is stored, whatever a document says."""
    claw_no_proxy: str = Field(
        "",
        title=_m("Without the proxy"),
        max_length=2000,
        json_schema_extra={"x-placeholder": "llm.example.internal,10.0.0.0/8"},
        description=_m("Hosts, domains and networks that claws reach directly, with commas between them."),
    )
    claw_ca: str = Field(
        "", title=_m("CA certificates of claws"), max_length=100_000, json_schema_extra={"x-widget": "textarea"},
        description=_m("PEM, of whom claws there trust: Node.js beside those that it knows, other programs instead of them."),
    )  # fmt: skip

    @field_validator("image_registry")
    @classmethod
    def _registry(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not _REGISTRY.fullmatch(value):
            raise ValueError(_m("must be a host, with port and path if needed, such as registry.example.internal:5000/mirror"))
        return value

    @field_validator("images")
    @classmethod
    def _references(cls, value: dict[str, str]) -> dict[str, str]:
        bad = [kind for kind, image in value.items() if not _IMAGE.fullmatch(image) or len(image) > 300 or _LOGIN.search(image)]
        if bad:
            raise ValueError(
                _m("the image of %(bad)s must be such as registry.example.internal/claws/%(bad2)s:1.0", bad=bad[0], bad2=bad[0])
            )
        return value

    @field_validator("claw_proxy")
    @classmethod
    def _proxy(cls, value: str) -> str:
        if not value:
            return value
        if carries_credentials(value):
            raise ValueError(
                _m("must not have a user or a password inside; enter them in their own field, where they are kept encrypted")
            )
        if not _PROXY.fullmatch(value):
            raise ValueError(_m("must be such as http://proxy.example.internal:3128"))
        return value.rstrip("/")

    @field_validator("claw_no_proxy")
    @classmethod
    def _no_proxy(cls, value: str) -> str:
        parts = [part.strip() for part in value.split(",") if part.strip()]
        bad = [part for part in parts if not _DIRECT.fullmatch(part)]
        if bad:
            raise ValueError(
                _m("%(bad)s is no host, domain or network; write for example llm.example.internal,10.0.0.0/8", bad=repr(bad[0]))
            )
        return ",".join(parts)

    @field_validator("claw_ca")
    @classmethod
    def _ca(cls, value: str) -> str:
        return certificates(value)

    @field_validator("portal_host")
    @classmethod
    def _host(cls, value: str) -> str:
        if value and not _HOST.fullmatch(value):
            raise ValueError(_m("must be a host name or an address without port, such as portal.example.internal"))
        return value


@dataclass(frozen=True)
class NewCluster:
    """A cluster to be connected."""

    name: str
    runtime: str
    title: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tenants: Sequence[str] | None = None
    """Ids or names of those who may use it. None: all."""
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterChange:
    """What shall be different. None keeps what is there."""

    title: str | None = None
    settings: Mapping[str, Any] | None = None
    secrets: Mapping[str, str | None] = field(default_factory=dict)
    """Only those named change; an empty text keeps what is stored, None removes."""
    labels: Mapping[str, str] | None = None
    tenants: Sequence[str] | None = None
    for_all: bool = False
    """Every tenant may use it again."""
    policy: Mapping[str, Any] | None = None
    confirm_unseparated: str = ""
    """The name of the cluster, to offer it to others though nothing keeps claws apart there."""


@dataclass(frozen=True)
class ClusterPage:
    found: Slice[Cluster]
    instances: Mapping[str, int]
    """How many live instances that the actor sees are in each."""
    tenants: Mapping[str, Sequence[tuple[str, str]]]
    """Id and title of the tenants that may use those which are not for all."""

    @property
    def items(self) -> Sequence[Cluster]:
        return self.found.items


# ---- this machine


def ensure_local(portal: Portal) -> Cluster | None:
    """This machine as a cluster, where the process runtime is loaded."""
    if "process" not in portal.registry.runtimes:
        return None
    with transaction():
        cluster = db.session.scalar(select(Cluster).where(Cluster.name == LOCAL))
        if cluster is None:
            cluster = Cluster(name=LOCAL, title=_m("This machine"), runtime="process")
            db.session.add(cluster)
    return cluster


# ---- reading


def everything() -> list[Cluster]:
    """All rows, for background work and for those who look after the portal."""
    return list(db.session.scalars(select(Cluster).order_by(Cluster.name)))


def get(actor: Actor, cluster_id: str, permission: Permission = CLUSTER_READ, *, lock: bool = False) -> Cluster:
    """By id, or by name as people type it."""
    known = db.session.scalar(select(Cluster.id).where(Cluster.name == cluster_id, access.visible(Cluster, actor)))
    return access.get_or_404(Cluster, known or cluster_id, actor, permission, lock=lock)


def sees_all(actor: Actor) -> bool:
    """Whether somebody may see how clusters are connected and who uses them, not only that they are there."""
    return actor.allows(CLUSTER_READ, Scope())


class Selects(Protocol):
    """One part of a selector of labels."""

    def on(self, labels: Any) -> ColumnElement[bool]: ...


def listing(actor: Actor, *, text: str = "", labels: tuple[Selects, ...] = (), which: Which = FIRST_PAGE) -> ClusterPage:
    """One page and the true total; four statements, whatever the number. Labels are asked for only by those who see them."""
    if labels and not sees_all(actor):
        raise Invalid.field("labels", _m("Only those who look after clusters search by their labels. Leave this out."))
    where: list[ColumnElement[bool]] = [access.visible(Cluster, actor), *(term.on(Cluster.labels) for term in labels)]
    if text:
        where.append(Cluster.searched.contains(folding.fold(text), autoescape=True))
    total = db.session.scalar(select(func.count()).select_from(Cluster).where(*where)) or 0
    found = paging.page(
        select(Cluster).where(*where), paging.by_name(Cluster), which, about=("clusters", text, labels), total=total,
        fetch=lambda query: list(db.session.scalars(query)),
    )  # fmt: skip
    ids = [row.id for row in found.items]
    return ClusterPage(found, instance_counts(actor, ids), tenants_of(ids) if sees_all(actor) else {})


@dataclass(frozen=True)
class Silent:
    """A cluster that does not answer, for those whose claws are there, too."""

    id: str
    title: str
    message: str
    since: datetime | None
    instances: int
    shown: bool
    """Whether the reader may open the cluster's page."""


def silent(actor: Actor) -> list[Silent]:
    """What does not answer and concerns somebody: clusters that they see, and those that run their claws."""
    rows = list(db.session.scalars(select(Cluster).where(Cluster.health == UNREACHABLE, Cluster.paused_at.is_(None))))
    if not rows:
        return []
    shown = set(db.session.scalars(select(Cluster.id).where(Cluster.health == UNREACHABLE, access.visible(Cluster, actor))))
    counts = instance_counts(actor, [row.id for row in rows])
    return [
        Silent(row.id, row.title or row.name, row.health_message, row.health_since, counts.get(row.id, 0), row.id in shown)
        for row in sorted(rows, key=lambda row: row.name)
        if row.id in shown or counts.get(row.id)
    ]


def instance_counts(actor: Actor, ids: Sequence[str]) -> dict[str, int]:
    query = (
        select(Instance.cluster_id, func.count())
        .where(Instance.cluster_id.in_(ids), Instance.destroyed_at.is_(None), access.visible(Instance, actor))
        .group_by(Instance.cluster_id)
    )
    return {row[0]: row[1] for row in db.session.execute(query)} if ids else {}


def tenants_of(ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    query = (
        select(ClusterTenant.cluster_id, Tenant.id, Tenant.title, Tenant.name)
        .join(Tenant, Tenant.id == ClusterTenant.tenant_id)
        .where(ClusterTenant.cluster_id.in_(ids))
        .order_by(Tenant.name)
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for cluster_id, tenant_id, title, name in db.session.execute(query):
        found.setdefault(cluster_id, []).append((tenant_id, title or name))
    return found


def events(actor: Actor, cluster_id: str, limit: int = 20) -> list[EventRow]:
    """What happened to a cluster, newest first. They belong to no tenant, and so are few."""
    query = (
        select(EventRow)
        .where(EventRow.tenant_id.is_(None), EventRow.kind.like("cluster.%"), access.visible(EventRow, actor))
        .order_by(EventRow.seq.desc())
        .limit(500)
    )
    return [row for row in db.session.scalars(query) if row.data.get("cluster_id") == cluster_id][:limit]


def capabilities_of(cluster_id: str) -> frozenset[str]:
    """As a cluster said last; empty while it never did."""
    return frozenset(db.session.scalar(select(Cluster.capabilities).where(Cluster.id == cluster_id)) or ())


def policy_of(cluster: Cluster) -> ClusterPolicy:
    return ClusterPolicy.model_validate(cluster.policy or {})


def secret_names(cluster_id: str) -> list[str]:
    """Which secrets are stored; never what they are."""
    query = select(ClusterSecret.name).where(ClusterSecret.cluster_id == cluster_id).order_by(ClusterSecret.name)
    return list(db.session.scalars(query))


def generation_of(cluster: Cluster) -> int:
    """Another number after each saved change, so that nobody overwrites what they have not read; pressing buttons is no such."""
    return 0 if cluster.updated_at is None else (cluster.updated_at - _EPOCH) // _TICK


def secrets_since(cluster_id: str, generation: int) -> list[str]:
    """Which secrets were changed after what somebody read."""
    query = select(ClusterSecret.name).where(
        ClusterSecret.cluster_id == cluster_id, ClusterSecret.updated_at > _EPOCH + generation * _TICK
    )
    return list(db.session.scalars(query.order_by(ClusterSecret.name)))


def lock(cluster_id: str) -> None:
    """Until the end of the transaction, one at a time: giving out ports, turns and installs. SQLite has one writer anyway.

    NO KEY UPDATE: rows that refer to the cluster can be written meanwhile, and so cannot deadlock with this.
    """
    db.session.execute(select(Cluster.id).where(Cluster.id == cluster_id).with_for_update(key_share=True))


# ---- choosing one


def allowed(tenant_id: str) -> list[Cluster]:
    """Those that a tenant may use, this machine first."""
    return usable([tenant_id])


def usable(tenant_ids: Iterable[str]) -> list[Cluster]:
    """Those that any of these tenants may use, this machine first."""
    query = select(Cluster).where(Cluster.offered_to(set(tenant_ids)))
    return sorted(db.session.scalars(query), key=lambda cluster: (cluster.name != LOCAL, cluster.name))


def for_create(tenant_id: str, wanted: str | None, default: str | None = None) -> Cluster:
    """The cluster named by id or name; without a name the tenant's default, or the first that it may use and that is open."""
    mine = allowed(tenant_id)
    if wanted:
        found = next((cluster for cluster in mine if wanted in (cluster.id, cluster.name)), None)
        if found is None:
            known = [cluster.name for cluster in mine] or _m("none")
            raise Invalid.field(
                "cluster",
                _m(
                    "There is no cluster %(wanted)s that your organisation may use. Known: %(known)s.",
                    wanted=repr(wanted),
                    known=known,
                ),
                "unknown",
            )
        if found.cordoned:
            raise Invalid.field(
                "cluster", _m("Cluster %(name)s takes no new instances now. Choose another one.", name=found.name), "cordoned"
            )
        return found
    opened = [cluster for cluster in mine if not cluster.cordoned]
    if not opened:
        why = "Each one takes no new instances now." if mine else "Your organisation may use none."
        raise Invalid.field(
            "cluster", _m("There is no cluster to create it in. %(why)s Ask an administrator.", why=why), "missing"
        )
    return next((cluster for cluster in opened if cluster.id == default), opened[0])


def default_for(tenant_id: str, wanted: str) -> Cluster:
    """What a tenant names as its default: one that it may use."""
    found = next((cluster for cluster in allowed(tenant_id) if wanted in (cluster.id, cluster.name)), None)
    if found is None:
        known = [cluster.name for cluster in allowed(tenant_id)] or _m("none")
        raise Invalid.field(
            "default_cluster",
            _m("There is no cluster %(wanted)s that it may use. Known: %(known)s.", wanted=repr(wanted), known=known),
            "unknown",
        )
    return found


# ---- the connection


def connect(portal: Portal, cluster: Cluster, *, probe: bool = False) -> Runtime:
    """The open connection; Retry when the place cannot be reached.

    While its circuit breaker is open, only a `probe` is let through: whoever else asks hears at once what is known.
    """
    if cluster.health == UNREACHABLE and not probe:
        raise Retry(cluster.health_reason or _n("ClusterUnreachable"), cluster.health_message)
    return portal.connections.get(target_of(portal, cluster))


def target_of(portal: Portal, cluster: Cluster) -> Target:
    cluster_id = cluster.id
    return Target(
        cluster_id,
        cluster.name,
        cluster.runtime,
        cluster.settings or {},
        cluster.revision,
        lambda: open_secrets(portal, cluster_id),
    )


def _place(cluster_id: str, name: str) -> str:
    return f"cluster:{cluster_id}/secret:{name}"


def open_secrets(portal: Portal, cluster_id: str) -> dict[str, str]:
    """The values; only for a driver. What is for claws is not among them."""
    rows = db.session.scalars(
        select(ClusterSecret).where(ClusterSecret.cluster_id == cluster_id, ClusterSecret.name != claw_proxy.LOGIN)
    )
    return {row.name: portal.keyring.open(row.sealed, _place(cluster_id, row.name)) for row in rows}


def _store_secrets(portal: Portal, cluster_id: str, values: Mapping[str, str]) -> None:
    """Exactly these from now on; what is as before keeps its row."""
    known = open_secrets(portal, cluster_id)
    for name in known.keys() - values.keys():
        db.session.delete(db.session.get_one(ClusterSecret, (cluster_id, name)))
    for name, value in values.items():
        if known.get(name) == value:
            continue
        row = db.session.get(ClusterSecret, (cluster_id, name))
        if row is None:
            row = ClusterSecret(cluster_id=cluster_id, name=name)
            db.session.add(row)
        row.sealed, row.updated_at = portal.keyring.seal(value, _place(cluster_id, name)), clock.now()
    db.session.flush()


def reseal(portal: Portal) -> int:
    """Move every secret of a connection to the newest key; returns how many were moved."""
    with transaction():
        stale = [row for row in db.session.scalars(select(ClusterSecret)) if not portal.keyring.is_current(row.sealed)]
        for row in stale:
            place = _place(row.cluster_id, row.name)
            row.sealed = portal.keyring.seal(portal.keyring.open(row.sealed, place), place)
    return len(stale)


# ---- checking what somebody entered


def driver_of(portal: Portal, kind: str) -> RuntimeDriver:
    driver = portal.registry.runtimes.get(kind)
    if driver is None:
        known = sorted(portal.registry.runtimes) or _m("none")
        raise Invalid.field(
            "runtime", _m("There is no kind of place %(kind)s. Known: %(known)s.", kind=repr(kind), known=known), "unknown"
        )
    return driver


@dataclass(frozen=True)
class Accepted:
    """Settings and secrets of a connection as they are stored."""

    settings: dict[str, Any]
    secrets: dict[str, str]


def accept(
    portal: Portal, kind: str, settings: Mapping[str, Any], secrets: Mapping[str, str | None], stored: Mapping[str, str],
    before: Mapping[str, Any] | None = None,
) -> tuple[Accepted | None, list[FieldError]]:  # fmt: skip
    """What a connection is made of, checked by the driver's own model; secrets apart. Empty ones keep what is stored.

    `before`: the settings that the stored secrets were entered with. They are kept for the address in there only.
    """
    model = driver_of(portal, kind).settings_model()
    names = secret_settings.secret_fields(model)
    secrets = {name: value for name, value in secrets.items() if name != claw_proxy.LOGIN}
    errors = [
        FieldError(
            f"secrets.{name}",
            _m("is not a secret of this kind. Known: %(join)s.", join=[*names] or _m("none")),
            "unknown",
        )
        for name in secrets
        if name not in names
    ]
    given = {key: str(value) for key, value in settings.items() if key in names and value} | dict(secrets)
    kept = {name: value for name, value in stored.items() if name in names and given.get(name, "") is not None}
    values = kept | {name: value.replace("\r\n", "\n") for name, value in given.items() if value}
    errors += secret_settings.header_flaws(model, values)
    document = {key: value for key, value in settings.items() if key not in names} | values
    found, flaws = validation.judge(model, document, "settings")
    if found is None:
        return None, errors + [_at_secret(item, names) for item in flaws]
    errors += secret_settings.credentials_inside("settings", {key: value for key, value in settings.items() if key not in names})
    kept_on = {name for name in kept if values.get(name) == stored[name] and not given.get(name)}
    errors += _moved(model, dict(before or {}) | dict(stored), found, kept_on) if before is not None else []
    if errors:
        return None, errors
    plain = {key: value for key, value in found.model_dump(mode="json").items() if key not in names}
    return Accepted(plain, {name: value for name, value in values.items() if name in names}), []


def _moved(model: type[BaseModel], before: dict[str, Any], found: BaseModel, kept: Collection[str]) -> list[FieldError]:
    """Stored secrets that would go to another address than they were entered for."""
    try:
        known = model.model_validate(before)
    except ValidationError:  # stored by an earlier version, so that nothing is known of the address
        return []
    if not isinstance(known, SendsSecrets) or not isinstance(found, SendsSecrets):
        return []
    return list(secret_settings.moved({k: v for k, v in known.secrets_go_to().items() if k in kept}, found.secrets_go_to(), ()))


def _at_secret(error: FieldError, names: Sequence[str]) -> FieldError:
    name = error.path.removeprefix("settings.")
    return FieldError(f"secrets.{name}", error.message, error.code) if name in names else error


def as_stored(portal: Portal, cluster: Cluster, settings: Mapping[str, Any], secrets: Mapping[str, str | None]) -> dict[str, Any]:
    """The settings as a save would store them; as they are, where it would be refused."""
    accepted, _errors = accept(portal, cluster.runtime, settings, secrets, open_secrets(portal, cluster.id))
    return accepted.settings if accepted else dict(settings)


def _checked_policy(policy: Mapping[str, Any], errors: list[FieldError]) -> dict[str, Any]:
    try:
        return ClusterPolicy.model_validate(dict(policy)).model_dump(mode="json", exclude_defaults=True)
    except ValidationError as error:
        errors += validation.field_errors(error, "policy")
        return {}


def _checked_tenants(wanted: Sequence[str], errors: list[FieldError]) -> list[str]:
    rows = db.session.execute(select(Tenant.id, Tenant.name).where(or_(Tenant.id.in_(wanted), Tenant.name.in_(wanted)))).all()
    known = {key for row in rows for key in row}
    if missing := [name for name in wanted if name not in known]:
        errors.append(FieldError("tenants", _m("There is no organisation %(missing)s.", missing=repr(missing[0])), "unknown"))
    return sorted({row.id for row in rows})


def _check_words(title: str, labels: Mapping[str, str]) -> list[FieldError]:
    errors = [FieldError("title", _m("A title may have 200 characters at most."))] if len(title.strip()) > 200 else []
    errors += names.check_title(title.strip(), "title")
    return errors + check_labels(labels)


def _refuse(errors: Sequence[FieldError]) -> None:
    if errors:
        told = joined((joined((error.path, error.message), ": ") for error in errors[:3]), "; ")
        raise Invalid(_m("Nothing was stored: %(told)s", told=told), errors=errors)


# ---- changing


def create(portal: Portal, actor: Actor, wanted: NewCluster) -> Cluster:
    access.require(actor, CLUSTER_MANAGE, Scope())
    with transaction():
        errors = _check_words(wanted.title, wanted.labels)
        if not _NAME.fullmatch(wanted.name):
            rule = _m("A name has 1 to 63 small letters, digits or dashes, and begins and ends with a letter or digit.")
            errors.append(FieldError("name", rule))
        elif db.session.scalar(select(Cluster.id).where(Cluster.name == wanted.name)):
            errors.append(
                FieldError(
                    "name", _m("There is already a cluster named %(name)s. Choose another name.", name=wanted.name), "taken"
                )
            )
        accepted, more = accept(portal, wanted.runtime, wanted.settings, wanted.secrets, {})
        said, typed = claw_proxy.apart(wanted.policy, wanted.secrets.get(claw_proxy.LOGIN))
        policy = _checked_policy(said, errors)
        login = claw_proxy.judge(policy, typed, "", errors)
        tenants = _checked_tenants(wanted.tenants, errors) if wanted.tenants is not None else []
        _refuse([*errors, *more])
        assert accepted is not None
        cluster = Cluster(
            name=wanted.name, title=wanted.title.strip(), runtime=wanted.runtime, settings=accepted.settings,
            labels=dict(wanted.labels), policy=policy, all_tenants=wanted.tenants is None,
        )  # fmt: skip
        db.session.add(cluster)
        db.session.flush()
        _store_secrets(portal, cluster.id, accepted.secrets)
        cluster.policy = claw_proxy.store(portal, cluster.id, policy, login)
        db.session.add_all(ClusterTenant(cluster_id=cluster.id, tenant_id=tenant_id) for tenant_id in tenants)
        _told(portal, actor, cluster, "created", _n("Cluster %(name)s was connected."))
    return cluster


def update(portal: Portal, actor: Actor, cluster_id: str, change: ClusterChange, *, generation: int | None = None) -> Cluster:
    """A change of the connection closes the present one; every process connects anew when it next needs it.

    Refused where somebody else saved since the caller read `generation`. None is for the portal itself: whatever is there.
    """
    with transaction():
        cluster = get(actor, cluster_id, CLUSTER_MANAGE, lock=True)
        if generation is not None and generation != generation_of(cluster):
            raise PreconditionFailed(
                _m("Somebody saved cluster %(name)s since you read it. Read it again and repeat.", name=cluster.name)
            )
        title = cluster.title if change.title is None else change.title
        labels = cluster.labels if change.labels is None else change.labels
        errors = _check_words(title, labels)
        stored = open_secrets(portal, cluster.id)
        settings = (cluster.settings or {}) if change.settings is None else change.settings
        accepted, more = accept(portal, cluster.runtime, settings, change.secrets, stored, cluster.settings or {})
        policy, login = _new_policy(portal, cluster, change, errors)
        tenants = _checked_tenants(change.tenants, errors) if change.tenants is not None else None
        audience = None if change.for_all else tenants if tenants is not None else separation.audience(cluster)
        errors += separation.unconfirmed(cluster, audience, change.confirm_unseparated)
        _refuse([*errors, *more])
        assert accepted is not None
        if accepted.secrets != stored or (change.settings is not None and accepted.settings != cluster.settings):
            cluster.revision += 1
            cluster.settings = accepted.settings
            _store_secrets(portal, cluster.id, accepted.secrets)
        cluster.title, cluster.labels = title.strip(), dict(labels)
        cluster.policy = claw_proxy.store(portal, cluster.id, policy, login)
        cluster.updated_at = max(clock.now(), (cluster.updated_at or _EPOCH) + _TICK)  # never twice the same, however clocks go
        before, confirmed = _audience(cluster), separation.trust(actor, cluster, audience, change.confirm_unseparated)
        if tenants is not None or change.for_all:
            _set_tenants(cluster, None if change.for_all else tenants)
        _told(
            portal,
            actor,
            cluster,
            "changed",
            _n("Cluster %(name)s was changed."),
            {"before": before, "after": _audience(cluster)},
        )
        if confirmed:
            words = _n("Cluster %(name)s is offered to others though nothing keeps claws apart there.")
            _told(portal, actor, cluster, "shared_unseparated", words, {"to": _audience(cluster)}, level="warning")
    return cluster


def _new_policy(portal: Portal, cluster: Cluster, change: ClusterChange, errors: list[FieldError]) -> tuple[dict[str, Any], str]:
    """The policy, and what is sealed of the sign-in at its proxy."""
    now, sealed = cluster.policy or {}, claw_proxy.stored(portal, cluster.id)
    if change.policy is None and claw_proxy.LOGIN not in change.secrets:
        return now, sealed
    wanted = now if change.policy is None else change.policy
    said, typed = claw_proxy.apart(wanted, change.secrets.get(claw_proxy.LOGIN, ""))
    policy = _checked_policy(said, errors)
    return policy, claw_proxy.judge(policy, typed, sealed, errors)


def _set_tenants(cluster: Cluster, tenants: Sequence[str] | None) -> None:
    cluster.all_tenants = tenants is None
    db.session.execute(delete(ClusterTenant).where(ClusterTenant.cluster_id == cluster.id))
    db.session.add_all(ClusterTenant(cluster_id=cluster.id, tenant_id=tenant_id) for tenant_id in tenants or ())
    db.session.flush()


def _audience(cluster: Cluster) -> Any:
    return "all" if cluster.all_tenants else [title for _id, title in tenants_of([cluster.id]).get(cluster.id, [])]


def _told(
    portal: Portal, actor: Actor, cluster: Cluster, verb: str, sentence: str, data: Mapping[str, Any] | None = None,
    level: str = "info",
) -> None:  # fmt: skip
    message = Message(sentence, {"name": cluster.title or cluster.name})
    known = {"cluster_id": cluster.id, "name": cluster.name, **(data or {})}
    with transaction() as after_commit:
        event_log.record(portal, f"cluster.{verb}", actor=actor, message=message, data=known, level=level)
        after_commit(portal.clusters_changed)


def cordon(portal: Portal, actor: Actor, cluster_id: str) -> Cluster:
    """No new instances; what is there goes on."""
    return _mark(portal, actor, cluster_id, True)


def uncordon(portal: Portal, actor: Actor, cluster_id: str) -> Cluster:
    return _mark(portal, actor, cluster_id, False)


def _mark(portal: Portal, actor: Actor, cluster_id: str, on: bool) -> Cluster:
    with transaction():
        cluster = get(actor, cluster_id, CLUSTER_MANAGE, lock=True)
        if cluster.cordoned == on:
            raise Conflict(
                _m(
                    "Cluster %(name)s %(on)s.",
                    name=cluster.name,
                    on=_m("takes no new instances already") if on else _m("takes new instances already"),
                )
            )
        cluster.cordoned = on
        words = _n("Cluster %(name)s takes no new instances now.") if on else _n("Cluster %(name)s takes new instances again.")
        _told(portal, actor, cluster, "cordoned" if on else "uncordoned", words)
    return cluster


def pause(portal: Portal, actor: Actor, cluster_id: str) -> Cluster:
    """Nothing is done there any more, and everything is shown as it was last seen. Claws run on."""
    with transaction():
        cluster = get(actor, cluster_id, CLUSTER_MANAGE, lock=True)
        if cluster.paused_at is not None:
            raise Conflict(_m("Cluster %(name)s is paused already.", name=cluster.name))
        cluster.paused_at = clock.now()
        _told(portal, actor, cluster, "paused", _n("Cluster %(name)s is paused: the portal does nothing there."), level="warning")
    return cluster


def resume(portal: Portal, actor: Actor, cluster_id: str) -> Cluster:
    """Go on. The time that it was paused counts against no deadline."""
    with transaction():
        cluster = get(actor, cluster_id, CLUSTER_MANAGE, lock=True)
        if cluster.paused_at is None:
            raise Conflict(_m("Cluster %(name)s is not paused.", name=cluster.name))
        _shift_deadlines(cluster.id, clock.now() - cluster.paused_at)
        cluster.paused_at = None
        _told(portal, actor, cluster, "resumed", _n("Cluster %(name)s is not paused any more."))
    return cluster


def _shift_deadlines(cluster_id: str, by: timedelta) -> None:
    waiting = select(Instance).where(
        Instance.cluster_id == cluster_id, Instance.destroyed_at.is_(None),
        Instance.phase.in_(sorted(lifecycle.TRANSITIONAL)), Instance.phase_deadline.is_not(None),
    )  # fmt: skip
    for row in db.session.scalars(waiting.with_for_update()):
        assert row.phase_deadline is not None
        row.phase_deadline, row.phase_since = row.phase_deadline + by, row.phase_since + by


ACTIONS = {"pause": pause, "resume": resume, "cordon": cordon, "uncordon": uncordon}


# ---- deleting


@dataclass(frozen=True)
class Losses:
    """What deleting a cluster would take along."""

    name: str
    """Has to be typed to confirm."""
    instances: int
    named: Sequence[str]
    secrets: Sequence[str]
    refusal: str
    """Why it cannot be deleted at all."""


def losses(actor: Actor, cluster_id: str) -> Losses:
    cluster = get(actor, cluster_id, CLUSTER_MANAGE)
    number, named = _inhabitants(cluster.id)
    return Losses(cluster.name, number, named, secret_names(cluster.id), _refusal(cluster, number, named))


def _inhabitants(cluster_id: str) -> tuple[int, list[str]]:
    live = (Instance.cluster_id == cluster_id, Instance.destroyed_at.is_(None))
    number = db.session.scalar(select(func.count()).select_from(Instance).where(*live)) or 0
    return number, list(db.session.scalars(select(Instance.name).where(*live).order_by(Instance.name).limit(MOST_NAMED)))


def _refusal(cluster: Cluster, number: int, named: Sequence[str]) -> str:
    if cluster.name == LOCAL and cluster.runtime == "process":
        return _m(
            "This machine belongs to the portal itself and cannot be deleted. Cordon it, so that it takes no new instances."
        )
    if number:
        names = [*named]
        if number > len(named):
            return _m("It still has %(number)s instances, such as %(names)s. Delete them first.", number=number, names=names)
        return _m("It still has instances: %(names)s. Delete them first.", names=names)
    return ""


def remove(portal: Portal, actor: Actor, cluster_id: str, *, confirm: str) -> None:
    """Forget a cluster and its secrets. What is in the place itself is not touched."""
    with transaction() as after_commit:
        cluster = get(actor, cluster_id, CLUSTER_MANAGE, lock=True)
        number, named = _inhabitants(cluster.id)
        if refusal := _refusal(cluster, number, named):
            raise Conflict(refusal)
        if confirm.strip() != cluster.name:
            raise Invalid.field(
                "confirm", _m("Type %(name)s to confirm.", name=cluster.name), "missing" if not confirm else "invalid"
            )
        _told(portal, actor, cluster, "deleted", _n("Cluster %(name)s was deleted."), level="warning")
        db.session.execute(delete(Instance).where(Instance.cluster_id == cluster.id))  # rows of those destroyed long ago
        if cluster.runtime == "process":  # what was to be kept of its claws lies there
            after_commit(portal.connections.drop, cluster.id)
        else:
            after_commit(portal.connections.forget, cluster.id, cluster.name)
        db.session.delete(cluster)
