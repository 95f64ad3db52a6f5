"""What stands in the file of a kind of claw. All of it is data: nothing in it is run by the portal itself."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from clawportal.sdk import _m
from clawportal.sdk.adapters import Strict, parse_quantity
from clawportal.sdk.providers import Dialect

MODEL_KEY = "model_api_key"
"""Name of the secret that holds the key of the claw's model."""
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,100}$"

Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Text = Annotated[str, StringConstraints(max_length=100_000, strip_whitespace=False)]
Path = Annotated[str, StringConstraints(pattern=r"^/[!-~]{0,200}$")]
Command = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=4000)]], Field(min_length=1, max_length=200)]


class Setting(Strict):
    """One field of the form."""

    type: Literal["string", "number", "integer", "boolean", "choice", "list", "secret"]
    title: Sentence
    description: Sentence
    default: Any = None
    required: bool = False
    choices: list[str] = Field(default_factory=list, max_length=200)
    minimum: float | None = Field(None, allow_inf_nan=False)
    maximum: float | None = Field(None, allow_inf_nan=False)
    max_length: int = Field(4000, ge=1, le=100_000)
    pattern: str = ""
    group: str = ""
    advanced: bool = False
    multiline: bool = False
    safe: list[Any] | None = None
    """Values that everybody may set who may configure a claw; any other needs the right to its console."""
    unique: str = ""
    """Why two claws must not have the same value, as a sentence."""

    @model_validator(mode="after")
    def _fits(self) -> Setting:
        if (self.type == "choice") != bool(self.choices):
            raise ValueError(_m("choices go with the type choice, and it needs them"))
        if self.type == "secret" and (self.default or self.safe is not None):
            raise ValueError(_m("a secret has neither a default nor safe values"))
        if self.type == "choice" and self.default is None:
            self.default = self.choices[0]
        if self.default is None:
            self.default = {"boolean": False, "list": [], "number": self.minimum or 0, "integer": int(self.minimum or 0)}.get(
                self.type, ""
            )
        if self.required and self.type not in ("string", "list", "secret"):
            raise ValueError(_m("required goes with string, list and secret; others always have a value"))
        if self.safe is not None and self.default not in self.safe:
            raise ValueError(_m("the default has to be among the safe values"))
        return self


class Install(Strict):
    """Software that is installed once per machine. In an image it is at the same path of `image.artifacts`."""

    name: Word
    kind: Literal["pip", "node", "npm"]
    version: str = Field(min_length=1, max_length=100)
    packages: list[str] = Field(min_length=1, max_length=50)
    needs: list[Word] = Field(default_factory=list)
    check: Command
    packages_expected: int = Field(20, ge=1)
    megabytes_expected: int = Field(100, ge=1)


class OwnImage(Strict):
    """Where places that run images find the claw."""

    reference: str = Field(min_length=1, max_length=300)
    artifacts: dict[Word, str] = Field(default_factory=dict)
    uid: int = Field(1000, ge=1)
    gid: int = Field(1000, ge=1)
    read_only_root: bool = True


class OwnVersion(Strict):
    version: str = Field(min_length=1, max_length=100)
    title: str = Field("", max_length=200)
    image: OwnImage | None = None
    install: list[Install] = Field(default_factory=list, max_length=10)


class OwnFile(Strict):
    path: str = Field(min_length=1, max_length=400)
    content: Text
    root: Literal["home", "state", "work"] = "state"
    mode: str = Field("0600", pattern=r"^0?[0-7]{3}$")
    seed_once: bool = False
    """Only where it does not exist; the claw owns it from then on."""
    hot: bool = False
    """The running claw notices when it changes."""

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\0" in value or not path.parts:
            raise ValueError(_m("must lie inside its folder: neither absolute nor with .."))
        return value

    @field_validator("mode")
    @classmethod
    def _not_for_all(cls, value: str) -> str:
        if int(value, 8) & 0o022:
            raise ValueError(_m("must not let others write"))
        return value


class OwnProcess(Strict):
    name: Word
    command: Command
    environment: dict[Annotated[str, StringConstraints(pattern=VARIABLE)], Text] = Field(default_factory=dict)
    secret_environment: dict[Annotated[str, StringConstraints(pattern=VARIABLE)], Name] = Field(default_factory=dict)
    """Variable -> name of the secret setting, of a generated secret, or `model_api_key`."""
    folder: Literal["home", "state", "work"] = "work"

    @model_validator(mode="after")
    def _once(self) -> OwnProcess:
        if both := sorted(set(self.environment) & set(self.secret_environment)):
            raise ValueError(_m("%(names)s stand under environment and secret_environment; name each once", names=both))
        return self


