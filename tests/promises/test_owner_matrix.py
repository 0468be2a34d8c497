"""Nobody sees, changes, exports or erases what belongs to another owner: every route × every kind of caller.

The routes come from the app's own table and the fillers of their paths from what the owner has, so that a later route
is tried too; one with a path that cannot be filled fails. A later kind of caller is one more line in `CALLERS`.
"""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from litestar import Litestar
from litestar.routes import HTTPRoute

from edge.domain.sessions import Session, new_session, read_session, session_token
from tests.edge.edges import Clock, Edge, make_edge

PROMPT = "xyloprompt"
MESSAGE = "xylomessage"
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}

NOBODY_S = {"id": "AAAA", "rawId": "AAAA", "type": "public-key"}  # a passkey
MADE = {**NOBODY_S, "response": {"clientDataJSON": "e30", "attestationObject": "AAAA"}}
SIGNED = {**NOBODY_S, "response": {"clientDataJSON": "e30", "authenticatorData": "AAAA", "signature": "AAAA"}}
JSON_BODIES: dict[str, object] = {
    "/v1/images/generations": {"prompt": "a cat"},
    "/v1/generations": {"prompt": "a cat"},
    "/v1/moderations": {"input": "a cat"},
    "/v1/appeals": {"reference": "0" * 32},
    "/v1/reports": {"kind": "abuse", "addresses": ["/i/x"], "statement": "mine"},
    "/v1/privacy/training": {"choice": "deny"},
    "/v1/account": {"credential": MADE},
    "/v1/account/challenges": {"purpose": "sign_in"},
    "/v1/account/sign-in": {"credential": SIGNED},
    "/v1/account/recovery": {"code": "00000-00000-00000-00000"},
    "/v1/account/recovery-codes": {},
    "/v1/account/passkeys": {"credential": MADE},
    "/v1/keys": {"name": "mine", "scopes": ["keys"]},
    "/v1/keys/{key_id}/rotate": {},
    "/v1/privacy/requests": {"kind": "access", "law": "gdpr", "message": "mine"},
    "/v1/privacy/receipts/verify": {"receipt": "abc"},
    "/v1/images/{image_id}": {"retention": "PT1M"},
}
FORM = {"choice": "deny", "kind": "access", "law": "gdpr", "message": "mine"}


@dataclass(frozen=True)
class Owned:
    """What the owner has, and how the owner calls."""

    session: Session
    image: dict[str, Any]
    job_id: str
    bearer: dict[str, str]

    @property
    def secrets(self) -> list[str]:
        """What nobody else may read. A seed is a number: looked for where a number can stand."""
        return [self.image["id"], self.job_id, self.image["url"].rpartition("/")[2], self.session.owner.id, MESSAGE]


def stranger(edge: Edge) -> str:
    return session_token(new_session(edge.clock(), edge.services.session_idle_s), edge.services.keyring)


def cookie(token: str) -> str:
    return f"sid={token}"


def expired(edge: Edge, mine: Owned) -> str:
    session = mine.session
    old = Session(session.id, session.viewing_secret, session.rotation, int(edge.clock()) - 1)
    return session_token(old, edge.services.keyring)


CALLERS: dict[str, Callable[[Edge, Owned], dict[str, str]]] = {
    "nobody": lambda edge, mine: {},
    "anonymous": lambda edge, mine: {"authorization": "Bearer anonymous"},
    "another session by bearer": lambda edge, mine: {"authorization": f"Bearer {stranger(edge)}"},
    "another session by cookie": lambda edge, mine: {"cookie": cookie(stranger(edge)), **SAME_ORIGIN},
    "the owner's session after its end": lambda edge, mine: {"authorization": f"Bearer {expired(edge, mine)}"},
    "the owner's cookie after its end": lambda edge, mine: {"cookie": cookie(expired(edge, mine)), **SAME_ORIGIN},
    "a bearer that is none": lambda edge, mine: {"authorization": "Bearer sfs_" + "A" * 96},
    "a bearer that is none, with the owner's cookie": lambda edge, mine: {
        "authorization": "Bearer sk-123",
        "cookie": cookie(token_of(mine)),
        **SAME_ORIGIN,
    },
    "another site through the owner's browser": lambda edge, mine: {
        "cookie": cookie(token_of(mine)),
        "sec-fetch-site": "cross-site",
        "origin": "https://evil.example",
    },
    "another site through the owner's old browser": lambda edge, mine: {
        "cookie": cookie(token_of(mine)),
        "origin": "https://evil.example",
    },
}
ANOTHER_SITE = {name for name in CALLERS if name.startswith("another site")}


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        yield edge


def token_of(mine: Owned) -> str:
    return mine.bearer["authorization"].removeprefix("Bearer ")


def routes_of(app: Litestar) -> list[tuple[str, str]]:
    return sorted(
        (method, route.path_format)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in set(route.methods) - {"OPTIONS"}
    )


