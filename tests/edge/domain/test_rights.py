"""What is held is found wherever it lies: a table that has owners and is not listed fails here."""

from typing import get_args

import pytest

from edge.db.rows import Base, OwnedRow
from edge.domain.rights import holdings, own_rows
from edge.domain.sessions import read_session
from tests.edge.edges import Edge

SUBJECTLESS = {"holds no subject", "does not reach it"}  # of the policy's words about erasure
NAMELESS = {"limit_counters"}  # under names that nobody turns back: the policy says so, and whose they are is not known


@pytest.fixture
def edge(edge_on_each_database: Edge) -> Edge:
    return edge_on_each_database


def test_every_table_with_an_owner_is_looked_into() -> None:
    with_owner = {mapper.class_ for mapper in Base.registry.mappers if "owner_id" in mapper.columns}
    assert set(get_args(OwnedRow)) == with_owner


async def test_every_class_of_the_policy_that_has_a_subject_is_answered(edge: Edge) -> None:
    reply = await edge.draw()
    session = read_session(reply.headers["x-sfumato-session"], edge.services.keyring, edge.clock())
    assert session
    policies, subject = edge.services.policies, edge.services.keyring.subject(session.owner)
    held = await edge.services.database.read(lambda db: holdings(db, session.owner, policies, 0, edge.clock(), subject))
    with_subject = [
        name for name, kept in policies.retention.classes.by_name().items() if kept.erasure not in SUBJECTLESS
    ]
    assert [each.name for each in held.classes] == [name for name in with_subject if name not in NAMELESS]


async def test_rows_in_full_hold_no_secret_and_nothing_sealed(edge: Edge) -> None:
    reply = await edge.draw()
    session = read_session(reply.headers["x-sfumato-session"], edge.services.keyring, edge.clock())
    assert session
    subject = edge.services.keyring.subject(session.owner)
    rows = await edge.services.database.read(lambda db: own_rows(db, session.owner, subject))
    assert {table for table, found in rows.items() if found} == {"job", "image", "prompt", "session"}
    columns = {name for found in rows.values() for row in found for name in row}
    assert not columns & {"key", "digest", "token_digest", "sealed"}
    assert rows["image"][0]["delete_at"] == "2027-01-15T09:00:00+00:00"
