"""The session, and the one way to write: `with transaction() as after_commit:`.

SQLite is opened in WAL mode and writers begin IMMEDIATE behind a lock of this process: without it, read-modify-writes get
lost silently or fail with "database is locked". Reads never take the lock.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    JSON,
    ColumnElement,
    CursorResult,
    DateTime,
    Dialect,
    Executable,
    MetaData,
    Text,
    create_engine,
    event,
    func,
    inspect,
    text,
)
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from clawportal.errors import Conflict
from clawportal.folding import fold
from clawportal.messages import _m, as_json, from_json, packed, unpacked

if TYPE_CHECKING:
    from clawportal.contracts.features import Resource

log = logging.getLogger(__name__)


class Base(DeclarativeBase):
    """Base of all tables; the naming convention gives every constraint a name, which migrations on SQLite need."""

    resource: ClassVar[Resource]
    """What the table holds; every model names one that its feature declares."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# expire_on_commit is off because services hand objects to views after the commit; transaction() expires them at its start
db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})

AfterCommit = Callable[..., None]
"""`after_commit(function, *arguments)`: call it once the transaction is durable."""


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python, plain UTC in the database: SQLite has no time zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without time zone must not be stored")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class MessageText(TypeDecorator[str]):
    """A sentence: a `Message` comes back as one, plain text as plain text. The column begins with the English text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else packed(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else unpacked(value)

    def compare_values(self, x: Any, y: Any) -> bool:
        """Another message with the same text is another value."""
        return bool(x == y) and as_json(x) == as_json(y)


class MessageJSON(TypeDecorator[Any]):
    """JSON with messages in it; each is stored as an object of `id` and `parameters`."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return as_json(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return from_json(value)

    def compare_values(self, x: Any, y: Any) -> bool:
        return bool(x == y) and as_json(x) == as_json(y)


class _State(threading.local):
    def __init__(self) -> None:
        self.depth = 0
        self.writing = False
        self.callbacks: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.scratch: dict[str, Any] = {}


BEFORE_COMMIT: list[Callable[[dict[str, Any]], None]] = []
"""Called with `scratch()` as the last thing of every outermost transaction: for what takes a lock that all others wait for."""

_state = _State()
_write_lock = threading.RLock()
_SQLITE_PRAGMAS = (
    "journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=15000", "foreign_keys=ON", "temp_store=MEMORY",
    "cache_size=-8000", "journal_size_limit=67108864",
)  # fmt: skip


def configure_engine(engine: Engine) -> None:
    """Put the measured settings on every new SQLite connection."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves; pysqlite's own BEGIN comes too late
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.create_function("fold", 1, lambda text: None if text is None else fold(str(text)), deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if _state.writing else "BEGIN")


@contextlib.contextmanager
def transaction() -> Iterator[AfterCommit]:
    """One use case, one commit. Nested calls join the outer one; callbacks run after the outermost commit, in order.

    A failing callback is logged and the next one runs: the commit has already happened, and hints may be lost.
    """
    if _state.depth:
        _state.depth += 1
        try:
            yield _later
        finally:
            _state.depth -= 1
        return
    sqlite = db.engine.dialect.name == "sqlite"
    db.session.rollback()  # ends a read transaction that this request may have open; its snapshot is too old to write on
    if sqlite:
        _write_lock.acquire()
    try:
        _state.depth, _state.writing, _state.callbacks, _state.scratch = 1, True, [], {}
        db.session.expire_all()
        try:
            yield _later
            for hook in BEFORE_COMMIT:
                hook(_state.scratch)
            db.session.commit()
        except IntegrityError as error:
            db.session.rollback()
            raise _as_conflict(error) from error
        except BaseException:
            db.session.rollback()
            raise
        finally:
            _state.depth, _state.writing, _state.scratch = 0, False, {}
    finally:
        if sqlite:
            _write_lock.release()
    callbacks, _state.callbacks = _state.callbacks, []
    for function, arguments in callbacks:
        try:
            function(*arguments)
        except Exception:
            log.exception("after the commit, %s failed", getattr(function, "__qualname__", function))


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """What this thread begins on a connection of its own begins as a writer does. For migrations; not with `transaction()`."""
    with _write_lock:
        before, _state.writing = _state.writing, True
        try:
            yield
        finally:
            _state.writing = before


def changed_rows(statement: Executable) -> int:
    """Execute an UPDATE or DELETE and say how many rows it met."""
    return cast("CursorResult[Any]", db.session.execute(statement)).rowcount


def says(column: Any, text: str) -> ColumnElement[bool]:
    """Whether a text stands in a column, in large letters or small ones. For columns that have nothing folded beside them: SQLite
    folds only ASCII by itself."""
    found: ColumnElement[bool] = column.icontains(text, autoescape=True)
    if not text.isascii() and db.engine.dialect.name == "sqlite":
        found = func.fold(column).contains(fold(text), autoescape=True)
    return found


def scratch() -> dict[str, Any]:
    """What lasts as long as the running outermost transaction; gone with it, whether it is committed or taken back."""
    return _state.scratch


def in_transaction() -> bool:
    return _state.depth > 0


def _later(function: Callable[..., Any], *arguments: Any) -> None:
    _state.callbacks.append((function, arguments))


def _as_conflict(error: IntegrityError) -> Conflict:
    """The one place where a violated constraint becomes words."""
    log.info("constraint: %s", error.orig)
    return Conflict(
        _m("Something with the same name or number exists already, or what this refers to is gone. Reload and try again.")
    )


def in_use(address: URL) -> bool:
    """Whether somebody has an account in a database; told without the portal. One that is not there yet is not in use."""
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").exists():
        return False
    engine = create_engine(address)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("user_account"):
                return False
            return connection.execute(text("SELECT 1 FROM user_account")).first() is not None
    finally:
        engine.dispose()
