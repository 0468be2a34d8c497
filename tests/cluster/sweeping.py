"""A sweeper over the parts of an edge under test."""

from cluster.sweep import Parts
from tests.edge.edges import Edge


def parts_of(edge: Edge) -> Parts:
    services = edge.services
    return Parts(
        clock=edge.clock,
        store=services.store,
        store_settings=services.settings.store,
        database=services.database,
        policies=services.policies,
        keys=edge.keys,
    )
