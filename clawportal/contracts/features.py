"""What a capability of the portal is made of, as data: one `Feature` says everything that it adds.

Modules are given by name and imported only where they are used, so that a declaration costs nothing. Targets are written
`"package.module:function"`. Nothing registers itself by being imported: each app collects from the features that it has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from clawportal.contracts.permissions import Permission


@dataclass(frozen=True)
class Resource:
    """What a table holds, in words and rights; the model names the same object. Where a row belongs follows from the mixin of
    the model (`clawportal.models.scopes`)."""

    table: str
    """Name of the table. Empty for what has none of its own but is told of, such as a service account, which is an account."""
    noun: str = ""
    """What one row is called, in lower case: `There is no rule with this id`. Empty for tables that people do not know."""
    key: str = ""
    """The noun of its events and audit actions, such as `member` in `member.add`. Empty: the name of the table."""
    titles: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What its columns are called where the audit shows them; empty: the name of the column, as words."""
    read: Permission | None = None
    """Who may see a row. None: only reached through another row."""
    audited: Collection[str] = ()
    """Columns whose changes by people are told in the audit. Empty: all but those that follow by themselves."""
    secret: Collection[str] = ()
    """Columns of which only is told that they changed, as `secrets.NAME` of what the row belongs to."""
    unaudited: str = ""
    """Why the audit does not watch this table."""

    @property
    def subject(self) -> str:
        return self.key or self.table


@dataclass(frozen=True)
class Interest:
    """Something that a person may ask to be told of: events of a kind, or some of them. Kinds may share one by its name."""

    name: str
    """Such as `instance.failed`."""
    title: str
    """As people choose it: `A claw failed`."""
    default: bool = False
    """Whether people who have chosen nothing are told."""
    least: Literal["info", "warning", "error"] = "info"
    """The lowest level that is meant."""
    where: Mapping[str, Collection[str]] = field(default_factory=dict, hash=False)
    """Only events whose data has one of these values under each of these names."""
    whose: str = ""
    """Where the data has the name of the account that asked for it: only that one is told. Empty: whoever may see the event."""

    follows: str = ""
    """The name of another interest: only those are told who were told of that about the same instance, and only once."""

    def fits(self, level: str, data: Mapping[str, object]) -> bool:
        levels = ("info", "warning", "error")
        if level in levels and levels.index(level) < levels.index(self.least):
            return False
        return all(data.get(name) in values for name, values in self.where.items())


@dataclass(frozen=True)
class EventKind:
    """A kind of fact that this feature tells."""

    name: str
    """Such as `skills.published`."""
    title: str
    """What happened, in the list of kinds."""
    action: str = ""
    """What somebody did, as the audit names it, with `{thing}` for what they did it to: `Publish {thing}`. Empty: in the words of
    its verb, as for created, changed, deleted ..."""
    read: Permission | None = None
    """A right that whoever is told of it needs, in the place where it happened and beside the one to read events. None: no other.
    With `SELF` it is for the person that it concerns only."""
    audited: bool = True
    """False: the audit has no entry of its own for it, since it tells of what another one tells."""
    interests: tuple[Interest, ...] = ()
    """What people may ask to be told of, where this kind is worth it."""


@dataclass(frozen=True)
class ApiTag:
    """A group of operations in the API's document; operations name it in `tags`."""

    name: str
    description: str
    order: int = 100
    """Smaller comes first; the core's stand at 10, 20 ..."""


@dataclass(frozen=True)
class Job:
    """Background work: a function that makes one pass and can be called twice."""

    name: str
    run: str
    """Target; called with the portal, inside an app context."""
    every: float | str
    """Seconds, or the name of the portal's setting that holds them."""
    on: Literal["leader", "each"] = "leader"
    """`leader`: in one replica only. `each`: in every process that does background work."""
    at_start: bool = False
    """Whether the first pass is made at once, not after `every`."""


@dataclass(frozen=True)
class NavLink:
    """A link of the side menu."""

    title: str
    endpoint: str = ""
    """Of a page, such as `web.skills`."""
    href: str = ""
    """Instead of `endpoint`: a path of the portal or an address with http or https."""
    icon: str = "puzzle"
    permission: Permission | None = None
    """None: everybody who is signed in."""
    section: Literal["work", "system"] = "work"
    order: int = 100
    """Smaller comes first; the core's stand at 10, 20 ..."""
    key: str = ""
    """Letter that leads there, typed after g."""
    page: str = ""
    """What pages below it give as `section`. Empty: the last part of `endpoint`."""
    count: str = ""
    """Target that gives the number in the badge; called with the actor. 0 shows none."""
    count_title: str = ""
    """What is counted."""
    count_tone: Literal["bad", "busy", "warn", "idle"] = "idle"
    only_everywhere: bool = False
    """Not while a portal administrator looks into one organisation."""


@dataclass(frozen=True)
class Tab:
    """A tab on the page of an instance, fetched as a fragment."""

    name: str
    title: str
    endpoint: str
    """Of a page that takes `instance_id`."""
    icon: str
    permission: Permission
    order: int = 100
    """Smaller comes first; the core's stand at 10, 20 ..."""
    only_managed: bool = False
    """Not for what the portal only observes."""
    can: str = ""
    """What must be possible with the instance just now, such as `chat`; empty: `permission` alone decides."""
    when: str = ""
    """Target that says whether it is shown; called with the portal and the instance. Empty: always."""
    in_menu: bool = False
    """Whether the menu of an instance in lists leads there, too; `can` alone decides there."""


