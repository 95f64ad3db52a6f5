"""What sentences are in other languages: the catalogues of the core and of each plugin, compiled when they are needed.

A catalogue is written as `translations/<language>/LC_MESSAGES/messages.po`. A wheel brings the compiled file beside it; in a
checkout it is compiled here when it is missing or older, and kept in a cache folder where the checkout cannot be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from clawportal.messages import Message

log = logging.getLogger(__name__)

CORE = Path(__file__).resolve().parent / "translations"
SOURCE_LANGUAGE = "en"


def folder_of(module: ModuleType) -> Path | None:
    """The `translations` of a package, where it has some."""
    file = getattr(module, "__file__", None)
    found = Path(file).resolve().parent / "translations" if file else None
    return found if found is not None and found.is_dir() else None


class Catalogues:
    """Sentences of some folders, the first one first. Threads only read it."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(compiled(folder) for folder in folders)
        """In which the compiled catalogues lie."""
        self._loaded: dict[str, Any] = {}

    def of(self, language: str) -> Any:
        """All sentences of a language, as `gettext` has them."""
        from babel.support import Translations

        found = self._loaded.get(language)
        if found is None:
            found = Translations()
            for folder in reversed(self.folders):
                more = _read(folder, language)
                if isinstance(more, Translations):
                    found.merge(more)
                    found.plural = more.plural
            self._loaded[language] = found
        return found

    def text(self, text: str, language: str) -> str:
        """A message in a language. Plain text is what somebody said or named, and stays."""
        if language == SOURCE_LANGUAGE or not isinstance(text, Message):
            return text
        catalogue = self.of(language)

        def lookup(message: Message) -> str:
            if not message.plural:
                return str(catalogue.ugettext(message.id)) if message.id else ""
            number = message.parameters.get("n")
            return str(catalogue.ungettext(message.id, message.plural, number if isinstance(number, int) else 2))

        return text.text(lookup)

    def label(self, text: str, language: str) -> str:
        """A text of the code itself that came as a plain one, such as the title of a field in a JSON Schema."""
        if language == SOURCE_LANGUAGE or not text:
            return text
        return self.text(text, language) if isinstance(text, Message) else str(self.of(language).ugettext(text))


def translated(value: Any, catalogues: Catalogues, language: str) -> Any:
    """Data with the messages in it as texts of a language."""
    if isinstance(value, Message):
        return catalogues.text(value, language)
    if isinstance(value, dict):
        return {key: translated(item, catalogues, language) for key, item in value.items()}
    return [translated(item, catalogues, language) for item in value] if isinstance(value, list | tuple) else value


def _read(folder: Path, language: str) -> Any:
    """A compiled catalogue; one that is damaged, such as by a full disk, is made anew, or else its sentences stay as they are."""
    from babel.support import Translations  # late: command lines need none

    try:
        return Translations.load(folder, [language])
    except (OSError, ValueError, struct.error) as error:
        log.warning("the compiled sentences of %s in %s cannot be read, they are made anew: %s", language, folder, error)
    try:
        for file in folder.glob("*/LC_MESSAGES/*.po"):
            compile_file(file, file.with_suffix(".mo"))
        return Translations.load(folder, [language])
    except (OSError, ValueError, struct.error) as error:
        log.error("the sentences of %s in %s cannot be used: %s", language, folder, error)
        return None


# ---- compiling


def compiled(folder: Path) -> Path:
    """The folder in which each catalogue of `folder` lies compiled: itself, or one in the cache."""
    stale = [file for file in sorted(folder.glob("*/LC_MESSAGES/*.po")) if not _fresh(file, file.with_suffix(".mo"))]
    if not stale:
        return folder
    try:
        for file in stale:
            compile_file(file, file.with_suffix(".mo"))
        return folder
    except OSError as error:
        log.info("catalogues of %s are compiled into the cache: %s", folder, error)
    return _in_cache(folder)


def _fresh(file: Path, made: Path) -> bool:
    with contextlib.suppress(OSError):
        return made.stat().st_mtime_ns >= file.stat().st_mtime_ns
    return False


def _in_cache(folder: Path) -> Path:
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clawportal" / "translations" / name
    try:
        _fill(folder, base)
    except OSError as error:
        log.info("the cache cannot be written: %s", error)
        base = Path(tempfile.mkdtemp(prefix="clawportal-translations-"))
        _fill(folder, base)
    return base


def _fill(folder: Path, base: Path) -> None:
    for file in folder.glob("*/LC_MESSAGES/*.po"):
        made = base / file.relative_to(folder).with_suffix(".mo")
        if not _fresh(file, made):
            compile_file(file, made)


def compile_file(file: Path, made: Path) -> None:
    """Write the compiled form of a catalogue, at once as a whole: other processes may be reading it."""
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    with file.open("rb") as source:
        catalogue = read_po(source, locale=file.parent.parent.name)
    made.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=made.parent, prefix=".mo-")
    try:
        with os.fdopen(handle, "wb") as target:
            write_mo(target, catalogue)
        os.chmod(name, 0o644)
        os.replace(name, made)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
