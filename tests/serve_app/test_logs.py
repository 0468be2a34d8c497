"""Logs that cannot tell: a canary in every kind of exception, warning and library record, and in no output."""

import json
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serve_app.errors import EngineFailed
from tests.told import told

ROOT = Path(__file__).parents[2]
CANARY = "xylocanary"
BEGIN = f"""
import asyncio, logging, sys, threading, time, warnings
from serve_app.logs import configure_logging
configure_logging()
ours, theirs = logging.getLogger("edge.x"), logging.getLogger("httpx2")
class Quotes(Exception): pass
def fail(): raise Quotes("{CANARY}")
"""
WAYS = {
    "uncaught": "fail()",
    "with its cause": "try: fail()\nexcept Quotes as error: raise KeyError('{c}') from error",
    "in a group": "raise ExceptionGroup('{c}', [ValueError('{c}'), Quotes('{c}')])",
    "in a thread": "thread = threading.Thread(target=fail, name='{c}'); thread.start(); thread.join()",
    "in a task that nobody awaits": (
        "async def fail_too(): fail()\n"
        "async def main(): asyncio.create_task(fail_too(), name='{c}'); await asyncio.sleep(0.01)\n"
        "asyncio.run(main())"
    ),
    "in a callback of the loop": (
        "async def main(): asyncio.get_running_loop().call_soon(fail); await asyncio.sleep(0.01)\nasyncio.run(main())"
    ),
    "by the loop's own handler": (
        "async def main(): asyncio.get_running_loop().call_exception_handler(\n"
        "    {{'message': '{c}', 'exception': Quotes('{c}')}})\n"
        "asyncio.run(main())"
    ),
    "out of asyncio.run": "async def main(): fail()\nasyncio.run(main())",
    "in __del__": "class Held:\n    def __del__(self): fail()\nHeld()",
    "logged by us": "try: fail()\nexcept Quotes: ours.exception('failed')",
    "logged by us as an argument": "ours.error('failed: %s', Quotes('{c}'))",
    "logged by us as the message": "ours.error(Quotes('{c}'))",
    "logged by a library": "try: fail()\nexcept Quotes as e: theirs.error('GET %s {c}', e, exc_info=True)",
    "in a warning": "warnings.warn('Quotes {c}')",
    "in a warning of a library": "warnings.warn_explicit('Quotes {c}', UserWarning, '/x/lib.py', 3)",
    "in extra fields": "ours.error('Quotes', extra={{'prompt': '{c}', 'request_id': 'r'}})",
    "in a library's extra fields": "theirs.error('{c}', extra={{'route': '{c}'}}); ours.error('Quotes')",
    "in a line that does not fit": "ours.error('Quotes %d', 'x'); theirs.error('%d {c}', '{c}')",
    "in the stack": "theirs.warning('{c}', stack_info=True); ours.error('Quotes')",
    "by a handler of a library": (
        "theirs.addHandler(logging.StreamHandler(sys.stdout)); theirs.warning('{c}'); ours.error('Quotes')"
    ),
    "by a record that is made of a dictionary": (
        "theirs.addHandler(logging.StreamHandler(sys.stdout))\n"
        "theirs.handle(logging.makeLogRecord({{'name': 'edge.x', 'levelno': 40, 'msg': '{c} %s', 'args': ('{c}',)}}))\n"
        "ours.error('Quotes')"
    ),
    "by a handler that fails": (
        "class Broken(logging.StreamHandler):\n    def format(self, record): raise ValueError('{c}')\n"
        "theirs.addHandler(Broken()); theirs.warning('{c}'); ours.error('Quotes')"
    ),
    "by granian": (
        "from granian.log import configure_logging as theirs_too, LogLevels; theirs_too(LogLevels.info)\n"
        "from serve_app.logs import adopt_loggers; adopt_loggers()\n"
        "logging.getLogger('_granian').error('{c}', exc_info=Quotes('{c}'))"
    ),
    "by libraries that only inform": (
        "theirs.info('{c}'); logging.getLogger('urllib3.x').debug('{c}'); ours.error('Quotes')"
    ),
    "by ray": (
        "import ray\nfrom serve_app.logs import adopt_loggers; adopt_loggers()\n"
        "logging.getLogger('ray.serve').error('{c}', exc_info=Quotes('{c}'))"
    ),
}


def run(code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=60, check=False, env=env, **more
    )


@pytest.mark.parametrize("way", WAYS)
def test_no_canary_comes_out(way: str):
    ended = run(WAYS[way].format(c=CANARY))
    output = ended.stdout + ended.stderr
    assert CANARY not in output
    assert "Quotes" in output or "UserWarning" in output, "it was told, though"
    assert "Traceback" not in output
    for line in ended.stderr.splitlines():
        assert {"time", "level", "logger", "event"} <= set(json.loads(line))


def test_an_exception_is_told_by_its_kinds_and_our_lines():
    with told() as lines:
        try:
            try:
                raise ValueError("canary")
            except ValueError as error:
                raise EngineFailed("canary") from error
        except EngineFailed:
            logging.getLogger("edge.x").exception("job %s failed", "a" * 32)
    [line] = lines
    assert line["event"] == f"job {'a' * 32} failed"
    assert line["exception"] == ["EngineFailed", "ValueError"]
    assert all(frame.startswith("tests/serve_app/test_logs.py:") for frame in line["frames"])


def test_a_library_is_told_by_its_name_and_place():
    with told() as lines:
        logging.getLogger("httpx2").warning("GET %s", "https://canary/")
    [line] = lines
    assert (line["logger"], line["level"]) == ("httpx2", "WARNING")
    assert line["at"].startswith("tests/serve_app/test_logs.py:")
    assert "canary" not in str(line)


def test_only_listed_fields_come_through():
    with told() as lines:
        logging.getLogger("edge.x").info("request", extra={"request_id": "r", "status": 200, "prompt": "canary"})
    [line] = lines
    assert (line["request_id"], line["status"]) == ("r", 200)
    assert "prompt" not in line


def test_a_terminal_gets_plain_lines_that_cannot_steer_it(tmp_path: Path):
    keeper, terminal = pty.openpty()
    code = r"ours.warning('met %s', '\x1b[2J\nWARNING forged'); ours.error('next')"
    with os.fdopen(terminal, "wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + code], stderr=stderr, env=dict(os.environ) | {"PYTHONPATH": str(ROOT)}
        )
        assert process.wait(60) == 0
        said = os.read(keeper, 4096).decode().splitlines()
    os.close(keeper)
    assert [line.split(" ", 1)[1] for line in said] == [
        r"WARNING edge.x met \x1b[2J\nWARNING forged",
        "ERROR edge.x next",
    ]


def test_a_record_that_was_made_before_is_told_like_a_librarys():
    with told() as lines:
        logging.root.handle(logging.LogRecord("edge.x", 40, "x.py", 1, "canary", (), None))
    assert "canary" not in str(lines)
