"""`sfumato up` as a person runs it: real Ray Serve, real edge, real clients; then what is left on disk is searched.

One start serves all tests of this file, since it takes a while; the last ones stop it and look at what it wrote.
"""

import base64
import json
import re
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import psutil
import pytest
from openai import APIStatusError, BadRequestError, OpenAI

from cluster.home import free_port
from serve_app.storage.sealing import SealBroken, unseal
from tests.promises.running import Running, environment

CANARY = "xylocanaryprompt"
CANARY_HEADERS = {
    "user-agent": "xylocanaryagent",
    "referer": "http://localhost/xylocanaryreferer",
    "accept-language": "xy-xylocanarylanguage",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    env = environment(SFUMATO_SERVE_PORT=str(free_port()))
    up = Running(tmp_path_factory.mktemp("up"), env, free_port())
    yield up
    if up.process.poll() is None:
        up.stop()


@pytest.fixture
def client(running: Running) -> OpenAI:
    return OpenAI(base_url=f"{running.base}/v1", api_key="anonymous", max_retries=0, default_headers=CANARY_HEADERS)


def call(url: str, body: bytes | None = None, *, method: str | None = None, token: str = "anonymous") -> HTTPResponse:
    headers = CANARY_HEADERS | {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=60)


def fetch(url: str, method: str = "GET") -> bytes:
    try:
        with call(url, method=method) as reply:
            return reply.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise


def test_it_shows_a_first_picture_and_what_to_try(running: Running):
    lines = running.output.splitlines()
    assert lines[-1] == f"ready {running.base}"
    assert (running.directory / "sfumato-first.png").read_bytes().startswith(b"\x89PNG")
    told = running.output
    for word in ("address", "gone at", "curl", "from openai import OpenAI"):
        assert word in told


def test_the_openai_client_generates_by_address_and_inline(client: OpenAI):
    by_url = client.images.generate(prompt=f"a dog {CANARY}", n=2, size="128x128")
    assert by_url.data is not None
    assert [fetch(str(image.url))[:4] for image in by_url.data] == [b"\x89PNG"] * 2
    inline = client.images.generate(prompt=f"a cat {CANARY}", response_format="b64_json", output_format="webp")
    assert inline.data is not None
    assert base64.b64decode(str(inline.data[0].b64_json))[8:12] == b"WEBP"


def test_the_openai_client_streams_partial_images(client: OpenAI):
    events = list(client.images.generate(prompt=f"a castle {CANARY}", stream=True, partial_images=2))
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]


