"""Testing a model for somebody: with a stored key or a typed one, before saving and at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import update

from clawportal.sdk import _m
from clawportal.sdk.data import db, get_or_404, now, require, transaction
from clawportal.sdk.errors import Conflict, FieldError, Invalid
from clawportal.sdk.fleet import ModelTrial, Portal
from clawportal.sdk.permissions import Actor, Scope
from clawportal.sdk.secrets import asked_again
from clawportal_providers import calling, checking, probe, services
from clawportal_providers.models import Credential
from clawportal_providers.permissions import PROVIDERS_MANAGE
from clawportal_providers.reaching import reach

_AT_ONCE = 4
"""Tests of one process at a time: each holds a thread for up to two minutes."""
_EACH = 2
"""Of these of one person."""


_Tested = tuple[str, int]
"""Id and version of a stored key."""


class Running:
    """The tests that run in this process, and whose they are: a provider that answers slowly must not hold up everybody."""

    def __init__(self) -> None:
        import threading

        self._room, self._lock = threading.BoundedSemaphore(_AT_ONCE), threading.Lock()
        self._each: Counter[str] = Counter()

    @contextmanager
    def one(self, who: str) -> Iterator[None]:
        """Room for one more of this person. Conflict where there is none."""
        with self._lock:
            if self._each[who] >= _EACH:
                raise Conflict(
                    _m("You are testing %(most)s models already. Wait until one of these tests has ended.", most=_EACH)
                )
            self._each[who] += 1
        try:
            if not self._room.acquire(timeout=2):
                raise Conflict(_m("Several models are being tested just now. Try again in a moment."))
            try:
                yield
            finally:
                self._room.release()
        finally:
            with self._lock:
                self._each -= Counter((who,))  # what comes to nothing is dropped


@dataclass(frozen=True)
class Asked:
    """What is to be tested. Without key that of the credential, if the address is its own."""

    provider: str
    base_url: str = ""
    model: str = ""
    key: str = ""
    credential_id: str = ""


def run(portal: Portal, actor: Actor, tenant_id: str, asked: Asked) -> probe.Report:
    """The whole test; its outcome is kept with the credential, if it is its own key that was tested."""
    target, tested = _target(portal, actor, tenant_id, asked)
    if not target.model:
        raise Invalid.field("model", _m("is needed: the model's name as the provider spells it"), "missing")
    with _room(portal, actor):
        report = probe.run(target)
    if tested is not None:
        outcome = {"at": now().isoformat(), "ok": report.ok, "model": target.model[:200], "message": report.sentence}
        _keep(tested, tested=outcome)
    return report


def of_form(portal: Portal, actor: Actor, trial: ModelTrial) -> calling.Target:
    """The model that the form of a claw means. Invalid with the fields of that form."""
    choice, provider = trial.model, portal.registry.providers.get(trial.model.provider)
    if provider is None:
        raise Invalid.field("spec.model.provider", _m("Choose a provider."), "missing")
    if provider.served:
        raise Conflict(_m("The portal serves this model itself: there is nothing to test."))
    whole = portal.registry.providers.base_url(provider.id, choice.base_url)
    errors = [FieldError("spec.model.base_url", flaw)] if (flaw := checking.address_flaw(provider, whole)) else []
    errors += [replace(error, path="secrets.model_api_key") for error in checking.key_flaws(trial.key)]
    if errors:
        raise Invalid(_m("The model cannot be tested like this."), errors=tuple(errors))
    return calling.Target(provider, whole, choice.name.strip(), trial.key, reach(portal, actor, provider, whole))


def run_target(portal: Portal, actor: Actor, target: calling.Target) -> probe.Report:
    """The whole test. Nothing of it is kept: whoever may choose a stored key may not say how well it is."""
    if not target.model:
        raise Invalid.field("spec.model.name", _m("is needed: the model's name as the provider spells it"), "missing")
    with _room(portal, actor):
        return probe.run(target)


def models_of(portal: Portal, actor: Actor, target: calling.Target, search: str = "") -> list[probe.Model]:
    """What the provider has, narrowed to what is searched for. Conflict with the reason where it does not tell."""
    try:
        with _room(portal, actor):
            found = probe.models(target)
    except calling.Refused as refusal:
        raise Conflict(refusal.step.message) from refusal
    word = search.strip().lower()
    return [model for model in found if word in f"{model.id} {model.title}".lower()]


def models(portal: Portal, actor: Actor, tenant_id: str, asked: Asked, search: str = "") -> list[probe.Model]:
    """What the provider has, narrowed to what is searched for. Conflict with the reason where it does not tell."""
    target, tested = _target(portal, actor, tenant_id, asked)
    try:
        return models_of(portal, actor, target, search)
    finally:
        if tested is not None:
            _keep(tested)


@contextmanager
def _room(portal: Portal, actor: Actor) -> Iterator[None]:
    db.session.rollback()  # a provider may take minutes: hold no snapshot of the database meanwhile
    with portal.part(Running).one(actor.id):
        yield


def _target(portal: Portal, actor: Actor, tenant_id: str, asked: Asked) -> tuple[calling.Target, _Tested | None]:
    """With the stored key that it takes, if any. Forbidden for who may not manage keys: a test sends requests out of the
    portal's network."""
    row = get_or_404(Credential, asked.credential_id, actor, PROVIDERS_MANAGE) if asked.credential_id else None
    require(actor, PROVIDERS_MANAGE, Scope(row.tenant_id, row.project_id) if row else Scope(tenant_id))
    name = asked.provider or (row.provider if row else "")
    said = row.base_url if row and not asked.provider else asked.base_url
    key, base_url = checking.checked_for_test(portal, name, said, asked.key)
    provider = portal.registry.providers[name]
    tested = None
    if row is not None and not key:
        there = checking.goes_to(portal, provider.id, base_url)
        if row.goes_to != there:
            raise Invalid(_m("The key has to be entered again."), errors=(asked_again("key", row.goes_to, there),))
        key, tested = services.open_key(portal, row), (row.id, row.version)
    whole = portal.registry.providers.base_url(provider.id, base_url)
    return calling.Target(provider, whole, asked.model.strip(), key or "", reach(portal, actor, provider, whole)), tested


def _keep(used: _Tested, **found: Any) -> None:
    """That a key was used, and what came of it. Of a key that was replaced meanwhile nothing is told by it."""
    same = Credential.id == used[0], Credential.version == used[1]
    with transaction():
        db.session.execute(update(Credential).where(*same).values(last_used_at=now(), **found))