@dataclass(frozen=True)
class InstanceAction:
    """Something that can be done with an instance, on its page beside the buttons of the core.

    `render` is called with the portal and the instance and gives Markup, or nothing. Shown anew whenever the instance changes.
    """

    name: str
    render: str
    permission: Permission
    order: int = 100
    opens: str = ""
    """Whether it leads people to a page of the claw itself just now: a function of the portal and the instance, which says so or
    not. Where the page of an instance tells how it is reached, this is told as well."""


@dataclass(frozen=True)
class TenantTab:
    """A tab on the page of an organisation. Its page imports `tenants/_parts.html`, and begins with
    `parts.head(tenant, NAME, tenant_abilities(tenant))`."""

    name: str
    title: str
    endpoint: str
    """Of a page that takes `tenant_id`."""
    permission: Permission
    order: int = 100


@dataclass(frozen=True)
class Card:
    """A card on the home page (`home`) or that of the portal's health (`about`), a link above the list of organisations
    (`tenants`), a note at the foot of the menu (`menu`), a small link on top of every page beside the portal's name (`top`; shown
    twice, for wide and narrow windows), a section on the page of one's own account (`account`), or what stands below the fields
    of the language model in the form of a claw (`model`).

    `render` is called with the actor and gives Markup, or nothing. On `account` it is called with `errors` too: what was wrong in
    the form that was sent, as sentences by field. On `model` it is called with `instance_id`, empty for a new claw; its buttons
    may send the form `#instance-form` elsewhere, where `clawportal.sdk.fleet.model_as_saved` says what it means.
    """

    name: str
    render: str
    permission: Permission
    place: str = "home"
    order: int = 100


@dataclass(frozen=True)
class Metric:
    """A figure of `/metrics`."""

    name: str
    """`clawportal_<feature>`, or that with more behind it: `clawportal_notes_open`. Counters end in `_total`."""
    kind: Literal["gauge", "counter"]
    help: str
    """What it counts, with its unit, in English."""
    read: str
    """Target; called with the portal when somebody asks for `/metrics`, it gives pairs of labels and value. Every process of a
    portal is asked in turn, so take the value from the database and not from this process."""


FactValue = bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True)
class InstanceFact:
    """What a feature knows of instances that others decide by, beside what an instance is like, such as how many notes it has."""

    name: str
    """Begins with the name of the feature: `notes_open`."""
    description: str
    """What it says of an instance, in a sentence."""
    read: str
    """Target; called with the portal and the ids of instances, once for all of them, inside the transaction of a change. It gives
    values by id. Of an id that it leaves out, and of an instance that is new, a fact is false, 0 or empty."""
    type: Literal["bool", "int", "double", "string", "strings"] = "bool"
    """Of its values: plain ones, as they are given to an evaluation outside of this process. `strings` is a list."""


@dataclass(frozen=True)
class Feature:
    """One capability of the portal."""

    name: str
    """Prefix of its tables, permissions, settings and event kinds, and the path of its static files."""
    title: str
    package: str = ""
    """Where its folders `templates`, `static`, `translations` and `migrations` lie. Empty for the core."""
    requires: tuple[str, ...] = ()
    """Features whose services it uses; without them it is not loaded, and that is said."""
    permissions: tuple[Permission, ...] = ()
    models: tuple[str, ...] = ()
    """Modules with its tables."""
    resources: tuple[Resource, ...] = ()
    events: tuple[EventKind, ...] = ()
    settings: str = ""
    """Target: the pydantic model of its section of the settings, `CLAWPORTAL_<NAME>_*` or `[name]` in clawportal.toml."""
    api_tags: tuple[ApiTag, ...] = ()
    api: tuple[str, ...] = ()
    """Modules whose functions are marked with `op`, in the order of the document."""
    pages: tuple[str, ...] = ()
    """Modules whose functions are marked with `page`."""
    sockets: tuple[str, ...] = ()
    """Modules with `init_sockets(people)`."""
    jobs: tuple[Job, ...] = ()
    forget: tuple[str, ...] = ()
    """Targets that drop what is too old; called with the portal by retention, while the clock is believed."""
    prepare: tuple[str, ...] = ()
    """Targets that see to rows which every portal has; called with the portal, inside an app context, at each start."""
    on_start: tuple[str, ...] = ()
    """Targets that are called with the portal, inside an app context, before background work begins."""
    on_stop: tuple[str, ...] = ()
    """Targets that are called with the portal, inside an app context, at the end of the process; of later features first."""
    commands: tuple[str, ...] = ()
    """Targets that add to `clawportal`; called with the click group. Import what is heavy inside the commands."""
    client_commands: tuple[str, ...] = ()
    """The same for `claw`."""
    nav: tuple[NavLink, ...] = ()
    instance_tabs: tuple[Tab, ...] = ()
    instance_actions: tuple[InstanceAction, ...] = ()
    tenant_tabs: tuple[TenantTab, ...] = ()
    cards: tuple[Card, ...] = ()
    doctor: tuple[str, ...] = ()
    """Targets that give `DoctorResult`s to `clawportal doctor`; called with the settings, since the portal may not start."""
    metrics: tuple[Metric, ...] = ()
    instance_facts: tuple[InstanceFact, ...] = ()
    migrations: str = ""
    """Folder of its own history of migrations, below `package`. Empty: it has no tables."""
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Further targets by the name of an extension point that another feature defines."""

    def __hash__(self) -> int:
        return hash(self.name)
