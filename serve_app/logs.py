"""What processes say of themselves: a line an event, allow-listed fields, no text that a stranger may have written.

Our own events keep their words, whose arguments are ids and numbers. Of other libraries' records stays who, how bad,
where and which kind of exception: their text may quote an address, a header or a body, and an address shows a picture.
Exceptions are told by their kinds and our lines, never by their text. All that is left out where a record is made,
before any handler, Ray's among them, can see it. A terminal gets plain lines, a file gets JSON.
"""

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import TextIO

import msgspec

OURS = ("policies", "serve_app", "edge", "cluster", "sfumato")
FIELDS = ("request_id", "method", "route", "status", "ms")
LEFT_OUT = "a library's words are left out"
MAX_ERRORS, MAX_FRAMES = 8, 12
_ROOT = Path(__file__).parents[1]

log = logging.getLogger("sfumato.process")


class Record(logging.LogRecord):
    """One event as every handler sees it. `kinds` and `frames`: of the exception that came with it, outermost first.

    `logging.makeLogRecord` names nobody, and writes text over `msg` afterwards, which nothing here reads.
    """

    def __init__(
        self, name: str | None, level: int | None, pathname: str, lineno: int, msg: object, args: object,
        exc_info: object = None, func: str | None = None, sinfo: str | None = None, **_: object,
    ) -> None:  # fmt: skip
        self.is_ours = (name or "").partition(".")[0] in OURS
        self._event = _words(msg, args) if self.is_ours else LEFT_OUT
        super().__init__(name or "", level or logging.NOTSET, pathname, lineno, self._event, (), None, func, None)
        errors = list(_with_causes(_error(exc_info)))
        self.kinds = [type(error).__qualname__ for error in errors]
        self.frames = list(dict.fromkeys(frame for error in errors for frame in _frames(error)))[:MAX_FRAMES]

    def getMessage(self) -> str:
        return self._event

    def fields(self) -> dict[str, object]:
        """What a line holds, in this order."""
        held: dict[str, object] = {
            "time": datetime.fromtimestamp(self.created, UTC).isoformat(timespec="milliseconds"),
            "level": self.levelname,
            "logger": self.name,
            "event": self._event,
        }
        if self.is_ours:
            held |= {name: _safe(getattr(self, name)) for name in FIELDS if hasattr(self, name)}
        else:
            held["at"] = f"{_short(self.pathname)}:{self.lineno}"
        if self.kinds:
            held |= {"exception": self.kinds, "frames": self.frames}
        return held


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return msgspec.json.encode(_fields(record), enc_hook=str).decode()


class PlainLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        held = _fields(record)
        words = [str(held.pop(name)) for name in ("time", "level", "logger", "event")]
        line = " ".join([*words, *(f"{name}={value}" for name, value in held.items())])
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def configure_logging(stream: TextIO | None = None) -> None:
    """Once, as a process starts. To `stream`, by default standard error."""
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(PlainLines() if out.isatty() else JsonLines())
    logging.raiseExceptions = False  # a handler that fails would print what it could not write
    logging.setLogRecordFactory(Record)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.WARNING)
    for package in OURS:
        logging.getLogger(package).setLevel(logging.INFO)
    adopt_loggers()
    sys.excepthook = _tell_uncaught
    sys.unraisablehook = _tell_unraisable
    threading.excepthook = _tell_uncaught_in_thread
    warnings.showwarning = _tell_warning


def adopt_loggers() -> None:
    """Again where a library has given its loggers handlers of their own: all speak through ours, and only to warn."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
            if logger.name.partition(".")[0] not in OURS and 0 < logger.level < logging.WARNING:
                logger.setLevel(logging.WARNING)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """A record that was made before we had a say is told like a library's."""
    if not isinstance(record, Record):
        record = Record("", record.levelno, record.pathname, record.lineno, "", (), record.exc_info)
    return record.fields()


def _words(msg: object, args: object) -> str:
    """Ours. What is neither number, time nor string is named by its kind: an exception's text is somebody else's."""
    if not isinstance(msg, str):
        return type(msg).__qualname__
    if not args or not isinstance(args, tuple):
        return msg
    try:
        return msg % tuple(map(_safe, args))
    except (TypeError, ValueError):
        return msg


def _safe(value: object) -> object:
    if value is None or isinstance(value, str | int | float | Real | date | Path):
        return value
    return type(value).__qualname__


def _error(exc_info: object) -> BaseException | None:
    """Of all that `exc_info=` may be by the time a record is made."""
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1] if len(exc_info) == 3 else None
    return exc_info if isinstance(exc_info, BaseException) else None


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """With what a group holds, and with what each was raised from."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < MAX_ERRORS:
        error = waiting.pop(0)
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        waiting.append(error.__cause__ or (None if error.__suppress_context__ else error.__context__))


def _frames(error: BaseException) -> Iterator[str]:
    """Our lines on the way, and the innermost whosever it is."""
    walked = list(traceback.walk_tb(error.__traceback__))
    for place, (frame, line) in enumerate(walked):
        ours = _our_path(frame.f_code.co_filename)
        if ours or place == len(walked) - 1:
            yield f"{ours or _short(frame.f_code.co_filename)}:{line} {frame.f_code.co_name}"


def _our_path(filename: str) -> str | None:
    path = Path(filename)
    if not path.is_relative_to(_ROOT):
        return None
    inside = path.relative_to(_ROOT)
    return inside.as_posix() if inside.parts[0] in OURS else None


def _short(filename: str) -> str:
    """Enough to find a library's file by."""
    return "/".join(Path(filename).parts[-3:])


def _tell_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("this process ends by an exception", exc_info=(kind, error, trace))


def _tell_uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None:
        log.error("a thread ended by an exception", exc_info=given.exc_value)


def _tell_unraisable(given: "sys.UnraisableHookArgs") -> None:
    log.error("an exception that nobody can catch", exc_info=given.exc_value)


def _tell_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: object = None,
    line: str | None = None,
) -> None:  # fmt: skip
    log.warning("%s at %s:%d", category.__qualname__, _short(filename), lineno)
