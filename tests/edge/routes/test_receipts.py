from edge.domain.sessions import read_session
from tests.edge.edges import START, Edge


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
