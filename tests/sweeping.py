"""A sweeper over the parts of an edge under test, and what it tells the operator."""

from httpx2 import ASGITransport, AsyncClient

from cluster.day_keys import DayKeys
from cluster.operator_app import create_operator_app
from cluster.sweep import Parts
from edge.services import Services


def parts_of(services: Services, keys: DayKeys) -> Parts:
    return Parts(
        clock=services.clock,
        store=services.store,
        store_settings=services.settings.store,
        database=services.database,
        policies=services.policies,
        keys=keys,
    )


async def metrics_of(services: Services, keys: DayKeys) -> bytes:
    """In the event loop of the edge, to which the database's connections belong."""
    token = "o" * 32
    transport = ASGITransport(create_operator_app(parts_of(services, keys), token))  # pyright: ignore[reportArgumentType]
    async with AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        reply = await client.get("/metrics", headers={"authorization": f"Bearer {token}"})
    assert reply.status_code == 200
    return reply.content
