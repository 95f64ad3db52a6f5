"""What holds for the files and words of a claw wherever it runs; for the tests of single places."""

from __future__ import annotations

import io
from typing import Any

from tests.conftest import Person, Server, wait_for
from tests.realtime.conftest import Browser


class Short(io.BytesIO):
    """Says that there is more of it than comes."""

    def tell(self) -> int:
        at = super().tell()
        return at + 100_000 if at == len(self.getbuffer()) else at


def files_and_words(admin: Person, made: str, patience: float) -> None:
    """Files go in and out of a running claw, links lead nowhere, and its place says something about it."""
    base = f"instances/{made}/files"

    def put(path: str, data: bytes | Short, more: str = "") -> Any:
        address = f"{base}/content?path={path}{more}"
        stream = data if isinstance(data, Short) else io.BytesIO(data)
        return admin.request("PUT", address, input_stream=stream, content_type="application/octet-stream")

    large = bytes(range(256)) * 8192
    assert put("work/from people/größe.bin", large).status_code == 201
    assert put("work/from people/größe.bin", b"small").get_json()["code"] == "exists"
    assert admin.get(f"{base}/content?path=work/from people/größe.bin").data == large
    assert put("work/from people/größe.bin", b"small", "&overwrite=true").status_code == 201
    assert put("work/from people/größe.bin", Short(b"cut" * 50_000), "&overwrite=true").status_code == 400, "it was cut off"
    [item] = admin.get(f"{base}?path=work/from people").get_json()["items"]
    assert (item["name"], item["kind"], item["size"]) == ("größe.bin", "file", 5)
    assert admin.get(f"{base}/content?path=work/from people/größe.bin").data == b"small"
    assert b"small" in admin.get(f"{base}/content?path=work/from people").data
    assert admin.get(f"{base}/content?path=work/none").status_code == 404
    assert admin.get(f"{base}?path=work/none").status_code == 404
    assert admin.get(f"{base}?path=work/../state").status_code == 422
    wait_for(lambda: admin.get(f"instances/{made}/runtime-events").get_json()["items"], patience, "its place says something")


def console_answers(server: Server, made: str, line: str, words: tuple[str, ...], patience: float, *, leave: bool = True) -> None:
    """A command that somebody types into the console of a claw; with `leave` the shell is left with code 3 afterwards."""
    one = Browser(server.url, "/console").connect(server.admin.token)
    try:
        one.say("open", {"instance_id": made, "columns": 80, "rows": 24})
        one.hears("opened", patience)
        one.say("input", {"data": line})

        def shown() -> str:
            told: list[Any] = [entry["replay"] for entry in one.all("opened")] + [entry["data"] for entry in one.all("output")]
            return b"".join(told).decode("utf-8", "replace")

        wait_for(lambda: all(word in shown() for word in words), patience, "the shell answers")
        if leave:
            one.say("input", {"data": "exit 3\n"})
            assert one.hears("ended", patience)["code"] == 3
    finally:
        one.client.disconnect()
