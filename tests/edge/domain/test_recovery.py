"""Codes, asked for and used at the same moment."""

from functools import partial

from sqlalchemy import func, select

from edge.db.rows import RecoveryCodeRow
from edge.domain.accounts import add_account
from edge.domain.owner import Owner
from edge.domain.recovery import CODES, new_codes, replace_codes, use_code
from tests.edge.at_once import at_once
from tests.edge.edges import Edge


async def account_with_codes(edge: Edge) -> tuple[Owner, list[str]]:
    keyring, now = edge.services.keyring, edge.clock()
    account = await edge.services.database.write(lambda db: add_account(db, "account", keyring, now))
    return account, await edge.services.database.write(lambda db: new_codes(db, account, keyring, now))


async def test_a_code_is_used_up_by_one_alone(edge_on_each_database: Edge) -> None:
    edge = edge_on_each_database
    account, codes = await account_with_codes(edge)
    use = partial(use_code, code=codes[0], keyring=edge.services.keyring)
    used = await at_once(edge, [use] * 5)
    assert sorted(used, key=str) == [None] * 4 + [account]


async def test_codes_that_are_made_anew_twice_at_once_are_ten(edge_on_each_database: Edge) -> None:
    edge = edge_on_each_database
    account, _ = await account_with_codes(edge)
    renew = partial(replace_codes, account=account, keyring=edge.services.keyring, now=edge.clock())
    renewed = await at_once(edge, [renew] * 5)
    assert not [each for each in renewed if isinstance(each, BaseException)]
    count = select(func.count()).select_from(RecoveryCodeRow)
    assert await edge.services.database.read(lambda db: db.scalar(count)) == CODES
