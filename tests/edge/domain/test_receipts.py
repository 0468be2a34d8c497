import base64
import json
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from edge.domain.keyring import Keyring
from edge.domain.receipts import (
    Claims,
    Counts,
    ReceiptBroken,
    Signer,
    add_receipt,
    find_receipt,
    forget_receipts,
    read_receipt,
    recheck_receipts,
    watched,
)
from serve_app.errors import StoreUnavailable
from serve_app.storage.keys import ImageKey
from tests.edge.edges import START, Edge


@pytest.fixture
def edge(edge_on_each_database: Edge) -> Edge:
    return edge_on_each_database


SIGNER = Signer(Keyring("s" * 40))
CLAIMS = Claims(
    iss="https://sfumato.example",
    jti="ab" * 16,
    iat=int(START),
    scope="image",
    requested_at=int(START),
    completed_at=int(START),
    counts=Counts(images=1),
    classes=["output_image"],
    stores=[],
    retained=[],
    backups_gone_by=int(START) + 31 * 86_400,
    undisclosed="",
)


def header_of(receipt: str) -> dict[str, str]:
    return json.loads(base64.urlsafe_b64decode(receipt.split(".")[0] + "=="))


def stored_key(edge: Edge, days: int = 1, number: int = 7) -> str:
    return str(ImageKey("img", days, datetime.fromtimestamp(START + 3600, UTC), f"{number:032x}"))


async def issue(edge: Edge, *keys: str, receipt_id: str = CLAIMS.jti, signer: Signer = SIGNER) -> None:
    claims = replace(CLAIMS, jti=receipt_id)
    watching = [watched(key, int(START)) for key in keys]
    await edge.services.database.write(
        lambda db: add_receipt(db, claims, signer.sign(claims), watching, forget_at=int(START) + 365 * 86_400)
    )


async def found(edge: Edge, receipt_id: str = CLAIMS.jti) -> tuple[int | None, int | None, int | None]:
    receipt = await edge.services.database.read(lambda db: find_receipt(db, receipt_id, SIGNER))
    assert receipt
    return receipt.checked_at, receipt.found, receipt.checked_until


async def look(edge: Edge) -> tuple[int, int]:
    looked = await recheck_receipts(edge.clock(), edge.services.store, edge.services.database)
    return looked.receipts, looked.found


def test_a_receipt_is_a_jws_that_says_what_it_is_and_reads_back() -> None:
    receipt = SIGNER.sign(CLAIMS)
    [key] = SIGNER.key_set["keys"]
    assert header_of(receipt) == {"alg": "Ed25519", "typ": "deletion-receipt+jwt", "kid": key["kid"]}
    assert (key["kty"], key["crv"], set(key) & {"d"}) == ("OKP", "Ed25519", set())
    assert read_receipt(receipt, SIGNER.key_set) == CLAIMS


def test_the_key_follows_from_the_secret_alone() -> None:
    assert Signer(Keyring("s" * 40)).key_set == SIGNER.key_set
    assert Signer(Keyring("t" * 40)).key_set != SIGNER.key_set


def test_a_changed_receipt_is_none() -> None:
    receipt = SIGNER.sign(CLAIMS)
    forged = SIGNER.sign(replace(CLAIMS, counts=Counts(images=2))).split(".")[1]
    header, _, signature = receipt.split(".")
    with pytest.raises(ReceiptBroken, match="was changed"):
        read_receipt(f"{header}.{forged}.{signature}", SIGNER.key_set)


def test_another_service_s_receipt_is_none_of_ours() -> None:
    with pytest.raises(ReceiptBroken, match="a key that this service does not have"):
        read_receipt(Signer(Keyring("t" * 40)).sign(CLAIMS), SIGNER.key_set)


@pytest.mark.parametrize("text", ["", "abc", "a.b.c", "ü.ü.ü", "{}", "a" * 5000])
def test_what_is_no_receipt_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ReceiptBroken, match="not a signed receipt"):
        read_receipt(text, SIGNER.key_set)


