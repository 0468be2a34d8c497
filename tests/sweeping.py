"""A sweeper over the parts of an edge under test."""

from cluster.day_keys import DayKeys
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
