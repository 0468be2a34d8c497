"""`sfumato receipt verify`: whether a receipt of a deletion is genuine, in plain words; offline with saved keys."""

import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cyclopts import App
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cluster.terminal import harmless, one_line
from edge.domain.receipts import Claims, ReceiptBroken, read_receipt

KEYS_AT = "/.well-known/jwks.json"
LOCAL = "http://localhost:8080"
TIMEOUT_S = 10.0

receipt = App(name="receipt", help="Receipts of deletions.")


class NoKeys(Exception):
    """The key set could not be read; the message says from where."""


@receipt.command
def verify(file: str, /, *, jwks: str = LOCAL) -> None:
    """Say whether a receipt is genuine and what it says. Status 0: genuine; 1: not; 2: it could not be checked.

    Parameters
    ----------
    file
        Where the receipt lies, as text; `-` reads it from standard input.
    jwks
        The service that issued it, by its address, or a file with what it answers at /.well-known/jwks.json.
    """
    with one_line(OSError, UnicodeDecodeError, NoKeys):
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        keys = keys_of(jwks)
    try:
        claims = read_receipt(text, keys)
    except ReceiptBroken as error:
        print(f"Not genuine: {error}.")  # noqa: T201  its answer
        sys.exit(1)
    print("\n".join(map(harmless, in_plain_words(claims))))  # noqa: T201  its answer


def in_plain_words(claims: Claims) -> list[str]:
    counts = msgspec.to_builtins(claims.counts)
    gone = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
    lines = [
        f"Genuine. {claims.iss} says that at {_time(claims.completed_at)} it deleted: {', '.join(gone) or 'nothing'}.",
        *(
            f"  {store.name}: {store.method}{'' if store.is_done else '; it did not answer then'}"
            for store in claims.stores
        ),
        f"Backups are gone by {_time(claims.backups_gone_by)}.",
    ]
    if claims.retained:
        lines.append("What stays:")
    for each in claims.retained:
        until = f"until {_time(each.until)}" if each.until else "until it is answered"
        lines.append(f"  {each.what}, {until}: {each.why} ({each.law})")
    return [*lines, claims.undisclosed, f"Receipt {claims.jti}."]


def keys_of(source: str) -> dict[str, object]:
    """A set of one key at least, so that what does not fit is the receipt. Raises NoKeys, OSError."""
    try:
        found = msgspec.json.decode(_read(source), type=dict[str, object])
        if not KeySet.import_key_set(found).keys:  # pyright: ignore[reportArgumentType]  checked there
            raise NoKeys(f"{source} holds no key")
    except urllib.error.URLError as error:
        raise NoKeys(f"{source} does not answer with its keys: {error.reason}") from error
    except (msgspec.DecodeError, JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoKeys(f"{source} holds no key set") from error
    return found


def _read(source: str) -> bytes:
    if not source.startswith(("http://", "https://")):
        return Path(source).read_bytes()
    address = source if source.endswith(".json") else source.rstrip("/") + KEYS_AT
    with urllib.request.urlopen(address, timeout=TIMEOUT_S) as reply:
        return reply.read()


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
