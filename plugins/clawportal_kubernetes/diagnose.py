"""The connection test: each thing that the portal needs in a cluster, whether it is there, and what to do if not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from clawportal.sdk import _m
from clawportal.sdk.errors import GiveUp, Problem, Retry
from clawportal.sdk.runtimes import DoctorResult
from clawportal_kubernetes.client import Api, ApiError, Json, verdict
from clawportal_kubernetes.metrics import METRICS

if TYPE_CHECKING:
    from clawportal_kubernetes.settings import KubernetesSettings

OLDEST = (1, 30)


@dataclass(frozen=True)
class Need:
    """One rule of RBAC that the portal cannot do without, or, when `optional`, is better with."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    purpose: str
    optional: bool = False

    @property
    def title(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


_FULL = ("get", "list", "create", "patch", "delete")
NEEDS = (
    Need("", "namespaces", ("get", "list", "create", "patch"), _m("a namespace for each tenant")),
    Need("", "resourcequotas", ("get", "create", "patch"), _m("the quota of a tenant")),
    Need("", "limitranges", ("get", "create", "patch"), _m("defaults of a tenant's pods")),
    Need("networking.k8s.io", "networkpolicies", ("get", "create", "patch"), _m("keeping tenants apart")),
    Need("apps", "statefulsets", (*_FULL, "watch"), _m("running instances")),
    Need(
        "", "pods", ("get", "list", "watch", "create", "delete"), _m("looking at instances, killing them, judging configurations")
    ),
    Need("", "pods/log", ("get",), _m("logs")),
    Need("", "pods/exec", ("get", "create"), _m("the console, files and changes without restart")),
    Need("", "pods/portforward", ("get", "create"), _m("reaching a claw from outside of the cluster")),
    Need("", "services", ("get", "create", "patch", "delete"), _m("names of instances in the network")),
    Need("", "serviceaccounts", ("get", "create", "patch", "delete"), _m("instances without a token")),
    Need("", "configmaps", _FULL, _m("files of instances")),
    Need("", "secrets", ("get", "create", "patch", "delete"), _m("secrets of instances")),
    Need("", "persistentvolumeclaims", _FULL, _m("data of instances")),
    Need("", "events", ("list", "watch"), _m("saying why something does not run")),
    Need("", "nodes", ("list",), _m("the cluster's capacity"), optional=True),
    Need("", "nodes/proxy", ("get",), _m("measuring where there is no metrics server"), optional=True),
    Need("storage.k8s.io", "storageclasses", ("get", "list"), _m("checking the storage class"), optional=True),
    Need("metrics.k8s.io", "pods", ("list",), _m("measuring"), optional=True),
    Need("metrics.k8s.io", "nodes", ("list",), _m("the cluster's free memory"), optional=True),
)


def run(api: Api, settings: KubernetesSettings) -> list[DoctorResult]:
    """Findings in the order in which a person would mend them. Ends early where nothing more could be found out."""
    found: list[DoctorResult] = []
    for step in (_server, _credentials):
        found += step(api)
        if not all(one.ok for one in found):
            return found
    found += _rights(api)
    for look in (_storage, _metrics, _security):
        found += _told(look, api, settings)
    return found


def _told(
    look: Callable[[Api, KubernetesSettings], Iterator[DoctorResult]], api: Api, settings: KubernetesSettings
) -> list[DoctorResult]:
    name = look.__name__.strip("_").capitalize()
    try:
        return list(look(api, settings))
    except ApiError as error:
        return [_refused(name, error)]
    except Problem as error:
        return [DoctorResult(name, False, error.detail, _m("Test again."))]


def _refused(name: str, error: ApiError) -> DoctorResult:
    told = verdict(error, _m("the portal"))
    remedy = told.remedy if isinstance(told, GiveUp) else _m("Test again in a while.") if isinstance(told, Retry) else ""
    return DoctorResult(name, False, str(told), remedy)


def _server(api: Api) -> list[DoctorResult]:
    try:
        version = api.get("/version")
    except ApiError as error:
        return [_refused(_m("API server"), error)]
    except Problem as error:
        return [DoctorResult(_m("API server"), False, error.detail, _m("Check the address and certificates in the kubeconfig."))]
    number = _number(version)
    if number < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return [
            DoctorResult(
                _m("API server"),
                False,
                _m("It is Kubernetes %(get)s.", get=version.get("gitVersion")),
                _m("Upgrade it to %(wanted)s or later.", wanted=wanted),
            )
        ]
    return [DoctorResult(_m("API server"), True, _m("Kubernetes %(get)s answers.", get=version.get("gitVersion", "")))]


def _number(version: Json) -> tuple[int, int]:
    digits = ["".join(filter(str.isdigit, str(version.get(key, "")))) or "0" for key in ("major", "minor")]
    return int(digits[0]), int(digits[1])


def _credentials(api: Api) -> list[DoctorResult]:
    try:
        answer = api.json("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body={
            "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
        })  # fmt: skip
        who = ((answer.get("status") or {}).get("userInfo") or {}).get("username", "")
    except ApiError as error:
        if error.status == 401:
            return [_refused("Credentials", error)]
        who = ""  # an older server, or one that does not tell
    if who == "system:anonymous":
        return [
            DoctorResult(
                _m("Credentials"),
                False,
                _m("The cluster takes the portal for nobody."),
                _m("Enter a kubeconfig with credentials."),
            )
        ]
    end = api.credentials_end()
    if end is not None and end < datetime.now(UTC):
        return [
            DoctorResult(
                _m("Credentials"),
                False,
                _m("The client certificate expired on %(end)s.", end=f"{end:%Y-%m-%d}"),
                _m("Enter a new kubeconfig."),
            )
        ]
    if end is not None and end < datetime.now(UTC) + timedelta(days=14):
        return [
            DoctorResult(
                _m("Credentials"),
                True,
                _m("Accepted as %(who)s; the certificate expires on %(end)s: renew it soon.", who=who, end=f"{end:%Y-%m-%d}"),
            )
        ]
    return [DoctorResult(_m("Credentials"), True, _m("Accepted as %(who)s.", who=who) if who else _m("Accepted."))]


