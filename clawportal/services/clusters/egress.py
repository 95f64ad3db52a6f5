"""The way out of a network for claws: the proxy, its exceptions and the CA of a cluster's policy, as programs read them.

Nothing is added where the policy says nothing: what runs stays as it was planned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from clawportal.contracts.workloads import Check, Context, File, Process, Workload
from clawportal.services.clusters import claw_proxy
from clawportal.services.clusters.clusters import ClusterPolicy

Told = TypeVar("Told", Process, Check)
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")

CA_FILE = ".clawportal-ca.pem"
NEVER = ("localhost", "127.0.0.1", "::1")
"""What a claw reaches on its own machine or in its own pod never goes through a proxy."""


def applied(plan: Workload, context: Context, policy: ClusterPolicy) -> Workload:
    """The plan with what its processes and its own check need to get out. What the adapter itself says wins."""
    told = variables(context, policy)
    if not told:
        return plan
    processes = tuple(_with(one, told, policy) for one in plan.processes)
    check: Check | None = _with(plan.check, told, policy) if plan.check else None
    files = (*plan.files, File(CA_FILE, policy.claw_ca, mode=0o644)) if policy.claw_ca else plan.files
    return replace(plan, processes=processes, check=check, files=files)


def _with(one: Told, told: Mapping[str, str], policy: ClusterPolicy) -> Told:
    """A proxy that asks for a sign-in has it in its address, which is then a secret and no plain variable."""
    hidden = dict.fromkeys(NAMES, claw_proxy.URL) if policy.claw_proxy_login else {}
    plain = {name: value for name, value in told.items() if name not in hidden and name not in one.secret_env}
    secret = {name: value for name, value in hidden.items() if name not in one.env}
    return replace(one, env={**plain, **one.env}, secret_env={**secret, **one.secret_env})


def variables(context: Context, policy: ClusterPolicy) -> dict[str, str]:
    found = _proxied(policy) if policy.claw_proxy else {}
    if policy.claw_ca:
        path = f"{context.layout.state}/{CA_FILE}"
        # Node.js adds it to those that it knows; Python and OpenSSL trust this file alone
        found |= dict.fromkeys(("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), path)
    return found


def _proxied(policy: ClusterPolicy) -> dict[str, str]:
    """Both spellings: curl reads the small ones, most others the large. Node.js has to be told to read them at all."""
    said = [part.strip() for part in policy.claw_no_proxy.split(",")]
    direct = ",".join(dict.fromkeys(part for part in (*NEVER, policy.portal_host, *said) if part))
    pairs = {"HTTP_PROXY": policy.claw_proxy, "HTTPS_PROXY": policy.claw_proxy, "NO_PROXY": direct}
    return {**pairs, **{name.lower(): value for name, value in pairs.items()}, "NODE_USE_ENV_PROXY": "1"}