def test_a_mistake_is_a_typed_error_that_names_the_field(client: OpenAI):
    with pytest.raises(BadRequestError) as caught:
        client.images.generate(prompt=CANARY, size="1024x1024")
    assert caught.value.param == "size"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (json.dumps({"prompt": CANARY, "xylocanaryfield": CANARY}).encode(), "unknown_parameter"),
        (json.dumps({"prompt": [CANARY]}).encode(), "invalid_value"),
        (f'{{"prompt": "{CANARY}'.encode(), "invalid_json"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/generations"])
def test_a_body_that_makes_no_sense_is_refused(running: Running, path: str, body: bytes, code: str):
    with pytest.raises(urllib.error.HTTPError) as caught:
        call(running.base + path, body)
    with caught.value as reply:
        assert (reply.code, json.load(reply)["error"]["code"]) == (400, code)


def test_a_job_tells_its_story_to_whoever_comes_back(running: Running):
    order = {"prompt": f"a red kite {CANARY}", "negative_prompt": f"blur {CANARY}", "guidance": 3.0}
    with call(f"{running.base}/v1/generations", json.dumps(order).encode()) as reply:
        job, token = json.load(reply), reply.headers["x-sfumato-session"]
    with call(f"{running.base}/v1/generations/{job['id']}/events", token=token) as story:
        told = [line.split()[1] for line in iter(lambda: story.readline().decode(), "") if line.startswith("event:")]
    assert told[-1] == "succeeded"
    with call(f"{running.base}/v1/generations/{job['id']}", token=token) as reply:
        assert fetch(json.load(reply)["images"][0]["url"]).startswith(b"\x89PNG")


def test_a_store_that_takes_nothing_fails_the_call_with_its_code(running: Running, client: OpenAI):
    objects = running.home / "objects"
    away = objects.rename(running.home / "away")
    objects.write_text("a file in its place")
    try:
        with pytest.raises(APIStatusError) as caught:
            client.images.generate(prompt=f"a cup {CANARY}")
    finally:
        objects.unlink()
        away.rename(objects)
    assert (caught.value.status_code, caught.value.code) == (503, "store_unavailable")


def test_a_replica_killed_under_a_prompt_is_replaced_and_the_picture_comes(running: Running, client: OpenAI):
    stream = client.images.generate(prompt=f"a boat {CANARY}", stream=True, partial_images=3, extra_body={"steps": 50})
    events = iter(stream)
    next(events)
    family = psutil.Process(running.process.pid).children(recursive=True)
    next(process for process in family if "ray::ServeReplica" in "".join(process.cmdline())).kill()
    assert [event.type for event in events][-1] == "image_generation.completed"


def test_nothing_goes_on_for_a_client_that_left(running: Running, client: OpenAI):
    stream = client.images.generate(
        prompt=f"a tiger {CANARY}", n=10, stream=True, partial_images=3, extra_body={"steps": 50}
    )
    next(iter(stream))
    assert running.busy_rows() > 0
    stream.close()
    deadline = time.monotonic() + 2
    while running.busy_rows():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_deleted_picture_is_gone_at_once(client: OpenAI):
    made = client.images.generate(prompt=f"a robot {CANARY}")
    assert made.data is not None
    url = str(made.data[0].url)
    fetch(url)
    fetch(url, "DELETE")
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(url)
    assert caught.value.code == 410


def test_each_process_has_the_secrets_it_needs_and_no_other(running: Running):
    secrets = {running.secret(name): name for name in ("SFUMATO_SECRET", "SFUMATO_SERVE_SECRET", "RAY_AUTH_TOKEN")}
    held: dict[str, set[str]] = {"edge": set(), "serve": set(), "sweep": set()}
    for child in psutil.Process(running.process.pid).children():
        command = next(word for word in child.cmdline() if word in held)
        for process in (child, *child.children(recursive=True)):
            held[command] |= {secrets[value] for value in process.environ().values() if value in secrets}
    assert held == {
        "edge": {"SFUMATO_SECRET", "SFUMATO_SERVE_SECRET"},
        "serve": {"SFUMATO_SERVE_SECRET", "RAY_AUTH_TOKEN"},
        "sweep": set(),
    }


def test_no_prompt_is_in_rays_own_logs_which_go_with_it(running: Running):
    logs = [file for file in (running.home / "ray").rglob("session_2*/logs/**/*") if file.is_file()]
    assert any("replica" in file.name for file in logs)
    assert not [file for file in logs if CANARY.encode() in file.read_bytes()]


def test_no_process_dumps_its_memory_or_keeps_temporary_files_outside_home(running: Running):
    whole = psutil.Process(running.process.pid)
    children, everyone = whole.children(), whole.children(recursive=True)
    for process in (whole, *everyone):
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), process
    rays = [process for process in everyone if process not in children]  # the others set it for themselves
    places = [process.environ().get("TMPDIR") for process in rays if "PATH" in process.environ()]  # workers hide theirs
    assert {Path(place or "/").parent for place in places} == {running.home / "tmp"}
    [raylet] = [process for process in rays if process.name() == "raylet"]
    [session] = [word.partition("=")[2] for word in raylet.cmdline() if word.startswith("--session_dir=")]
    assert Path(session).resolve().is_relative_to(running.home), "where Ray spills"


def test_it_ends_every_process_and_a_second_start_picks_up(running: Running):
    address = next(line.split()[1] for line in running.output.splitlines() if line.startswith("address"))
    assert running.stop() == []
    port = int(running.base.rpartition(":")[2])
    again = Running(running.directory, environment(), port, "--no-ray")
    try:
        assert fetch(address).startswith(b"\x89PNG")
    finally:
        assert again.stop() == []


def test_no_prompt_and_no_browser_header_is_in_anything_it_wrote(running: Running):
    assert running.process.poll() is not None, "runs after it has stopped"
    words = [word.encode() for word in ("xylocanary", "a tiger", "a castle")]
    for file in running.directory.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not [word for word in words if word in data], file
        assert "xylocanary" not in str(file)


def test_a_stolen_database_and_store_show_no_picture_and_no_address(running: Running):
    """The thief has both, and tries what they hold: every value of every row as a secret for every object."""
    database = running.home / "sfumato.db"
    rows = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    tables = [name for (name,) in rows.execute("select name from sqlite_master where type = 'table'")]
    values = {value for table in tables for row in rows.execute(f"select * from {table}") for value in row}
    rows.close()
    secrets = {bytes(v) if isinstance(v, bytes) else str(v).encode() for v in values if v is not None}
    address = next(line.split()[1] for line in running.output.splitlines() if line.startswith("address"))
    for file in running.home.rglob("*"):
        assert not file.is_file() or address.rpartition("/")[2].encode() not in file.read_bytes(), file
    objects = [file for file in (running.home / "objects").rglob("*") if file.is_file()]
    assert objects
    for file in objects:
        sealed, key = file.read_bytes(), file.relative_to(running.home / "objects").as_posix()
        assert b"PNG" not in sealed[:16]
        for secret in secrets:
            with pytest.raises(SealBroken):
                unseal(secret, key, sealed)
