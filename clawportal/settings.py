"""Everything that can be configured, in one typed class: from the environment (`CLAWPORTAL_*`) or `<data_dir>/clawportal.toml`.

Each field has its meaning, unit, default and reason; `docs/settings.md` is generated from here and a test holds it fresh.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from clawportal import pluginnames
from clawportal.messages import _m
from clawportal.paths import CONFIG_FILE, DEFAULT_DATA_DIR

if TYPE_CHECKING:
    from sqlalchemy import URL

CHANGEABLE: JsonDict = {"x-changeable": True}


def changeable_down_to(least: float) -> JsonDict:
    """Less can only be given to a portal that is started: it would keep everybody out who could correct it."""
    return CHANGEABLE | {"x-least": least}


"""`json_schema_extra` of a setting that may change while the portal runs: whoever uses it asks for it each time. It has a title.
A secret is never one, as stored values are shown."""


class Unreadable(ValueError):
    """The file of settings cannot be read; the words say why."""


class _File(TomlConfigSettingsSource):
    """`clawportal.toml`, as editors of all systems save it. Its tables are the sections of features."""

    tables = False

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        try:
            document = tomllib.loads(file_path.read_bytes().decode("utf-8-sig"))
            return {name: value for name, value in document.items() if isinstance(value, dict) == self.tables}
        except UnicodeDecodeError as error:
            raise Unreadable(f"{file_path} is no text in UTF-8; save it as such") from error
        except tomllib.TOMLDecodeError as error:
            raise Unreadable(f"{file_path} cannot be read: {error}") from error
        except OSError as error:
            raise Unreadable(f"{file_path} cannot be read: {error.strerror}") from error


class Values(BaseModel):
    """What can be set, wherever it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_dir: Path = Field(
        Path(DEFAULT_DATA_DIR),
        description="Folder for the database, keys, instances, installed claws and logs. Back this up.",
    )
    database_url: str = Field(
        "",
        description="SQLAlchemy address of the database. Empty: SQLite in the data folder. PostgreSQL: postgresql+psycopg://...",
    )
    host: str = Field("127.0.0.1", description="Address that the web server listens on. 0.0.0.0 for all.")
    port: int = Field(8800, ge=1, le=65535, description="Port that the web server listens on.")
    public_url: str = Field(
        "",
        description="How browsers reach the portal, such as https://claws.example.com or https://example.com/claws. With https, "
        "cookies are sent only so.",
    )
    threads: int = Field(
        64, ge=8, le=512, description="Threads for ordinary requests. Each open live page takes one more, up to max_viewers."
    )
    max_viewers: int = Field(
        600,
        ge=1,
        le=2000,
        description="Live pages and streams at a time; above it a page asks again later. One person may have a tenth of them, "
        "one organisation two thirds where there are several. A viewer costs 0.11 MB.",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=5,
        description="How many reverse proxies in front set X-Forwarded-For and X-Forwarded-Proto. 0: none is believed.",
    )
    plugins: str = Field(
        "", description="Comma-separated names of the plugins to load. Empty: the bundled ones and all that are installed."
    )
    plugin_path: str = Field(
        "",
        description="Folders with further plugins, with colons between: what `pip install --target FOLDER` put there is found "
        "like an installed one. For the portal of one file, and where nothing can be installed. Nobody else may write there.",
    )
    log_level: str = Field("info", description="Of debug, info, warning, error.")
    log_format: str = Field("text", description="text for people, json for a log collector.")
    jobs: bool = Field(True, description="Whether this process runs background work. Off for a process that only serves pages.")
    reconcile_workers: int = Field(
        8,
        ge=1,
        le=64,
        description="Instances that are worked on at a time. They mostly wait for claws, so more than cores is fine.",
    )
    concurrent_starts: int = Field(
        8,
        ge=1,
        le=256,
        title=_m("Claws that start at a time"),
        description=_m("Claws that may be starting at a time in one cluster, so that a returning machine is not overrun."),
        json_schema_extra=CHANGEABLE,
    )
    cluster_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        title=_m("Patience with a cluster"),
        description=_m("A cluster that leaves a question open for so long counts as one that does not answer, seconds."),
        json_schema_extra=changeable_down_to(1),
    )
    lease_seconds: float = Field(
        15.0,
        ge=3,
        le=300,
        description="Where several portals share one database: so many seconds after one has died, another takes over its "
        "clusters.",
    )
    resync_seconds: float = Field(
        20.0, ge=1, description="How often the whole state of each cluster is compared, seconds; in between, changes are pushed."
    )
    health_seconds: float = Field(
        30.0,
        ge=1,
        le=86_400,
        title=_m("Time between questions whether a claw is well"),
        description=_m("How often a running claw is asked whether it is well, seconds."),
        json_schema_extra=CHANGEABLE,
    )
    sample_seconds: float = Field(
        15.0,
        ge=1,
        le=3600,
        title=_m("Time between measurements"),
        description=_m("How often CPU and memory are measured, seconds."),
        json_schema_extra=CHANGEABLE,
    )
    port_range: str = Field(
        "20000-29999",
        description="Ports given to claws on this machine. Below 32768, so that outgoing connections never take one.",
    )
    pip_index_url: str = Field("", description="Package index for claws written in Python, for networks without internet.")
    npm_registry: str = Field("", description="Package registry for claws written in JavaScript, for networks without internet.")
    password_sign_in: bool = Field(
        True,
        title=_m("Signing in with a password"),
        description=_m(
            "Whether everybody may sign in with a password. Off, while there is another way to sign in: only "
            "administrators of the portal, at /login?password=1."
        ),
        json_schema_extra=CHANGEABLE,
    )
    reserve_mib: int = Field(
        256,
        ge=0,
        le=1_048_576,
        description="Room on the disk of the data folder that is kept free for the portal itself, MiB: below it new instances, "
        "starts on this machine and uploads are refused, while signing in, stopping and deleting go on. 0: none.",
    )
    upload_mib: int = Field(
        1024,
        ge=1,
        le=1_048_576,
        title=_m("Largest upload"),
        description=_m("Largest file that people may upload into a claw, MiB. It is never held in memory."),
        json_schema_extra=CHANGEABLE,
    )
    session_hours: float = Field(
        12.0,
        gt=0,
        le=8760,
        title=_m("Length of a browser session"),
        description=_m("A browser session ends after so many hours without use."),
        json_schema_extra=changeable_down_to(0.25),
    )
    rate_limit: str = Field(
        "6000 per minute",
        description="Requests of one user, token or (when nobody is signed in) address. Several with commas between. Empty: any.",
    )
    rate_limit_storage: str = Field(
        "memory://",
        description="Where requests are counted: memory:// in each process, redis://host:6379 for all (with clawportal[redis]).",
    )
    access_minutes: float = Field(
        15.0,
        gt=0,
        le=1440,
        title=_m("Life of an access token"),
        description=_m("An access token of an API client is good for so many minutes; then it is refreshed."),
        json_schema_extra=changeable_down_to(1),
    )
    refresh_days: float = Field(
        30.0,
        gt=0,
        le=3650,
        title=_m("Life of an API client"),
        description=_m("An API client has to sign in again after so many days without refreshing."),
        json_schema_extra=CHANGEABLE,
    )
    event_days: int = Field(
        90,
        ge=1,
        le=36_500,
        title=_m("How long events are kept"),
        description=_m("Events and finished operations are kept so many days."),
        json_schema_extra=CHANGEABLE,
    )
    audit_days: int = Field(
        400, ge=1, description="Entries of the audit are kept so many days; what is left still verifies. A year and a month."
    )
    destroyed_days: int = Field(
        14,
        ge=0,
        le=36_500,
        title=_m("How long deleted instances are kept"),
        description=_m("Rows of deleted instances are kept so many days, for the timeline."),
        json_schema_extra=CHANGEABLE,
    )
    docs_public: bool = Field(
        False,
        title=_m("Open API document"),
        description=_m("Whether the API document can be read without signing in."),
        json_schema_extra=CHANGEABLE,
    )

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        if any(letter in ":\0" or ord(letter) < 32 for letter in str(value)):
            raise ValueError("must have no colon and no line end in it: lists of folders are separated by colons")
        try:
            return value.expanduser().resolve()
        except (RuntimeError, OSError) as error:
            raise ValueError(f"must be a folder: {error}") from error

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: str) -> str:
        """`postgres://` and `postgresql://` are what hosting services hand out."""
        scheme, separator, rest = value.strip().partition("://")
        if not value.strip():
            return ""
        scheme = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}.get(scheme.lower(), scheme)
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            known = make_url(f"{scheme}{separator}{rest}").get_backend_name() in ("sqlite", "postgresql")
        except (ArgumentError, ValueError):
            known = False
        if not known:
            raise ValueError("must be the address of a PostgreSQL database, such as postgresql://user:password@host/name")
        return f"{scheme}{separator}{rest}"

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value.strip())
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            good = False
        if value.strip() and (not good or parts.query or parts.fragment or "@" in parts.netloc):
            raise ValueError("must be an address such as https://claws.example.com or https://example.com/claws")
        return value.strip().rstrip("/")

    @field_validator("rate_limit_storage")
    @classmethod
    def _storage(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("memory", "redis", "rediss", "redis+unix", "redis+sentinel", "redis+cluster"):
            raise ValueError("must be memory:// or the address of a Redis, such as redis://host:6379")
        return value

    @field_validator("log_format")
    @classmethod
    def _format(cls, value: str) -> str:
        if value.lower() not in ("text", "json"):
            raise ValueError("must be text or json")
        return value.lower()

    @field_validator("port_range")
    @classmethod
    def _range(cls, value: str) -> str:
        first, _, last = value.partition("-")
        if not (first.isdigit() and last.isdigit() and 1024 <= int(first) < int(last) <= 65535):
            raise ValueError("must be two ports with a dash between, such as 20000-29999, from 1024 to 65535")
        return value

    @field_validator("rate_limit")
    @classmethod
    def _rate(cls, value: str) -> str:
        from limits import parse_many

        try:
            parse_many(value.replace(",", ";")) if value.strip() else None
        except ValueError as error:
            raise ValueError("must be such as: 6000 per minute, or: 100 per second, 3000 per minute") from error
        return value.strip()

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError("must be debug, info, warning or error")
        return value.lower()

    @property
    def port_bounds(self) -> tuple[int, int]:
        first, _, last = self.port_range.partition("-")
        return int(first), int(last)

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.database_file}"

    @property
    def database_file(self) -> Path:
        """Of SQLite, where no other database is set."""
        return self.data_dir / "clawportal.db"

    @property
    def database_address(self) -> URL:
        """For SQLAlchemy; a folder may have letters that an address cannot."""
        from sqlalchemy import URL, make_url

        return make_url(self.database_url) if self.database_url else URL.create("sqlite", database=str(self.database_file))

    @property
    def secure_cookies(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def plugin_names(self) -> tuple[str, ...]:
        return pluginnames.names(self.plugins)

    @property
    def plugin_folders(self) -> tuple[Path, ...]:
        return pluginnames.folders(self.plugin_path)


class Settings(Values, BaseSettings):
    """The settings of one portal process."""

    model_config = SettingsConfigDict(env_prefix="CLAWPORTAL_", extra="forbid", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        given = init_settings().get("data_dir") or os.environ.get("CLAWPORTAL_DATA_DIR") or DEFAULT_DATA_DIR
        return init_settings, env_settings, _File(settings_cls, toml_file=_file_in(str(given)))


class _Tables(_File):
    tables = True


def tables_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The sections in the file of settings."""
    file = folder / CONFIG_FILE
    return _Tables(Settings, toml_file=file)._read_file(file) if file.is_file() else {}


def in_file(folder: Path) -> dict[str, dict[str, Any]]:
    """What the file of settings has, by section; the portal's own settings are the section without a name."""
    file = folder / CONFIG_FILE
    return {"": _File(Settings, toml_file=file)._read_file(file), **tables_of(folder)} if file.is_file() else {}


def _file_in(folder: str) -> Path | None:
    """None where the folder itself is at fault; its own check says so."""
    try:
        return Path(folder).expanduser() / CONFIG_FILE if "\0" not in folder else None
    except RuntimeError:
        return None


def installer_environment(settings: Settings) -> dict[str, str]:
    """What package installers may see of the portal's environment: the way out of the network, and nothing else."""
    allowed = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir", "requests_ca_bundle",
               "curl_ca_bundle", "node_extra_ca_certs")  # fmt: skip
    taken = {
        name: value
        for name, value in os.environ.items()
        if name.lower() in allowed or name.startswith(("PIP_", "npm_config_", "NPM_CONFIG_"))
    }
    if settings.pip_index_url:
        taken["PIP_INDEX_URL"] = settings.pip_index_url
    if settings.npm_registry:
        taken["npm_config_registry"] = settings.npm_registry
    return taken
