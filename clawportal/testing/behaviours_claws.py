"""Real claws from end to end: their adapters plan, the place runs, and they answer."""

from __future__ import annotations

import http.client
import secrets as random_bytes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import pytest

from clawportal import bounded
from clawportal.contracts.adapters import Adapter, Health, HealthState, HttpAnswer
from clawportal.contracts.runtimes import Ref, Runtime
from clawportal.contracts.workloads import Artifact, Context, Image, Model, Workload
from clawportal.errors import GiveUp
from clawportal.runtime_helpers import output_of
from clawportal.testing.fakes import default_version, make_context
from clawportal.testing.lab import Lab
from clawportal.testing.trial import text_of


class RuntimeIO:
    """`AdapterIO` through a runtime, as core has it."""

    def __init__(self, runtime: Runtime, ref: Ref, ports: Mapping[str, int], secrets: Mapping[str, str]) -> None:
        self._runtime, self._ref, self._ports, self._secrets = runtime, ref, ports, secrets

    def address(self, port: str) -> tuple[str, int]:
        return self._runtime.open_port(self._ref, self._ports[port])

    def secret(self, name: str) -> str:
        return self._secrets.get(name, "")

    def get(self, port: str, path: str, *, headers: Mapping[str, str] | None = None, timeout: float = 2.0) -> HttpAnswer:
        connection = bounded.HTTPConnection(*self.address(port), bounded.Budget(timeout, 1_000_000))
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return HttpAnswer(answer.status, answer.read(1_000_000))
        except http.client.HTTPException as error:
            raise OSError(f"this is no HTTP answer: {error!r}") from error
        finally:
            connection.close()

    def read_file(self, root: str, path: str, limit: int = 1_000_000) -> bytes:
        return self._runtime.read_file(self._ref, root, path, limit)

    def run(self, argv: Sequence[str], timeout: float) -> tuple[int, bytes]:
        return output_of(self._runtime.exec(self._ref, argv), timeout)

    def last_lines(self, count: int = 50) -> tuple[str, ...]:
        return tuple(line.text for line in self._runtime.logs(self._ref, tail=count) if line is not None)


class Claw:
    """One claw of `adapter` in the place of a lab."""

    def __init__(self, lab: Lab, adapter: Adapter, image: Image | None, model: Model | None = None, **secrets: str) -> None:
        self.lab, self.adapter, self.image, self.model = lab, adapter, image, model
        self.version = default_version(adapter)
        self.ref = lab.ref(adapter.kind)
        self.secrets = {**{name: random_bytes.token_urlsafe(24) for name in adapter.generated_secrets(self.version)}, **secrets}
        self.ports = lab.ports(*(port.name for port in adapter.ports(self.version)))
        if not lab.can("allocated-ports"):
            self.ports = {port.name: port.default for port in adapter.ports(self.version)}
        self.context: Context

    def plan(self, spec: Mapping[str, Any] | None = None) -> Workload:
        adapter, version, runtime = self.adapter, self.version, self.lab.runtime
        context = make_context(
            adapter, version=version, spec=spec, secrets=self.secrets, ports=self.ports, model=self.model,
            layout=runtime.layout(self.ref, adapter.artifacts(version), self.image),
        )  # fmt: skip
        self.context = replace(context, instance_id=self.ref.instance_id, bind_host=self.lab.listen_host)
        plan = adapter.plan(self.context)
        if not self.lab.can("images"):
            return plan
        assert self.image, f"{adapter.kind} has no image"
        probe, seconds = adapter.probe(version), adapter.startup_seconds
        return replace(plan, artifacts=(), image=self.image, probe=probe, startup_seconds=seconds)

    @property
    def io(self) -> RuntimeIO:
        return RuntimeIO(self.lab.runtime, self.ref, self.ports, self.secrets)

    def start(self, workload: Workload) -> None:
        self.lab.apply(self.ref, workload, self.secrets)
        self.lab.running(self.ref)
        self.healthy()

    def health(self) -> Health | None:
        found = self.adapter.health(self.io, self.context)
        return found if found.state is HealthState.HEALTHY else None

    def healthy(self) -> None:
        self.lab.eventually(self.health, f"{self.ref} is healthy", self.adapter.startup_seconds + self.lab.terms.patience)

    def says(self, text: str, session: str = "s1") -> str:
        return text_of(self.adapter.chat(self.io, self.context, session, text))


