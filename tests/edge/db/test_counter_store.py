"""The store that edges share keeps nothing on a disk, and is asked before anything is put there."""

import pytest

from edge.db.counter_store import open_counter_store, require_forgetful
from edge.errors import SettingsError
from tests.servers import free_ports, valkey


async def test_a_store_in_memory_is_accepted(valkey_url: str) -> None:
    async with open_counter_store(valkey_url) as store:
        await require_forgetful(store)


@pytest.mark.parametrize("settings", [{"save": "60 1"}, {"appendonly": "yes"}])
async def test_a_store_that_writes_to_disk_is_refused(settings: dict[str, str]) -> None:
    with valkey(**settings) as url:
        async with open_counter_store(url) as store:
            with pytest.raises(SettingsError, match="writes to disk"):
                await require_forgetful(store)


async def test_a_store_that_may_not_be_asked_is_refused(valkey_url: str) -> None:
    async with open_counter_store(valkey_url) as operator:
        await operator.acl_setuser("edge", enabled=True, nopass=True, keys="*", commands=["+@all", "-config"])
    async with open_counter_store(valkey_url.replace("//", "//edge:any@")) as store:
        with pytest.raises(SettingsError, match="CONFIG GET"):
            await require_forgetful(store)


async def test_a_store_that_is_down_keeps_no_edge_from_starting() -> None:
    [port] = free_ports(1)
    async with open_counter_store(f"valkey://127.0.0.1:{port}") as store:
        await require_forgetful(store)
