"""What the product's log would hold, caught inside a test."""

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from serve_app.logs import JsonLines, Record


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@contextmanager
def told() -> Generator[list[dict[str, Any]]]:
    """Every line that is written meanwhile, by us and by libraries, of every level."""
    factory, level, collector = logging.getLogRecordFactory(), logging.root.level, _Collector()
    logging.setLogRecordFactory(Record)
    logging.root.addHandler(collector)
    logging.root.setLevel(logging.DEBUG)
    try:
        yield collector.lines
    finally:
        logging.root.removeHandler(collector)
        logging.root.setLevel(level)
        logging.setLogRecordFactory(factory)
