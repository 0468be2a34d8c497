"""A browser at the account's routes: with a session's cookie, it keeps what it is given and says whence it comes."""

from dataclasses import dataclass, field
from typing import Any

from httpx2 import Response

from tests.edge.authenticator import Authenticator
from tests.edge.edges import Edge


@dataclass
class Browser:
    edge: Edge
    device: Authenticator = field(default_factory=Authenticator)
    cookies: dict[str, str] = field(default_factory=dict[str, str])
    codes: list[str] = field(default_factory=list[str])

    async def visit(self, path: str = "/") -> Response:
        """Pages alone set cookies of sessions."""
        return await self.ask("GET", path)

    async def ask(self, method: str, path: str, json: object = None, **headers: str) -> Response:
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"sec-fetch-site": "same-origin", **({"cookie": kept} if kept else {}), **headers}
        client = self.edge.client
        client.cookies.clear()
        request = client.build_request(method, path, headers=sent, **({} if json is None else {"json": json}))
        request.headers.pop("authorization", None)  # of whoever else this client calls for
        reply = await client.send(request)
        for cookie in reply.headers.get_list("set-cookie"):
            self._keep(cookie)
        return reply

    async def challenge(self, purpose: str) -> dict[str, Any]:
        reply = await self.ask("POST", "/v1/account/challenges", {"purpose": purpose})
        assert reply.status_code == 201, reply.text
        return reply.json()["options"]

    async def sign_up(self, **asked: object) -> Response:
        credential = self.device.make(await self.challenge("sign_up"))
        return await self.ask("POST", "/v1/account", {"credential": credential, **asked})

    async def sign_in(self, **asked: object) -> Response:
        credential = self.device.sign(await self.challenge("sign_in"))
        return await self.ask("POST", "/v1/account/sign-in", {"credential": credential, **asked})

    async def sign_out(self) -> Response:
        return await self.ask("DELETE", "/v1/account/sign-in")

    async def draw(self) -> dict[str, Any]:
        reply = await self.ask("POST", "/v1/images/generations", {"prompt": "a red apple"})
        assert reply.status_code == 200, reply.text
        return reply.json()["data"][0]

    def _keep(self, cookie: str) -> None:
        name, _, rest = cookie.partition("=")
        value = rest.partition(";")[0].strip('"')
        if value:
            self.cookies[name] = value
        else:
            self.cookies.pop(name, None)


async def visiting(edge: Edge) -> Browser:
    """With a session, as every page gives one."""
    browser = Browser(edge)
    await browser.visit()
    return browser
