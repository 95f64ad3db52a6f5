"""Looking at a provider before it is saved: what is right and what is missing, one finding each."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from clawportal.sdk import _m
from clawportal.sdk.errors import Invalid, Unavailable
from clawportal.sdk.features import DoctorResult
from clawportal_sso.calls import ProviderCalls
from clawportal_sso.documents import ClientRefused, Discovery, NotProved, Seen, Setup, algorithms_of, check_address


def examine(calls: ProviderCalls, setup: Setup, redirect_uri: str, claims: Sequence[str] = ()) -> list[DoctorResult]:
    """What is right and what is missing, one finding each; asks anew."""
    calls.forget(setup.issuer)
    try:
        found = calls.discovery(check_address(setup.issuer, "issuer"))
    except (Unavailable, Invalid) as problem:
        remedy = _m("Enter the issuer as the provider names it, and see that the portal reaches it.")
        return [DoctorResult(_m("Provider"), False, problem.detail, remedy)]
    results = [DoctorResult(_m("Provider"), True, _m("%(issuer)s answers.", issuer=found.issuer)), _keys(calls, found)]
    results += [_flow(found), _pkce(found), _scopes(setup, found), *_claims(claims, found)]
    results += [_account_page(found), *_last(calls.last_seen(found.issuer), claims)]
    return [*results, _credentials(calls, setup, found, redirect_uri), _sign_out(found)]


def _keys(calls: ProviderCalls, found: Discovery) -> DoctorResult:
    try:
        keys = calls.keys(found)
    except Unavailable as problem:
        return DoctorResult(_m("Keys"), False, problem.detail, _m("See that the portal reaches the provider's jwks_uri."))
    if not algorithms_of(found):
        message = _m("Its ID tokens are signed in no way that the portal accepts.")
        return DoctorResult(_m("Keys"), False, message, _m("Let the provider sign ID tokens with RS256 or ES256."))
    return DoctorResult(_m("Keys"), True, _m("Keys to check signatures with: %(len)s.", len=len(keys.keys)))


def _credentials(calls: ProviderCalls, setup: Setup, found: Discovery, redirect_uri: str) -> DoctorResult:
    """A code that cannot be good: whoever refuses only the code has accepted client id and secret."""
    try:
        calls.exchange(setup, found, redirect_uri, f"made-up-{secrets.token_hex(8)}", secrets.token_urlsafe(48))
    except Unavailable as problem:
        return DoctorResult(_m("Client"), False, problem.detail, _m("See that the portal reaches the provider's token_endpoint."))
    except ClientRefused:
        message = _m("The provider refuses the client id or the secret.")
        return DoctorResult(_m("Client"), False, message, _m("Copy both from the provider's settings once more."))
    except NotProved:
        pass
    return DoctorResult(_m("Client"), True, _m("The provider accepts client id and secret."))


def _flow(found: Discovery) -> DoctorResult:
    if "code" in found.listed("response_types_supported", ("code",)):
        return DoctorResult(_m("Sign-in with a code"), True, _m("The provider offers it."))
    remedy = _m("Allow the authorization code flow at the provider.")
    return DoctorResult(_m("Sign-in with a code"), False, _m("The provider does not offer it."), remedy)


def _pkce(found: Discovery) -> DoctorResult:
    said = found.listed("code_challenge_methods_supported")
    if said and "S256" not in said:
        return DoctorResult(_m("PKCE"), False, _m("The provider refuses S256."), _m("Allow PKCE with S256 for this client."))
    message = _m("The provider checks it.") if said else _m("The provider does not say; it is sent all the same.")
    return DoctorResult(_m("PKCE"), True, message)


def _scopes(setup: Setup, found: Discovery) -> DoctorResult:
    said = found.listed("scopes_supported")
    lacking = [scope for scope in setup.scopes.split() if said and scope not in said]
    if not lacking:
        return DoctorResult(_m("Scopes"), True, _m("The provider knows all of them."))
    message = _m("The provider does not list %(join)s.", join=[*lacking])
    return DoctorResult(_m("Scopes"), False, message, _m("Take these scopes out, or make them at the provider."))


def _claims(wanted: Sequence[str], found: Discovery) -> list[DoctorResult]:
    """Only what is told: many providers send claims that they do not list."""
    said = found.listed("claims_supported")
    lacking = [name for name in wanted if said and name and not any(_begins(name, one) for one in said)]
    if not lacking:
        return []
    message = _m("The provider does not list %(join)s. It may send them all the same; sign in once to see.", join=[*lacking])
    return [DoctorResult(_m("Claims"), True, message)]


def _begins(name: str, listed: str) -> bool:
    return name == listed or name.startswith((f"{listed}.", f"/{listed}/")) or name == f"/{listed}"


def _account_page(found: Discovery) -> DoctorResult:
    if not found.userinfo_endpoint:
        return DoctorResult(
            _m("Account page"), True, _m("The provider has none (userinfo_endpoint); the ID token says everything.")
        )
    return DoctorResult(
        _m("Account page"), True, _m("It is asked for what the ID token lacks; where that fails, the ID token counts.")
    )


def _last(seen: Seen | None, wanted: Sequence[str]) -> list[DoctorResult]:
    """What the last sign-in found, as far as this process has seen one."""
    if seen is None:
        return []
    results = []
    if seen.account_page:
        remedy = _m("Let the provider put the claims into the ID token, or allow its userinfo_endpoint for this client.")
        message = _m("At the last sign-in: %(account_page)s", account_page=seen.account_page)
        results.append(DoctorResult(_m("Account page at the last sign-in"), seen.usable, message, remedy))
    lacking = [name for name in wanted if name and not any(name in (path, _pointer(path)) for path in seen.claims)]
    lacking = [name for name in lacking if not any(_begins(path, name) for path in seen.claims)]
    there = [*seen.claims[:30]]
    if lacking:
        message = _m("The last sign-in had no %(join)s. It had: %(there)s.", join=[*lacking], there=there)
        remedy = _m("Correct the names of the claims, or let the provider send them.")
        results.append(DoctorResult(_m("Claims of the last sign-in"), False, message, remedy))
    else:
        results.append(DoctorResult(_m("Claims of the last sign-in"), True, _m("The last sign-in had: %(there)s.", there=there)))
    return results


def _pointer(path: str) -> str:
    return "/" + path.replace(".", "/")


def _sign_out(found: Discovery) -> DoctorResult:
    if found.end_session_endpoint:
        return DoctorResult(_m("Sign-out"), True, _m("Who signs out here is offered to sign out of the provider too."))
    return DoctorResult(_m("Sign-out"), True, _m("The provider has no page for it; who signs out here stays signed in there."))
