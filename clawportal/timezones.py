"""Names of time zones: which there are, and what somebody probably meant who wrote `UTC+8` or `Asia/Beijing`."""

from __future__ import annotations

import difflib
import functools
import re
from zoneinfo import available_timezones

from clawportal.messages import _m

_OFFSET = re.compile(r"(?:utc|gmt|etc/gmt|z)?\s*([+-])\s*(\d{1,2})(?::?(\d\d))?")
_PARTS_OF_HOURS = {
    "+3:30": "Asia/Tehran", "+4:30": "Asia/Kabul", "+5:30": "Asia/Kolkata", "+5:45": "Asia/Kathmandu", "+6:30": "Asia/Yangon",
    "+8:45": "Australia/Eucla", "+9:30": "Australia/Darwin", "+10:30": "Australia/Lord_Howe", "+12:45": "Pacific/Chatham",
    "-2:30": "America/St_Johns", "-3:30": "America/St_Johns", "-9:30": "Pacific/Marquesas",
}  # fmt: skip
_MEANT = {
    "Asia/Shanghai": "beijing peking shenzhen guangzhou canton hangzhou nanjing chengdu wuhan china",
    "Asia/Shanghai or America/Chicago": "cst",
    "Asia/Kolkata": "ist delhi new_delhi mumbai bombay bangalore bengaluru chennai hyderabad india",
    "Asia/Tokyo": "jst osaka kyoto",
    "Asia/Seoul": "kst busan",
    "Asia/Singapore": "sgt",
    "Asia/Hong_Kong": "hkt",
    "Asia/Ho_Chi_Minh": "hanoi ict",
    "Asia/Dubai": "gst abu_dhabi",
    "Asia/Karachi": "pkt islamabad",
    "Europe/Berlin": "mez mesz munich münchen hamburg frankfurt köln cologne germany",
    "Europe/Paris": "cest lyon france",
    "Europe/London": "bst britain england",
    "Europe/Madrid": "barcelona spain",
    "Europe/Rome": "milan milano italy",
    "Europe/Zurich": "geneva bern basel",
    "Europe/Helsinki": "eest",
    "Europe/Moscow": "msk russia",
    "America/New_York": "edt washington boston miami atlanta us/est",
    "America/Chicago": "cdt dallas houston austin",
    "America/Denver": "mdt",
    "America/Los_Angeles": "pst pdt san_francisco seattle los_angeles california pt",
    "America/Sao_Paulo": "brt brasilia rio brazil",
    "Australia/Sydney": "aest aedt canberra",
    "Pacific/Auckland": "nzst nzdt wellington",
}
_ALIASES = {word: name for name, words in _MEANT.items() for word in words.split()}


def check(name: str) -> str:
    """The name, if there is such a zone. ValueError says what was probably meant."""
    known = _known()
    if not known or name in known:  # a machine without the list cannot judge; the claw will
        return name
    meant = suggestion(name)
    if meant:
        raise ValueError(_m("is not the name of a time zone; did you mean %(meant)s?", meant=meant))
    raise ValueError(_m("is not the name of a time zone; write for example UTC, Asia/Shanghai or Europe/Berlin"))


def suggestion(name: str) -> str:
    """Empty where nothing comes to mind."""
    folded = re.sub(r"\s+", "_", name.strip().casefold())
    if found := _OFFSET.fullmatch(folded.replace("_", "")):
        return _of_offset(found[1], int(found[2]), found[3] or "00")
    city = folded.rpartition("/")[2]
    for word in dict.fromkeys((folded, city)):
        if meant := _by_folded().get(word) or _ALIASES.get(word):
            return meant
    close = difflib.get_close_matches(folded[:60], _by_folded(), n=1, cutoff=0.8)
    return _by_folded()[close[0]] if close else ""


def _of_offset(sign: str, hours: int, minutes: str) -> str:
    """`Etc/GMT-8` is eight hours east: the sign is the other way round than people write it."""
    if minutes != "00":
        return _PARTS_OF_HOURS.get(f"{sign}{hours}:{minutes}", "")
    if hours == 0:
        return "UTC"
    name = f"Etc/GMT{'-' if sign == '+' else '+'}{hours}"
    return name if name in _known() else ""


@functools.cache
def _known() -> frozenset[str]:
    """Kept: looking through the files of the machine takes a tenth of a second."""
    return frozenset(available_timezones())


@functools.cache
def _by_folded() -> dict[str, str]:
    """By the whole name and by the city alone, in small letters."""
    whole = {name.casefold(): name for name in sorted(_known())}
    cities = {key.rpartition("/")[2]: name for key, name in whole.items() if "/" in key and not key.startswith("etc/")}
    return cities | whole
