import pytest
from cryptography.exceptions import InvalidTag
from sqlalchemy import select

from edge.db.rows import ViewingSecretRow
from edge.domain.keyring import Keyring
from edge.domain.viewing_secrets import unwrap
from tests.edge.accounts import new_key
from tests.edge.edges import Edge


async def secrets(edge: Edge) -> list[ViewingSecretRow]:
    return await edge.services.database.read(lambda db: list(db.scalars(select(ViewingSecretRow))))


async def test_each_account_has_a_secret_of_its_own(edge: Edge) -> None:
    await new_key(edge)
    await new_key(edge)
    one, other = await secrets(edge)
    keyring = edge.services.keyring
    assert len({unwrap(one, keyring), unwrap(other, keyring)}) == 2
    assert one.id == one.account_id


async def test_a_secret_opens_neither_for_another_account_nor_elsewhere(edge: Edge) -> None:
    await new_key(edge)
    [row] = await secrets(edge)
    moved = ViewingSecretRow(id=row.id, account_id="0" * 32, wrapped=row.wrapped)
    renamed = ViewingSecretRow(id="0" * 32, account_id=row.account_id, wrapped=row.wrapped)
    for each, keyring in ((moved, edge.services.keyring), (renamed, edge.services.keyring), (row, Keyring("o" * 40))):
        with pytest.raises(InvalidTag):
            unwrap(each, keyring)