def filled(path: str, mine: Owned) -> str:
    """The path with the owner's own ids. Raises KeyError for a parameter that nobody has told how to fill."""
    forged = mine.image["url"].rpartition("/")[2]
    forged = forged[:60] + ("A" if forged[60] != "A" else "B") + forged[61:]  # holding the address is the permission
    values = {
        "image_id": mine.image["id"],
        "job_id": mine.job_id,
        "token": forged,
        "receipt_id": "0" * 32,  # whoever knows a receipt's id may read it: it names nobody
        "key_id": "0" * 32,  # a session has none; whose another account's are, `tests/edge/routes/test_keys.py` tries
        "passkey_id": "0" * 32,  # the same: `tests/edge/routes/test_account_passkeys.py`
        "model": "sfumato-embedded",
        "file_path": "page.js",
        "path": "openapi.json",
    }
    return re.sub(r"\{(\w+)[^}]*\}", lambda match: values[match[1]], path)


async def owned(edge: Edge) -> Owned:
    reply = await edge.client.post(
        "/v1/generations", json={"prompt": PROMPT}, headers={"authorization": "Bearer anonymous"}
    )
    bearer = {"authorization": f"Bearer {reply.headers['x-sfumato-session']}"}
    job_id = reply.json()["id"]
    await edge.client.get(f"/v1/generations/{job_id}/events", headers=bearer)
    job = (await edge.client.get(f"/v1/generations/{job_id}", headers=bearer)).json()
    request = {"kind": "access", "law": "gdpr", "message": MESSAGE}
    assert (await edge.client.post("/v1/privacy/requests", json=request, headers=bearer)).status_code == 201
    token = bearer["authorization"].removeprefix("Bearer ")
    session = read_session(token, edge.services.keyring, edge.clock())
    assert session
    return Owned(session, job["images"][0], job_id, bearer)


async def standing(edge: Edge, mine: Owned) -> object:
    """Everything the owner has, as the owner sees it, and the objects."""
    paths = ("/v1/privacy/me", "/v1/generations", "/v1/privacy/requests", "/v1/privacy/training")
    seen = [(await edge.client.get(path, headers=mine.bearer)).json() for path in paths]
    return seen, [mine.image["id"] in key for key in await edge.services.store.keys("img/")].count(True)


async def call(edge: Edge, method: str, path: str, template: str, headers: dict[str, str], mine: Owned) -> Response:
    confirmed = {"sfumato-confirm": "erase", **headers}
    if template.startswith("/your-data/") and method == "POST":
        form = {"token": "A" * 68, "image": mine.image["id"], **FORM}
        return await edge.client.request(method, path, headers=confirmed, data=form)
    if (method, template.rstrip("/")) == ("POST", "/report"):
        form = {"kind": "abuse", "addresses": mine.image["url"], "statement": "theirs"}
        return await edge.client.request(method, path, headers=confirmed, data=form)
    body = {"json": JSON_BODIES[template.rstrip("/")]} if method in ("POST", "PUT", "PATCH") else {}
    return await edge.client.request(method, path, headers=confirmed, **body)


@pytest.mark.parametrize("name", CALLERS)
async def test_nobody_reaches_what_belongs_to_another(edge: Edge, name: str) -> None:
    mine = await owned(edge)
    before = await standing(edge, mine)
    for method, template in routes_of(edge.app):
        path = filled(template, mine)
        edge.client.cookies.clear()
        headers = CALLERS[name](edge, mine)
        reply = await call(edge, method, path, template, headers, mine)
        place = f"{method} {template} as {name}: {reply.status_code}"
        assert reply.status_code < 500, place
        if name in ANOTHER_SITE:
            other_site_reads_nothing(method, template, reply, headers, place)
        else:
            shows_nothing(reply, mine, place)
    assert await standing(edge, mine) == before


def other_site_reads_nothing(method: str, template: str, reply: Response, headers: dict[str, str], place: str) -> None:
    """A link to a page is allowed, and shows it to the owner alone: no other site may read the reply."""
    assert "access-control-allow-origin" not in reply.headers, place
    assert reply.headers["cross-origin-resource-policy"] == "same-origin", place
    if method not in ("GET", "HEAD") or (template.startswith("/v1/") and "sec-fetch-site" in headers):
        assert reply.status_code == 403, place


def shows_nothing(reply: Response, mine: Owned, place: str) -> None:
    for secret in mine.secrets:
        assert secret not in reply.text, place
        assert all(secret not in value for value in reply.headers.values()), place
    assert str(mine.image["seed"]) not in re.findall(r"\d+", reply.text), place


async def test_the_owner_reaches_it_all(edge: Edge) -> None:
    """So that the matrix above is not true of a service that answers nobody."""
    mine = await owned(edge)
    for path in ("/v1/privacy/me", f"/v1/images/{mine.image['id']}", f"/v1/generations/{mine.job_id}"):
        assert mine.image["id"] in (await edge.client.get(path, headers=mine.bearer)).text
    page = await edge.client.get("/your-data", headers={"cookie": cookie(token_of(mine))})
    assert mine.image["id"] in page.text
    assert MESSAGE in page.text