# ---- rights


def _rights(api: Api) -> list[DoctorResult]:
    asked = [(need, verb) for need in NEEDS for verb in need.verbs]
    with ThreadPoolExecutor(8, thread_name_prefix="rights") as pool:
        answers = list(pool.map(lambda one: _may(api, *one), asked))
    missing: dict[Need, list[str]] = {}
    for (need, verb), answer in zip(asked, answers, strict=True):
        if answer:
            missing.setdefault(need, []).append(f"{verb}{'' if answer is True else f' ({answer})'}")
    return [_right(need, missing.get(need, [])) for need in NEEDS]


def _may(api: Api, need: Need, verb: str) -> bool | str:
    """False when it may, True when it may not, words when that could not be asked."""
    resource, _, below = need.resource.partition("/")
    attributes = {"group": need.group, "resource": resource, "verb": verb} | ({"subresource": below} if below else {})
    body = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes},
    }  # fmt: skip
    try:
        answer = api.json("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
    except (ApiError, Problem) as error:
        return str(error)
    return not (answer.get("status") or {}).get("allowed", False)


def _right(need: Need, missing: list[str]) -> DoctorResult:
    name = _m("Right: %(title)s", title=need.title)
    if not missing:
        return DoctorResult(
            name,
            True,
            _m(
                "The portal may %(join)s %(title)s; that is for %(purpose)s.",
                join=[*need.verbs],
                title=need.title,
                purpose=need.purpose,
            ),
        )
    words = _m(
        "The portal may not %(verbs)s %(title)s; that is for %(purpose)s.",
        verbs=[*missing],
        title=need.title,
        purpose=need.purpose,
    )
    if need.optional:
        return DoctorResult(name, True, _m("%(words)s It works without.", words=words))
    return DoctorResult(name, False, words, _m("Apply deploy/kubernetes/rbac.yaml, or add these verbs to the portal's role."))


# ---- what the cluster has


def _storage(api: Api, settings: KubernetesSettings) -> Iterator[DoctorResult]:
    try:
        classes = api.items("/apis/storage.k8s.io/v1/storageclasses")
    except ApiError as error:
        if error.status == 403:
            yield DoctorResult(_m("Storage class"), True, _m("It cannot be checked without the right to list storage classes."))
            return
        raise
    known = sorted(one["metadata"]["name"] for one in classes)
    default = [one["metadata"]["name"] for one in classes if _is_default(one)]
    listed = _m("There are: %(join)s.", join=[*known]) if known else _m("The cluster has none.")
    if settings.storage_class:
        ok = settings.storage_class in known
        name = settings.storage_class
        said = _m("%(name)s is there.", name=name) if ok else _m("%(name)s is not there. %(listed)s", name=name, listed=listed)
        yield DoctorResult(_m("Storage class"), ok, said, "" if ok else _m("Correct it in the settings."))
    elif default:
        yield DoctorResult(_m("Storage class"), True, _m("%(default)s is the default.", default=default[0]))
    else:
        yield DoctorResult(
            _m("Storage class"),
            False,
            _m("No storage class is the default.%(listed)s", listed=listed),
            _m("Name one in the settings."),
        )


def _is_default(found: Json) -> bool:
    notes = found["metadata"].get("annotations") or {}
    return notes.get("storageclass.kubernetes.io/is-default-class") == "true"


def _metrics(api: Api, settings: KubernetesSettings) -> Iterator[DoctorResult]:
    try:
        api.get(METRICS)
        yield DoctorResult(_m("Metrics"), True, _m("The metrics API is there."))
        return
    except ApiError as error:
        if error.status not in (403, 404, 503):
            raise
    proxy = Need("", "nodes/proxy", ("get",), _m("measuring"))
    if not _may(api, proxy, "get"):
        yield DoctorResult(_m("Metrics"), True, _m("There is no metrics API; the kubelets are asked instead."))
    else:
        yield DoctorResult(
            _m("Metrics"), False, _m("There is no metrics API, and the portal may not ask the kubelets."),
            _m("Install metrics-server, or give the portal the right to get nodes/proxy."),
        )  # fmt: skip


def _security(api: Api, settings: KubernetesSettings) -> Iterator[DoctorResult]:
    """A namespace as a tenant's would be, made without being kept."""
    body = {
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": f"{settings.namespace_prefix}connection-test",
            "labels": {"pod-security.kubernetes.io/enforce": settings.pod_security},
        },
    }  # fmt: skip
    try:
        api.json("POST", "/api/v1/namespaces", body=body, query={"dryRun": "All"})
    except ApiError as error:
        if error.status == 403 and "cannot create" in error.message:
            return  # told among the rights
        if error.status != 409:
            raise
    yield DoctorResult(
        _m("Pod security"),
        True,
        _m("Namespaces with the standard %(pod_security)s are accepted.", pod_security=settings.pod_security),
    )
