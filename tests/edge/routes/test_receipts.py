import base64

import pytest
from sqlalchemy import update

from edge.db.rows import ReceiptRow
from edge.domain.keyring import Keyring
from edge.domain.receipts import Signer
from edge.domain.sessions import read_session
from tests.edge.domain.test_receipts import CLAIMS, issue
from tests.edge.edges import START, Edge


@pytest.fixture
def edge(edge_on_each_database: Edge) -> Edge:
    return edge_on_each_database


async def receipt_of(edge: Edge) -> tuple[str, str]:
    """Its id, and itself."""
    made = (await edge.draw()).json()["data"][0]
    reply = (await edge.client.delete(made["url"])).json()
    return reply["claims"]["jti"], reply["receipt"]


async def test_a_receipt_names_no_person_no_owner_and_no_object(edge: Edge) -> None:
    reply = await edge.draw()
    edge.sign_in(reply)
    made = reply.json()["data"][0]
    [key] = await edge.services.store.keys("img/")
    told = (await edge.client.delete(f"/v1/images/{made['id']}")).text
    session = read_session(reply.headers["x-sfumato-session"], edge.services.keyring, edge.clock())
    assert session
    assert made["id"] not in told
    assert key not in told
    assert key.rpartition("/")[0] not in told
    assert str(made["seed"]) not in told
    assert session.owner.id not in told


async def test_whoever_knows_its_id_reads_what_it_says_and_when_it_was_looked_after(edge: Edge) -> None:
    receipt_id, receipt = await receipt_of(edge)
    shown = (await edge.client.get(f"/v1/privacy/receipts/{receipt_id}")).json()
    assert (shown["receipt"], shown["claims"]["counts"]["images"]) == (receipt, 1)
    assert (shown["checked_at"], shown["found"]) == (None, None)
    assert shown["looked_for_until"] > START + 86_400
    assert (await edge.client.get(f"/v1/privacy/receipts/{'0' * 32}")).status_code == 404


async def test_a_genuine_receipt_is_valid_and_known(edge: Edge) -> None:
    receipt_id, receipt = await receipt_of(edge)
    verdict = (await edge.client.post("/v1/privacy/receipts/verify", json={"receipt": receipt})).json()
    assert (verdict["valid"], verdict["is_known"], verdict["claims"]["jti"]) == (True, True, receipt_id)


async def test_one_that_was_changed_is_not_and_why(edge: Edge) -> None:
    _, receipt = await receipt_of(edge)
    broken = receipt[:-4] + ("AAAA" if receipt[-4:] != "AAAA" else "BBBB")
    verdict = (await edge.client.post("/v1/privacy/receipts/verify", json={"receipt": broken})).json()
    assert (verdict["valid"], verdict["claims"]) == (False, None)
    assert verdict["reason"].startswith("the signature does not fit")


async def test_the_key_is_published_without_its_private_half(edge: Edge) -> None:
    reply = await edge.client.get("/.well-known/jwks.json")
    [key] = reply.json()["keys"]
    assert reply.headers["content-type"] == "application/json"
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}


async def test_who_changes_our_records_gets_no_signature(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    receipt_id, receipt = await receipt_of(edge)
    header, payload, signature = receipt.split(".")
    said = base64.urlsafe_b64decode(payload + "==").replace(b'"images":1', b'"images":999')
    forged = ".".join((header, base64.urlsafe_b64encode(said).decode().rstrip("="), signature))
    change = update(ReceiptRow).values(signed=forged)
    await edge.services.database.write(lambda db: db.execute(change))
    for address in (f"/v1/privacy/receipts/{receipt_id}", f"/your-data/receipts/{receipt_id}"):
        reply = await edge.client.get(address)
        assert reply.status_code == 404
        assert "999" not in reply.text
    assert "does not verify" in caplog.text
    verdict = (await edge.client.post("/v1/privacy/receipts/verify", json={"receipt": receipt})).json()
    assert (verdict["valid"], verdict["claims"]["counts"]["images"], verdict["is_known"]) == (True, 1, True)


async def test_one_row_cannot_stand_for_another(edge: Edge) -> None:
    receipt_id, _ = await receipt_of(edge)
    _, other = await receipt_of(edge)
    change = update(ReceiptRow).where(ReceiptRow.id == receipt_id).values(signed=other)
    await edge.services.database.write(lambda db: db.execute(change))
    assert (await edge.client.get(f"/v1/privacy/receipts/{receipt_id}")).status_code == 404


async def test_what_another_secret_signed_is_not_signed_again(edge: Edge) -> None:
    await issue(edge, signer=Signer(Keyring("t" * 40)))
    reply = await edge.client.get(f"/v1/privacy/receipts/{CLAIMS.jti}")
    assert (reply.status_code, "a key that this service does not have" in reply.text) == (404, True)
