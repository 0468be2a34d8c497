"""A real edge whose jobs wait for ever: `python -m cluster.bench.waiting_edge`, for streams that stay idle.

The process, the server and every route are the product's. Only the generator draws nothing, and nobody is refused.
"""

import asyncio
import os
from collections.abc import AsyncGenerator

from cluster.bench.edge_apps import PLENTY, InstantGenerator, with_limits
from cluster.edge_server import run_edge
from edge.settings import Settings
from policies.load import load_policies
from serve_app.contract import Event, GenerateRequest, Queued
from serve_app.logs import configure_logging


class WaitingGenerator(InstantGenerator):
    """Says where a request waits, and nothing more until it is cancelled."""

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        yield Queued(0, 60.0)
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing was opened."""


def main() -> None:
    configure_logging()
    settings = Settings.from_env(os.environ)
    policies = with_limits(load_policies(settings.policies), PLENTY)
    asyncio.run(run_edge(settings, policies, "127.0.0.1", WaitingGenerator()))


if __name__ == "__main__":
    main()