class Proof(Strict):
    """How the portal shows the claw that it may come in."""

    secret: Name
    header: str = Field("Authorization", pattern=r"^[A-Za-z][A-Za-z0-9-]{0,60}$")
    prefix: str = Field("Bearer ", max_length=40)


class OwnPort(Strict):
    port: int = Field(ge=1024, le=65535)
    title: Sentence
    page: bool = False
    """People find a page of the claw there."""
    proof: Proof | None = None


class Health(Strict):
    type: Literal["http", "tcp", "command"]
    port: Word = ""
    path: Path = "/"
    command: list[str] = Field(default_factory=list, max_length=50)
    """Run in the surroundings of the claw; exit code 0 means well."""
    contains: str = Field("", max_length=200)
    """With `http`: what has to stand in the answer."""
    timeout: float = Field(5, gt=0, le=60)

    @model_validator(mode="after")
    def _whole(self) -> Health:
        if (self.type == "command") != bool(self.command):
            raise ValueError(_m("command goes with the type command, and it needs one"))
        if (self.type != "command") != bool(self.port):
            raise ValueError(_m("port goes with the types http and tcp, and they need one"))
        return self


class Check(Strict):
    """The claw's own judgement of a new configuration, before the running one is replaced."""

    command: Command
    timeout: float = Field(60, gt=0, le=600)

    @field_validator("command")
    @classmethod
    def _looks(cls, value: list[str]) -> list[str]:
        if not any("${candidate}" in part for part in value):
            raise ValueError(_m("has to name ${candidate}, the folder with the files to judge"))
        return value


class Chat(Strict):
    """Chat completions of OpenAI's dialect at a port of the claw."""

    port: Word
    path: Path = "/v1/chat/completions"
    model: str = Field("", max_length=200)
    token: Name | None = None
    """Secret that is sent as a bearer token."""
    session_header: str = Field("", pattern=r"^$|^[A-Za-z][A-Za-z0-9-]{0,60}$")
    """Header with the id of the conversation, for claws that remember one. It is sent as `user` in any case."""
    silence: float = Field(120, gt=0, le=900)


class Model(Strict):
    """It needs a language model."""

    dialects: list[Dialect] = Field(["openai"], min_length=1)


class Log(Strict):
    """Names of the fields where each line of the log is JSON."""

    message: str = Field("message", max_length=60)
    level: str = Field("level", max_length=60)


class Kind(Strict):
    """A kind of claw."""

    apiVersion: Literal["clawportal.io/v1"]
    kind: Literal["ClawKind"]
    name: Word
    title: Sentence
    description: Sentence
    versions: list[OwnVersion] = Field(min_length=1, max_length=50)
    default: str = ""
    """Of the versions; empty: the first."""
    memory: str = "512Mi"
    startup_seconds: float = Field(60, gt=0, le=1800)
    stop_seconds: float = Field(10, gt=0, le=600)
    settings: dict[Name, Setting] = Field(default_factory=dict, max_length=200)
    generated_secrets: list[Name] = Field(default_factory=list, max_length=10)
    files: list[OwnFile] = Field(default_factory=list, max_length=100)
    processes: list[OwnProcess] = Field(min_length=1, max_length=10)
    ports: dict[Word, OwnPort] = Field(default_factory=dict, max_length=10)
    health: Health
    check: Check | None = None
    chat: Chat | None = None
    model: Model | None = None
    log: Log | None = None
    refused_exit_codes: list[int] = Field(default_factory=list, max_length=20)
    """With these it says that it does not like its configuration: starting it again cannot help."""

    @field_validator("memory")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if parse_quantity(value) <= 0:
            raise ValueError(_m("must be greater than zero"))
        return value

    @property
    def secret_names(self) -> frozenset[str]:
        """All that may be named under `secret_environment`."""
        own = {name for name, setting in self.settings.items() if setting.type == "secret"}
        return frozenset({*own, *self.generated_secrets, *([MODEL_KEY] if self.model else [])})
