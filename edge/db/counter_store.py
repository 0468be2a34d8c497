"""The store that edges share for what is counted and told while it happens. Nothing of it may reach a disk."""

from valkey.asyncio import Valkey
from valkey.exceptions import ConnectionError as NoConnection
from valkey.exceptions import ResponseError, ValkeyError

from edge.errors import SettingsError

ANSWER_S = 0.25  # a slower store counts as down: callers wait for it
CONNECT_S = 1.0


def open_counter_store(url: str) -> Valkey:
    """Connects with its first command. `url` was checked by `edge.settings`."""
    return Valkey.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=CONNECT_S)


async def require_forgetful(store: Valkey) -> None:
    """Raises SettingsError where the server would write what it holds to a disk, or cannot be asked.

    One that does not answer is no reason not to start: it is asked again when it comes.
    """
    try:
        settings = await store.config_get("save", "appendonly")  # pyright: ignore[reportArgumentType]  names are patterns too
    except NoConnection:
        return
    except ResponseError as error:
        raise SettingsError(
            "SFUMATO_VALKEY_URL: the server must allow CONFIG GET, to show that it keeps nothing"
        ) from error
    except ValkeyError:
        return
    if settings.get("save") or settings.get("appendonly") != "no":
        raise SettingsError('SFUMATO_VALKEY_URL: the server writes to disk; start it with --save "" --appendonly no')
