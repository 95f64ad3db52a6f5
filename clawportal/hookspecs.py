"""Where a plugin can join. Each hook is used by the core or a bundled plugin; `plugins/README.md` documents all of them.

Hooks are called in the order of loading, the core first, then bundled plugins, unless an implementation says `tryfirst` or
`trylast`. A plugin that fails is named in the log, and nobody else notices. `portal` is a
`clawportal.engine.portal.Portal`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from clawportal.contracts.adapters import Adapter
    from clawportal.contracts.doctor import DoctorResult
    from clawportal.contracts.events import Event
    from clawportal.contracts.features import Feature
    from clawportal.contracts.notifiers import Notifier
    from clawportal.contracts.permissions import Grant
    from clawportal.contracts.providers import ModelProvider
    from clawportal.contracts.runtimes import RuntimeDriver
    from clawportal.contracts.stores import FileStore

hookspec = pluggy.HookspecMarker("clawportal")


@hookspec
def register_features() -> Iterable[Feature]:  # type: ignore[empty-body]  # a specification has no body
    """Capabilities of the portal: tables, rights, pages, API, background work, commands. Only data: no module is imported."""


@hookspec
def register_adapters(data_dir: str) -> Iterable[Adapter]:  # type: ignore[empty-body]  # a specification has no body
    """Kinds of claw that this plugin knows; `data_dir` is the portal's data folder, which an operator may describe some in."""


@hookspec
def register_runtimes() -> Iterable[RuntimeDriver]:  # type: ignore[empty-body]  # a specification has no body
    """Kinds of place that this plugin can run workloads in."""


@hookspec
def register_model_providers() -> Iterable[ModelProvider]:  # type: ignore[empty-body]  # a specification has no body
    """Who serves language models, how they are spoken to, and what people need for it. Only data."""


@hookspec
def register_file_stores(data_dir: str) -> Iterable[FileStore]:  # type: ignore[empty-body]  # a specification has no body
    """Places to keep whole files; `data_dir` is the portal's data folder."""


@hookspec
def register_notifiers() -> Iterable[Notifier]:  # type: ignore[empty-body]  # a specification has no body
    """Ways to tell somebody of a fact outside of the pages; the portal's routes say who is told what."""


@hookspec
def actor_grants(actor_id: str) -> Iterable[Grant]:  # type: ignore[empty-body]  # a specification has no body
    """Grants of a user beside those from memberships. Grants add up; nothing can take one away."""


@hookspec
def doctor_checks(data_dir: str) -> Iterable[DoctorResult]:  # type: ignore[empty-body]  # a specification has no body
    """Findings for `clawportal doctor`."""


@hookspec
def on_event(portal: Any, event: Event) -> None:
    """A fact that happened, after the commit. An exception is logged and goes no further."""
