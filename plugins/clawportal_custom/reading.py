"""Reads the files of kinds of claw, and says in a sentence what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from clawportal.sdk import _m
from clawportal_custom.document import Kind
from clawportal_custom.placeholders import flaw_in
from clawportal_custom.settings_form import settings_model

FOLDER = "claws"
"""In the data folder of the portal."""
MOST_BYTES, MOST_FILES = 1_000_000, 200
_ALWAYS = ("state", "work", "home", "tmp", "bind_host", "persona", "instance.name", "instance.id", "organization", "version")
_MODEL = ("model.name", "model.base_url", "model.provider", "model.dialect")


@dataclass(frozen=True)
class FileFault:
    file: Path
    message: str


@dataclass
class Found:
    kinds: list[Kind] = field(default_factory=list)
    faults: list[FileFault] = field(default_factory=list)


class Unusable(ValueError):
    """A file is no kind of claw; the words say where and why."""


def read_all(data_dir: str) -> Found:
    """Every kind in the folder, in the order of the names of the files."""
    found = Found()
    for file in _files(Path(data_dir) / FOLDER):
        try:
            kind = read(file)
            if twin := next((known for known in found.kinds if known.name == kind.name), None):
                raise Unusable(_m("name: another file describes the kind %(name)s already.", name=twin.name))
            found.kinds.append(kind)
        except Unusable as error:
            found.faults.append(FileFault(file, str(error)))
    return found


def _files(folder: Path) -> list[Path]:
    try:
        names = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and not path.name.startswith("."))
    except OSError:
        return []
    return names[:MOST_FILES]


def read(file: Path) -> Kind:
    """One kind; Unusable with the first few things that are wrong."""
    try:
        return parsed(_document(_text(file)))
    except Unusable:
        raise
    except Exception as error:  # numbers and types that break a parser: they cost this kind, and no other
        raise Unusable(_m("The file cannot be read: %(error)s.", error=" ".join(str(error).split())[:300])) from error


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise Unusable(_m("The file has more than %(most)s bytes.", most=f"{MOST_BYTES:,}"))
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Unusable(_m("The file cannot be read: %(error)s.", error=error.strerror or error)) from error
    except UnicodeDecodeError as error:
        raise Unusable(_m("The file is no text in UTF-8.")) from error


def _document(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unusable(_m("The file is no YAML: %(error)s.", error=" ".join(str(error).split()))) from error


def parsed(document: Any) -> Kind:
    """A kind of what YAML gave."""
    try:
        kind = Kind.model_validate(document)
    except ValidationError as error:
        raise Unusable(_sentences(error)) from error
    if flaws := list(_flaws(kind)):
        raise Unusable(" ".join(flaws[:5]))
    return kind


def _sentences(error: ValidationError) -> str:
    told = []
    for one in error.errors()[:5]:
        path = ".".join(map(str, one["loc"])) or _m("the file")
        words = str(one["msg"]).removeprefix("Value error, ").removesuffix(".")
        told.append(f"{path}: {words}.")
    return " ".join(told)


# ---- what types cannot say


def _flaws(kind: Kind) -> Iterator[str]:
    yield from _flaws_of_names(kind)
    yield from _flaws_of_secrets(kind)
    known = placeholders(kind)
    for path, text, more in _texts(kind):
        if flaw := flaw_in(text, {*known, *more}, kind.secret_names):
            yield f"{path}: {flaw}"
    yield from _flaws_of_settings(kind)


def _flaws_of_names(kind: Kind) -> Iterator[str]:
    versions = [one.version for one in kind.versions]
    if kind.default and kind.default not in versions:
        yield _m("default: %(name)s is none of the versions.", name=repr(kind.default))
    for path, names in (
        ("versions", versions),
        ("files", [f"{one.root}/{one.path}" for one in kind.files]),
        ("processes", [one.name for one in kind.processes]),
        ("ports", [str(one.port) for one in kind.ports.values()]),
    ):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield _m("%(path)s: %(names)s stands there twice.", path=path, names=", ".join(twice))
    for path, port in (("health.port", kind.health.port), ("chat.port", kind.chat.port if kind.chat else "")):
        if port and port not in kind.ports:
            yield _m("%(path)s: %(name)s is none of the ports.", path=path, name=repr(port))
    for version in kind.versions:
        yield from _flaws_of_install(version.version, [(one.name, one.needs) for one in version.install])


def _flaws_of_install(version: str, install: Iterable[tuple[str, list[str]]]) -> Iterator[str]:
    before: set[str] = set()
    for name, needs in install:
        if name in before or not set(needs) <= before:
            yield _m(
                "versions.%(version)s.install: %(name)s stands there twice, or before what it needs.", version=version, name=name
            )
        before.add(name)


def _flaws_of_secrets(kind: Kind) -> Iterator[str]:
    named = [
        (f"processes.{process.name}.secret_environment.{variable}", secret)
        for process in kind.processes
        for variable, secret in process.secret_environment.items()
    ]
    named += [(f"ports.{name}.proof.secret", port.proof.secret) for name, port in kind.ports.items() if port.proof]
    named += [("chat.token", kind.chat.token)] if kind.chat and kind.chat.token else []
    for path, secret in named:
        if secret not in kind.secret_names:
            yield _m("%(path)s: there is no secret %(name)s. It is a setting of the type secret, one of generated_secrets, or "
                     "model_api_key.", path=path, name=repr(secret))  # fmt: skip
    given = {secret for process in kind.processes for secret in process.secret_environment.values()}
    for name in kind.secret_names - given:
        yield _m("%(name)s: no process gets this secret. Name it under secret_environment.", name=name)


def placeholders(kind: Kind) -> set[str]:
    """The names that stand for something everywhere in this kind."""
    names = {*_ALWAYS, *(f"port.{name}" for name in kind.ports), *(_MODEL if kind.model else ())}
    names |= {f"setting.{name}" for name, setting in kind.settings.items() if setting.type != "secret"}
    installed = [{one.name for one in version.install} for version in kind.versions]
    return names | {f"artifact.{name}" for name in set.intersection(*installed)}


def _texts(kind: Kind) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Path, text, and what it may name besides."""
    for file in kind.files:
        yield f"files.{file.path}", file.content, ()
    for process in kind.processes:
        for number, part in enumerate(process.command):
            yield f"processes.{process.name}.command.{number}", part, ()
        for name, value in process.environment.items():
            yield f"processes.{process.name}.environment.{name}", value, ()
    for part in kind.health.command:
        yield "health.command", part, ()
    for part in kind.check.command if kind.check else ():
        yield "check.command", part, ("candidate",)
    if kind.chat:
        yield "chat.model", kind.chat.model, ()


def _flaws_of_settings(kind: Kind) -> Iterator[str]:
    try:
        settings_model(kind).model_validate({})
    except ValidationError as error:
        for one in error.errors()[:3]:
            yield f"settings.{one['loc'][0] if one['loc'] else ''}.default: {one['msg']}."
    except Exception as error:  # pydantic has errors of its own for patterns that cannot be
        yield _m("settings: %(error)s", error=" ".join(str(error).split())[:300])
