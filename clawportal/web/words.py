"""Words for people: typed `gettext` for the pages, and `told` for what services and plugins said in English.

Services and plugins know no language: what they said stands in rows and exceptions. `told` looks a text up in the catalogue as a
whole, then as one of the catalogue's patterns (`%(name)s was created.`), and leaves unchanged what it does not know.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import flask_babel
from babel.support import Translations

import clawportal
from clawportal.http.i18n import language, translate
from clawportal.messages import Message

TRANSLATIONS = Path(clawportal.__file__).parent / "translations"

SENTENCES = (
    # what the bundled plugins say of themselves
    "Runs claws as plain processes of this machine: no container engine, no root, nothing to install first.",
    "Kubernetes: claws as StatefulSets, tenants as namespaces.",
    "Docker: claws as containers of a Docker Engine, or of Podman through its compatible socket.",
    "Keeps whole files, such as uploads, exports and backups, in a folder of the portal's machine.",
    "An adapter to copy: everything that a new kind of claw needs, for a claw that only repeats what it is told.",
    "nanobot: a small personal agent in Python, installed from PyPI and run as its gateway.",
    "OpenClaw: the large personal agent in Node.js, installed from npm and run as one gateway for each instance.",
    # conditions of an instance
    "Configuration accepted",
    "New configuration taken up",
    "The claw is taking up its new configuration.",
    "It did not take up its new configuration by itself, so it is restarted.",
    "It runs and answers, but it ended by itself %(times)s times in a row before.",
    "Read its log and correct the cause. It counts as well again once it has run for five minutes.",
    # what is put together in code out of smaller parts
    "%(name)s: start was asked for.",
    "%(name)s: stop was asked for.",
    "%(name)s: restart was asked for.",
    "%(name)s: kill was asked for.",
    "%(name)s: delete was asked for.",
    "%(name)s: configuration was changed.",
    "%(name)s: got new access tokens.",
    "Create %(name)s: %(result)s",
    "Start %(name)s: %(result)s",
    "Stop %(name)s: %(result)s",
    "Restart %(name)s: %(result)s",
    "Kill %(name)s: %(result)s",
    "Delete %(name)s: %(result)s",
    "Change configuration %(name)s: %(result)s",
    "Install %(name)s: %(result)s",
    "Import %(name)s: %(result)s",
    "Adopt %(name)s: %(result)s",
    # a disk that is nearly full
    "This takes %(needed)s; the portal's disk has %(free)s left, of which %(kept)s are kept free. Delete files or instances, or "
    "ask an administrator for more room.",
    "The portal's disk is full: %(free)s are left, and %(kept)s are kept free. Stopping and deleting still work: delete files or "
    "instances, or ask an administrator for more room.",
    # requests that the web server itself refuses
    "%(most)s can be sent at most here.",
    "%(most)s can be sent at most here; this was %(sent)s.",
    "One field may have %(most)s at most.",
    # what is seen of an instance that somebody else made
    "%(name)s was imported: it is only observed.",
    "%(name)s was adopted: the portal manages it from now on.",
    "%(name)s was forgotten. What runs in the cluster was not touched.",
    "Forgotten. What runs in the cluster was not touched.",
    "It was ended by signal %(signal)s.",
    "Gone",
    "It no longer exists in its cluster.",
    "Forget it here. If another one took its place there, import that one.",
    "It runs, and its own check says that it is well.",
    "It runs, but its own check says that it is not well.",
    "It runs. It has no check of its own that would say whether it is well.",
    "Look into its log.",
    "Runs in its cluster",
    "It was adopted and keeps the configuration that its maker gave it. Change that inside, by its console; "
    "or create a new instance and move its data there.",
    "It ended with code %(code)s.",
    "It ended with code %(code)s. Its last words:\n%(lines)s",
    "It ended with an unknown code.",
    # what this machine says about a claw
    "It was started.",
    "It ended.",
    "It was asked to stop. %(end)s",
    "It was killed. %(end)s",
    "%(message)s It is started again in %(seconds)s s.",
    "cluster %(name)s",
    # where somebody signed out
    "%(name)s signed out (%(kind)s).",
    "browser",
    "client",
    "Cluster %(name)s was connected.",
    "Cluster %(name)s was changed.",
    "Cluster %(name)s was deleted.",
    "Cluster %(name)s takes no new instances now.",
    "Cluster %(name)s takes new instances again.",
    "Cluster %(name)s is paused: the portal does nothing there.",
    "Cluster %(name)s is not paused any more.",
    "Cluster %(name)s answers again.",
    "Cluster %(name)s is offered to others though nothing keeps claws apart there.",
    "Cluster %(name)s: nothing keeps claws apart from each other.",
    "Cluster %(name)s: claws are kept apart from each other now.",
    "Cluster %(name)s: %(message)s",
    "%(actor)s opened a console on %(name)s.",
    "The console of %(actor)s on %(name)s was closed after %(time)s.",
    "It still has instances: %(names)s. Delete them first.",
    "It still has %(number)s instances, such as %(names)s. Delete them first.",
    "Your own account",
    "Restore keyring.json from a backup or from the portal that rotated the keys, or enter the secrets again.",
    "The cluster does not answer: nobody listens at its address. Correct the server address in the kubeconfig, or start the API "
    "server.",
    "The cluster does not answer: its name cannot be resolved. Correct the server address in the kubeconfig.",
    "The cluster does not answer: no answer in time. Look at the network between the portal and the API server.",
    "The container engine does not answer: nobody listens at its address. Start the engine, or correct the address in the "
    "settings of the cluster.",
    "The container engine does not answer: its socket is not for the portal. Add the portal's user to the group of the socket, "
    "and start the portal again.",
    "The container engine does not answer: %(words)s",
    "Placed by its cluster",
    "As it was applied",
    # what the portal needs rights for in a Kubernetes cluster
    "Right: %(title)s",
    "The portal may not %(verbs)s %(title)s; that is for %(purpose)s.",
    "a namespace for each tenant",
    "the quota of a tenant",
    "defaults of a tenant's pods",
    "keeping tenants apart",
    "running instances",
    "looking at instances, killing them, judging configurations",
    "logs",
    "the console, files and changes without restart",
    "reaching a claw from outside of the cluster",
    "names of instances in the network",
    "instances without a token",
    "files of instances",
    "secrets of instances",
    "data of instances",
    "saying why something does not run",
    "the cluster's capacity",
    "measuring where there is no metrics server",
    "checking the storage class",
    "measuring",
    "the cluster's free memory",
    "Done",
    # what HTTP itself says no to
    "This request cannot be read",
    "A part of it is missing or broken. Go back, reload the page and try again.",
    "This cannot be done here",
    "The address is right, but it takes other kinds of requests only.",
    "There is no such form of this",
    "Ask for HTML or JSON.",
    "This took too long",
    "The request did not arrive in time. Try again.",
    "This is too large",
    "The portal takes less than that at a time. Send it in smaller parts.",
    "This address is too long",
    "Shorten what is searched for, and try again.",
    "This kind of content is not taken here",
    "Send JSON, or what the form of the page sends.",
    "There is no such part of this",
    "Ask for a part that lies inside of it.",
    # facts on the page about the portal, and how operations end
    "Data folder",
    "Database",
    "Machine",
    "succeeded",
    "failed",
    "cancelled",
    # what a model finds wrong with a document
    "may have %(most)s characters at most",
    "may have %(most)s characters at most; these are %(number)s",
    "must not be empty",
    "needs at least %(least)s characters",
    "may have %(most)s entries at most",
    "needs at least %(least)s entries",
    "does not have the form that is asked for here (%(pattern)s)",
    "must be one of %(choices)s",
    "must be %(limit)s or more",
    "must be %(limit)s or less",
    "must be more than %(limit)s",
    "must be less than %(limit)s",
    # what rules say
    "The rule “%(rule)s” refuses this: %(reason)s",
    "The rule “%(rule)s” warns: %(reason)s",
    "Line %(line)s, column %(column)s: %(flaw)s.",
    "%(wanted)s CPU is more than %(most)s",
    "%(wanted)s memory is more than %(most)s",
    "%(wanted)s storage is more than %(most)s",
    "It has no CPU limit",
    "It has no memory limit",
    "It has no storage limit",
    # what quotas say
    "The organisation %(name)s may use %(allowed)s %(resource)s; %(used)s used, %(asked)s more asked. "
    "Stop or delete something, or ask for a larger quota.",
    "The project %(name)s may use %(allowed)s %(resource)s; %(used)s used, %(asked)s more asked. "
    "Stop or delete something, or ask for a larger quota.",
    "The organisation %(name)s has a CPU quota of %(allowed)s: give the instance a CPU limit.",
    "The project %(name)s has a CPU quota of %(allowed)s: give the instance a CPU limit.",
    "The organisation %(name)s has a storage quota of %(allowed)s: give the instance a size of storage, such as 1Gi.",
    "The project %(name)s has a storage quota of %(allowed)s: give the instance a size of storage, such as 1Gi.",
    "instances",
    "memory",
    "storage",
    # roles, as the account page lists them
    "role %(role)s in %(tenant)s",
    "role %(role)s of the whole portal",
    "viewer",
    "developer",
    "operator",
    "tenant-admin",
    "portal-admin",
    # what adapters can do, as the plugins page lists it
    "model",
    "persona",
    "check",
    "hot-config",
    "model-query",
    # what was put right of what somebody pasted
    "Blanks or invisible letters around %(name)s were left out.",
    "the API key",
    "The address of the model was taken as %(address)s: a claw adds %(endings)s itself.",
    "The address of the model was taken as %(address)s.",
    "has %(letter)s as letter number %(place)s, which no request can carry; paste it again without that",
    "a line break",
)
"""What no single place in the code says; for the extraction only."""

_GAP = re.compile(r"%\((\w+)\)s")
_GIVEN = frozenset({"name", "names", "actor", "url", "address", "host", "path", "version"})
"""Gaps for what somebody named: a claw called "stopped" keeps its name in every language."""
_SHORT_GAP = "((?:(?!: ).)+?)"
"""Such a name is no sentence that tells of something."""
_ENOUGH = 4
"""So many letters of a pattern have to be fixed, or it would fit everything."""


def gettext(text: str, **values: Any) -> str:
    return str(flask_babel.gettext(text, **values))


def ngettext(one: str, many: str, num: int, **values: Any) -> str:
    return str(flask_babel.ngettext(one, many, num, **values))


def told(text: object) -> str:
    """What was said in English, in the reader's language as far as the catalogue knows it."""
    if isinstance(text, Message):
        return translate(text)
    said = "" if text is None else str(text)
    wanted = language()
    return said if not said or wanted == "en" else _told(wanted, said)


