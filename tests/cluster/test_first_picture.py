"""The first picture, from a server that answers as the edge does."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cluster.first_picture import PICTURE, PictureFailed, first_picture

PNG = b"\x89PNG and so on"
ADDRESS = "https://pictures.example/i/abc"  # behind a proxy that is not there


class Edge(ThreadingHTTPServer):
    status = 200
    is_http = True

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Edge

    def do_POST(self) -> None:
        assert self.path == "/v1/images/generations"
        self.rfile.read(int(self.headers["content-length"]))
        if not self.server.is_http:
            self.wfile.write(b"220 mail.example\r\n")
            return
        image = {"url": ADDRESS, "expires_at": 1_800_000_000}
        self._answer(self.server.status, json.dumps({"data": [image], "error": {"code": "overloaded"}}).encode())

    def do_GET(self) -> None:
        assert self.path == "/i/abc"
        self._answer(200, PNG)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edge]:
    monkeypatch.chdir(tmp_path)
    with Edge(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_it_is_saved_here_and_told_under_its_public_address(edge: Edge):
    told = first_picture(edge.base_url)
    assert PICTURE.read_bytes() == PNG
    for line in (f"address  {ADDRESS}", "gone at  2027-01-15", "curl", f'base_url="{edge.base_url}/v1"'):
        assert line in told


def test_a_refusal_is_told_with_its_reason(edge: Edge):
    edge.status = 503
    with pytest.raises(PictureFailed, match=r"503.*overloaded"):
        first_picture(edge.base_url)
    assert not PICTURE.exists()


def test_a_proxy_is_not_asked_about_this_machine(edge: Edge, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    first_picture(edge.base_url)
    assert PICTURE.read_bytes() == PNG


def test_an_answer_that_is_no_http_is_told(edge: Edge):
    edge.is_http = False
    with pytest.raises(PictureFailed, match=r"failed: 220 mail\.example"):
        first_picture(edge.base_url)


def test_a_directory_that_takes_no_file_is_told(edge: Edge):
    PICTURE.mkdir()
    with pytest.raises(PictureFailed, match=r"sfumato-first\.png cannot be written in the current directory"):
        first_picture(edge.base_url)