@pytest.mark.parametrize(
    ("days", "until"),
    [  # START is 08:00 UTC: the store's rules remove it at the midnight after its days, and we look two days longer
        (1, "2027-01-19T00:00:00"),
        (8, "2027-01-26T00:00:00"),
    ],
)
def test_objects_are_looked_for_until_two_days_after_the_backstop(edge: Edge, days: int, until: str) -> None:
    looked_for = watched(stored_key(edge, days), int(START))
    assert datetime.fromtimestamp(looked_for.until_at, UTC).isoformat() == f"{until}+00:00"


async def test_an_object_that_is_there_again_is_found_counted_and_deleted(
    edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    back, gone = stored_key(edge, number=1), stored_key(edge, number=2)
    await issue(edge, back, gone)
    await edge.services.store.put(back, b"not gone")
    assert await look(edge) == (1, 1)
    assert await edge.services.store.keys("img/") == []
    assert (await found(edge))[:2] == (START, 1)
    assert "1 objects that receipts call gone were there" in caplog.text
    assert back not in caplog.text
    edge.clock.advance(3600)
    assert await look(edge) == (1, 0)
    assert (await found(edge))[:2] == (START + 3600, 0)


async def test_other_objects_of_the_same_minute_stay(edge: Edge) -> None:
    await issue(edge, stored_key(edge, number=1))
    await edge.services.store.put(stored_key(edge, number=2), b"somebody's")
    assert await look(edge) == (1, 0)
    assert await edge.services.store.keys("img/") == [stored_key(edge, number=2)]


async def test_each_receipt_is_looked_after_once_an_hour(edge: Edge) -> None:
    for number in range(3):
        await issue(edge, stored_key(edge, number=number), receipt_id=f"{number:032x}")
    assert (await look(edge))[0] == 3
    assert (await look(edge))[0] == 0
    edge.clock.advance(3600)
    assert (await look(edge))[0] == 3


async def test_a_minute_that_many_receipts_share_is_listed_once(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    list_keys, listed = edge.services.store.keys, list[str]()

    async def noted(prefix: str) -> list[str]:
        listed.append(prefix)
        return await list_keys(prefix)

    monkeypatch.setattr("edge.domain.receipts.BATCH", 2)
    monkeypatch.setattr(edge.services.store, "keys", noted)
    for number in range(5):
        await issue(edge, stored_key(edge, number=number), receipt_id=f"{number:032x}")
    await edge.services.store.put(stored_key(edge, number=4), b"not gone")
    assert await look(edge) == (5, 1)
    assert len(listed) == 1


async def test_the_keys_are_forgotten_when_nothing_can_be_there_any_more(edge: Edge) -> None:
    key = stored_key(edge)
    await issue(edge, key)
    edge.clock.now = watched(key, int(START)).until_at
    assert await look(edge) == (1, 0)
    assert (await found(edge))[2] is None
    edge.clock.advance(3600)
    assert (await look(edge))[0] == 0
    await edge.services.database.compact()
    for file in edge.home.glob("sfumato.db*"):
        assert key.encode() not in file.read_bytes()


async def test_a_store_that_is_down_leaves_it_for_the_next_time(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise StoreUnavailable("down")

    await issue(edge, stored_key(edge))
    with monkeypatch.context() as down:
        down.setattr(edge.services.store, "keys", refuse)
        with pytest.raises(StoreUnavailable):
            await look(edge)
    assert await found(edge) == (None, None, watched(stored_key(edge), int(START)).until_at)
    assert (await look(edge))[0] == 1


async def test_a_receipt_is_forgotten_after_its_year(edge: Edge) -> None:
    await issue(edge)
    forget = edge.services.database.write
    assert await forget(lambda db: forget_receipts(db, START + 365 * 86_400 - 1)) == 0
    assert await forget(lambda db: forget_receipts(db, START + 365 * 86_400)) == 1
