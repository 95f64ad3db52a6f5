"""Finds what people read and brings the catalogues of core and plugins up to date; new sentences are left to translate.

Each catalogue lies beside the code that says its sentences: `clawportal/translations`, `plugins/<name>/translations`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("zh_Hans",)
METHODS = [("**.py", "python"), ("**.html", "jinja2"), ("**/mail/**.txt", "jinja2")]
OPTIONS = {"**.html": {"encoding": "utf-8"}, "**/mail/**.txt": {"encoding": "utf-8"}}
KEYWORDS = {**DEFAULT_KEYWORDS, "lazy_gettext": None, "_l": None, "_m": None, "_n": None, "_mn": (1, 2)}


def packages() -> dict[Path, list[Path]]:
    """Folder of a catalogue -> where its sentences are said."""
    plugins = sorted(file.parent for file in ROOT.glob("plugins/*/__init__.py"))
    core = {ROOT / "clawportal" / "translations": [ROOT / "clawportal", ROOT / "templates"]}
    return core | {folder / "translations": [folder] for folder in plugins}


def sentences(folders: list[Path]) -> Iterator[tuple[str, str | tuple[str, ...]]]:
    """File, below the root, and each sentence in it."""
    for folder in folders:
        # names of methods are matched from the root on, wherever the search begins
        found = extract_from_dir(ROOT, METHODS, OPTIONS, KEYWORDS, directory_filter=partial(_leads_to, folder))
        yield from ((name, text) for name, _line, text, _comments, _context in found if (ROOT / name).is_relative_to(folder))


def _leads_to(folder: Path, path: str) -> bool:
    """Whether a folder lies above what is searched, or inside of it."""
    here = Path(path)
    return here.is_relative_to(folder) or folder.is_relative_to(here)


def template(folders: list[Path]) -> Catalog:
    found = Catalog()
    for file, text in sentences(folders):
        if text:
            found.add(text, locations=[(file, 1)])
    return found


def file_of(folder: Path, language: str) -> Path:
    return folder / language / "LC_MESSAGES" / "messages.po"


def update(folder: Path, language: str, wanted: Catalog) -> int:
    """How many sentences are not translated yet."""
    file = file_of(folder, language)
    known = Catalog(locale=language, project="clawportal", version="1", fuzzy=False, charset="utf-8")
    if file.exists():
        with file.open("rb") as source:
            known = read_po(source, locale=language)
    known.update(wanted, no_fuzzy_matching=True, update_creation_date=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as target:
        write_po(target, known, width=130, sort_output=True, ignore_obsolete=True, include_lineno=False)
    return sum(1 for message in known if message.id and not all(forms(message)))


def forms(message: Message) -> tuple[str, ...]:
    """Its translations: one, or one for each plural form."""
    return (message.string,) if isinstance(message.string, str) else tuple(message.string or ("",))


def main() -> None:
    for folder, places in packages().items():
        wanted = template(places)
        for language in LANGUAGES if len(wanted) else ():
            left = update(folder, language, wanted)
            if left:
                sys.stdout.write(f"{left} sentences are left to translate in {file_of(folder, language).relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