class ModelServer(Protocol):
    """A model server that a test runs itself."""

    url: str


class ClawBehaviours:
    """`practice_bind` and `practice_url` say how a claw in the place reaches a model server of the test."""

    practice_bind = "127.0.0.1"

    def practice_url(self, model: ModelServer) -> str:
        return model.url

    def image_of(self, adapter: Adapter) -> Image | None:
        """The image that holds a claw's software; override it for one that was built on the spot."""
        return adapter.image(default_version(adapter))

    def install(self, lab: Lab, adapter: Adapter) -> None:
        """Bring a claw's software to the place."""
        version, image = default_version(adapter), self.image_of(adapter)
        needed = adapter.artifacts(version) if lab.can("artifacts") else ()
        if lab.can("images.pull") and image is not None:
            needed = (Artifact(adapter.kind, version, "image", (image.reference,)),)
        for artifact in needed:
            if not lab.runtime.prepared(artifact):
                lab.runtime.prepare(artifact, lambda fraction, words: None)

    @contextmanager
    def _echo(self, lab: Lab) -> Iterator[Claw]:
        adapter = pytest.importorskip("clawportal_echo").EchoAdapter()
        yield Claw(lab, adapter, self.image_of(adapter) if lab.can("images") else None)

    def test_the_echo_claw_lives_its_life(self, lab: Lab) -> None:
        """The echo claw is checked, starts, is healthy, answers, and remembers after a restart."""
        with self._echo(lab) as claw:
            plan = claw.plan()
            lab.runtime.check(claw.ref, plan, claw.secrets)
            claw.start(plan)
            assert claw.says("hello there") == "You said: hello there (message 1)"
            lab.stopped(claw.ref)
            assert claw.health() is None
            claw.start(plan)
            assert claw.says("again") == "You said: again (message 2)"

    def test_the_echo_claw_follows_a_change(self, lab: Lab) -> None:
        """A change that the echo claw can take while it runs arrives without a restart."""
        with self._echo(lab) as claw:
            plan = claw.plan()
            claw.start(plan)
            before = lab.runtime.inspect(claw.ref).incarnation
            changed = claw.plan({"settings": {"greeting": "Heard"}})
            assert claw.adapter.change(plan, changed).action == "hot"
            lab.runtime.write_files(claw.ref, changed)
            lab.eventually(lambda: claw.says("x").startswith("Heard: x"), "the new greeting is used")
            assert lab.runtime.inspect(claw.ref).incarnation == before

    def test_the_echo_claw_refuses_a_bad_configuration(self, lab: Lab) -> None:
        """The echo claw refuses a configuration in its own words, before it is started."""
        with self._echo(lab) as claw, pytest.raises(GiveUp, match="refuse is set"):
            lab.runtime.check(claw.ref, claw.plan({"settings": {"refuse": "always"}}), claw.secrets)

    @pytest.mark.claw
    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_nanobot_lives_its_life(self, lab: Lab) -> None:
        """nanobot is installed, checked, started, asks its model, answers, and remembers after a restart."""
        adapter = pytest.importorskip("clawportal_nanobot.adapter").NanobotAdapter()
        self.install(lab, adapter)
        server = pytest.importorskip("clawportal_practice.server").PracticeModel
        with server(self.practice_bind, api_key="key-of-the-model", delay=0.01) as practice:
            model = Model("practice", self.practice_url(practice), "practice")
            image = self.image_of(adapter) if lab.can("images") else None
            claw = Claw(lab, adapter, image, model, model_api_key="key-of-the-model")
            plan = claw.plan({"persona": "# Soul\nYou are Kim from the help desk. PERSONA-MARK"})
            lab.runtime.check(claw.ref, plan, claw.secrets)
            claw.start(plan)
            assert claw.says("first words").endswith("first words")
            assert "PERSONA-MARK" in practice.requests[-1].prompt
            lab.runtime.stop(claw.ref, plan.stop_grace)
            lab.down(claw.ref, plan.stop_grace + lab.terms.patience)
            claw.start(plan)
            assert claw.says("second words").endswith("second words")
            assert "first words" in practice.requests[-1].prompt, "its memory outlives a restart"
            assert "key-of-the-model" not in "".join(lab.texts(claw.ref))
