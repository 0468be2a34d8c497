"""A worker that speaks the protocol and says what no sound one says: `python odd_worker.py HOW [FLAG_FILE]`.

With a file, only the first process to make it is odd; the next ones are the real worker.
"""

import os
import runpy
import sys
import time
from pathlib import Path

import msgspec

HOW = sys.argv[1]
NAN = float("nan")


def say(message: object) -> None:
    body = message if isinstance(message, bytes) else msgspec.msgpack.encode(message)
    sys.stdout.buffer.write(len(body).to_bytes(4, "big") + body)
    sys.stdout.buffer.flush()


def heard() -> object:
    length = int.from_bytes(sys.stdin.buffer.read(4), "big")
    return msgspec.msgpack.decode(sys.stdin.buffer.read(length)) if length else sys.exit()


def answer(number: int, texts: list[str], categories: int) -> object:
    rows = [[0.5] * categories for _ in texts]
    match HOW:
        case "too few texts":
            return {"number": number, "scores": rows[1:]}
        case "too many texts":
            return {"number": number, "scores": [*rows, rows[0]]}
        case "too few categories":
            return {"number": number, "scores": [row[1:] for row in rows]}
        case "no number":
            return {"number": number, "scores": [[NAN] * categories for _ in texts]}
        case "beyond one":
            return {"number": number, "scores": [[7.0] * categories for _ in texts]}
        case "below zero":
            return {"number": number, "scores": [[-0.5] * categories for _ in texts]}
        case "another question":
            return {"number": number + 1, "scores": rows}
        case "no message":
            return b"\xc1"
        case "other shape":
            return ["scores"]
        case "texts in the answer":
            return {"number": number, "scores": [texts]}
        case "how many":
            return {"number": number, "scores": [[len(texts) / 100] * categories for _ in texts]}
        case "silence":
            time.sleep(600)
        case "endless":
            sys.stdout.buffer.write(b"\xff" * 1024)
            sys.stdout.buffer.flush()
            time.sleep(600)
        case "death":
            sys.exit(1)
    raise ValueError(HOW)


def main() -> None:
    if len(sys.argv) > 2:
        try:
            Path(sys.argv[2]).touch(exist_ok=False)
        except FileExistsError:
            runpy.run_module("edge.domain.moderation.meaning_worker", run_name="__main__")
            return
    if HOW == "refuses to start":
        os._exit(3)
    exemplars = heard()
    assert isinstance(exemplars, dict)
    categories = len(exemplars["categories"])
    say(categories + 1 if HOW == "starts oddly" else categories)
    while True:
        question = heard()
        assert isinstance(question, dict)
        say(answer(question["number"], question["texts"], categories))


if __name__ == "__main__":
    main()
