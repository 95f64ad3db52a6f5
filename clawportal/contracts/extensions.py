"""Extension points of the core: names under which a feature gives targets in `Feature.extra`, and what passes through them.

`Registry.targets(point)` has all of them, in the order of the features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SIGN_IN_WAYS = "sign_in_ways"
"""Called with the portal: the `SignInWay`s beside a password that people can use just now."""

SIGN_OUT_WAYS = "sign_out_ways"
"""Called with the portal and the `source` of a session that has just ended: the `SignInWay` by which it began, if the same
person is perhaps signed in there still and can sign out, else None. No transaction is open, so the network may be asked."""

ROLE_USES = "role_uses"
"""Called with the id of a tenant and the name of a role that it made: how often the feature would give that role. Such a role is
not deleted."""

RESEAL = "reseal"
"""Called with the portal when the key ring has a new key: moves every secret that the feature keeps sealed to it, and returns how
many there were. Can be called again."""

MODEL_SERVICES = "model_services"
"""Called with the portal and the id of a model provider: the `ModelService` if that one is served by the portal, else None."""

ADMISSION = "admission"
"""Called with the portal, the actor and an `InstanceChange`, inside the transaction of the change: raises a `Problem` to refuse
it, and returns `Warned`s for whoever asked for it. Not called for what the portal finishes by itself."""

ADMISSION_PREVIEW = "admission_preview"
"""Called like `ADMISSION` for a change that is not stored: returns the `FieldError`s with which it would be refused."""


EVENT_BUS = "event_bus"
"""Called with the portal while it is put together: the `EventBus` by which its replicas tell each other what happened. The last
feature that gives one is asked, so that a plugin takes the place of the core's, which reaches one process."""


CHOICE_MARKS = "choice_marks"
"""Called with the portal, the id of a tenant, the kinds of claw and the versions of some kinds: what is refused there in every
case, as `{"adapter": {kind: why}, "version": {"kind version": why}, "provider": {provider: why}}`. For forms, which show each
`why`, a message such as `_m("Not allowed by ...")`, beside the choice."""


OTHER_HOSTS = "other_hosts"
"""Called once with the portal's Flask app: an `OtherHost`, which is asked before the portal whether a request is its own."""


SETUP_CHOICES = "setup_choices"
"""Called with the portal: a `SetupChoice` for the page of the first run, to be ticked there."""

HEALTH_FINDINGS = "health_findings"
"""Called with the portal while it runs: `DoctorResult`s about this feature, for the page of the portal's health."""


MODEL_KEYS = "model_keys"
"""Called with the portal: `ModelKeys`, the stored keys that a spec can name in `model.credential` instead of a key of its own."""


FIRST_STEPS = "first_steps"
"""Called with the portal and an actor: the `FirstStep`s of this feature, each found out anew; what that costs must not grow with
the fleet."""

STORED_SETTINGS = "stored_settings"
"""Called with the portal now and then: the values that people stored for settings that may change while it runs, by name, such as
`{"session_hours": 8, "files.trash_days": 7}`. Each holds where neither the environment nor the file has one. One that cannot be
used is left out and named; see `clawportal.engine.current_settings`."""


@dataclass(frozen=True)
class ModelKey:
    """A stored API key of a model provider; never its value."""

    id: str
    title: str
    provider: str
    base_url: str
    """Comes along to a model that names none; empty: the address of the provider."""
    goes_to: str
    """The destination that it was entered for, as it was then. It is given out for no other, wherever its provider moves."""
    version: str
    """Changes when the key does. It is part of what is planned, so that a claw takes up a new key, and nothing else restarts."""


class ModelKeys(Protocol):
    """The stored keys of a feature."""

    def offered(self, tenant_id: str, project_id: str | None) -> Sequence[ModelKey]:
        """Those that claws of a project may use; without project, of all projects of the tenant."""

    def find(self, tenant_id: str, project_id: str | None, key_id: str) -> ModelKey | None:
        """One of those that `offered` has."""

    def open(self, key: ModelKey, *, giving: bool) -> str:
        """The value. `giving`: to a claw that is planned with it; otherwise it only gets hidden in what a claw says, which is no
        use of it."""


@dataclass(frozen=True)
class FirstStep:
    """Something that a new portal, or somebody new in it, should do once."""

    name: str
    """Begins with the name of the feature: `identity.second_admin`."""
    title: str
    why: str
    """What it is good for, and how it is done where no page does it; a sentence or two."""
    done: bool
    """By what is there, never because somebody said so."""
    endpoint: str = ""
    """Of the page that does it; takes no arguments."""
    command: str = ""
    """What does it on the portal's own machine, where no page does."""
    audience: Literal["portal", "team"] = "portal"
    """`portal`: whoever looks after the portal. `team`: everybody else, about themselves."""
    order: int = 100
    """Smaller comes first."""


@dataclass(frozen=True)
class SetupChoice:
    """Something that can be switched on at the first run."""

    name: str
    """Of its field."""
    heading: str
    title: str
    description: str
    apply: Callable[[Any, Any, bool], None]
    """Called with the portal, the actor and whether it was ticked, inside the transaction of the setup."""
    note: str = ""
    """A word that stands beside the title."""
    ticked: bool = True
    """As the page shows it first."""


LISTENERS = "listeners"
"""Called with the portal once its web server begins: further ports at which it listens, beside `Settings.port` and on the same
address. A port that cannot be had is logged, and the portal goes on without it."""


@dataclass(frozen=True)
class SignInWay:
    name: str
    """For programs, such as a part of an address."""
    title: str
    endpoint: str
    """Of the public page where it begins; takes `name`, and may get `next` as argument."""
    sign_out_endpoint: str = ""
    """Of the public page that leads on to signing out there, too; takes `name`. Empty: there is none."""


@dataclass(frozen=True)
class ModelService:
    """A model that the portal itself serves to claws."""

    provider: str
    base_url: str
    """As the portal's own machine reaches it; the same whether it answers just now or not. Empty: nobody knows yet."""
    model: str
    """The name that is used where nobody chose one."""
    closed: str = ""
    """Why it cannot be chosen just now, as a sentence; empty: it can."""
    remedy: str = ""
    """What to do where claws in another place cannot reach it."""


@dataclass(frozen=True)
class InstanceChange:
    """What somebody is about to change."""

    kind: str
    """As events call it, such as `instance.create`."""
    action: str
    """The verb for it: `create`, `update`, `move`, `delete` ..."""
    instance: Any
    """The row, as it will be."""
    project_id: str
    """Where it shall be."""


class OtherHost(Protocol):
    """A WSGI application for host names, or ports, that are not the portal's own.

    It runs outside of any app context, without the portal's sessions, headers, limits and error pages, but knows who asks as the
    portal does: what proxies that are believed say has been put into the environ.
    """

    def takes(self, environ: WSGIEnvironment) -> bool:
        """Whether this request is for it. Asked for every request of the portal, so it looks at the environ alone."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]: ...


class Warned(Protocol):
    """A remark on a change that is admitted all the same."""

    @property
    def sentence(self) -> str: ...

    def as_document(self) -> Mapping[str, Any]:
        """With `id`, `name` and `title` of what warns, at least."""
