"""`sfumato up` as a person runs it: real Ray Serve, real edge, real clients; then what is left on disk is searched.

One start serves all tests of this file, since it takes a while; the last ones stop it and look at what it wrote.
"""

import base64
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import psutil
import pytest
from openai import BadRequestError, OpenAI

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


def fetch(url: str, method: str = "GET") -> bytes:
    request = urllib.request.Request(url, headers=CANARY_HEADERS, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
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
        "sweep": {"SFUMATO_SECRET", "SFUMATO_SERVE_SECRET"},
    }


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
    assert address.rpartition("/")[2].encode() not in database.read_bytes()
    objects = [file for file in (running.home / "objects").rglob("*") if file.is_file()]
    assert objects
    for file in objects:
        sealed, key = file.read_bytes(), file.relative_to(running.home / "objects").as_posix()
        assert b"PNG" not in sealed[:16]
        for secret in secrets:
            with pytest.raises(SealBroken):
                unseal(secret, key, sealed)