_WORDS_OF_REASON = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+")


def reason(text: object) -> str:
    """A reason, which is one word for programs, as people read it: "Config refused"."""
    said = told(text)
    if not _WORDS_OF_REASON.fullmatch(said):
        return said
    first, *rest = re.findall(r"[A-Z][a-z]+", said)
    return " ".join([first, *map(str.lower, rest)])


@functools.lru_cache(maxsize=8192)
def _told(wanted: str, said: str) -> str:
    catalogue = _catalogue(wanted)
    if said in catalogue:
        return catalogue[said]
    for pattern, names, template in _patterns(wanted):
        found = pattern.fullmatch(said)
        if found:
            told_as = zip(names, found.groups(), strict=True)
            values = {name: value if name in _GIVEN else _told(wanted, value) for name, value in told_as}
            return template % values
    return said


@functools.cache
def _catalogue(wanted: str) -> dict[str, str]:
    """Sentences without gaps."""
    return {key: value for key, value in _loaded(wanted).items() if not _GAP.search(key)}


def _loaded(wanted: str) -> dict[str, str]:
    """The catalogue itself: what Flask-Babel hands out depends on the request in which it is asked first."""
    loaded: dict[Any, str] = getattr(Translations.load(TRANSLATIONS, [wanted]), "_catalog", {})
    return {key: value for key, value in loaded.items() if isinstance(key, str) and key and value}


@functools.cache
def _patterns(wanted: str) -> tuple[tuple[re.Pattern[str], tuple[str, ...], str], ...]:
    """Sentences with gaps, those with the most fixed letters first."""
    found = [
        (_GAP.sub("", key), key, value)
        for key, value in _loaded(wanted).items()
        if _GAP.search(key) and len(re.sub(r"\W", "", _GAP.sub("", key))) >= _ENOUGH
    ]
    found.sort(key=lambda entry: (-len(entry[0]), entry[1]))
    return tuple((_regex(key), tuple(_GAP.findall(key)), value) for _fixed, key, value in found)


def _regex(key: str) -> re.Pattern[str]:
    parts = _GAP.split(key)  # fixed, name, fixed, name ... fixed
    gaps = [_SHORT_GAP if name in _GIVEN else "(.+?)" for name in parts[1::2]]
    return re.compile("".join(re.escape(part) + gap for part, gap in zip(parts[::2], [*gaps, ""], strict=True)), re.DOTALL)
