"""Limits at the door: one charge for each call, refusals before any work, and the numbers on every reply.

A call is charged before its handler runs. One for pictures is charged by its handler, once it is known to make sense:
what does not gets to be one request, when its reply leaves. So does a call that reaches no route.
"""

from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from math import ceil
from pathlib import Path

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import SkipValidation
from litestar.types import Scope

from edge.domain.limits.gate import PICTURES, REQUESTS, Asker, Charge, Gate
from edge.domain.limits.windows import DAY_MS, MINUTE_MS, Standing, Window
from edge.domain.owner import Caller
from edge.domain.run import Run
from edge.errors import RateLimited, Refusal
from edge.guards.auth import ApiRequest, is_strange, provide_caller
from edge.guards.client_address import caller_networks
from edge.guards.cross_site import Connection
from edge.services import Services

CHARGES = "charges"  # a route's opt: what it is charged as, where that is not a request
CALLER = "caller"
TAB = "tab"
PROOF = "sfumato-proof"
CROWDED_RETRY_S = 5.0  # nobody knows when a job of theirs ends
STATIC = Path(__file__).parent.parent / "static"
PROBES_AND_SCHEMA = ("/healthz", "/readyz", "/schema/openapi.json")
WHOSE = {"network": " from one network", "everyone": " for all callers without an account together"}
LENGTHS = {MINUTE_MS: "minute", DAY_MS: "day"}

Header = tuple[bytes, bytes]


class Tab:
    """What one call has been charged, in its request's state."""

    def __init__(self, gate: Gate, asker: Asker) -> None:
        self._gate = gate
        self.asker = asker
        self.charge: Charge | None = None

    def put(self, charge: Charge) -> Charge:
        """Raises RateLimited."""
        self.charge = charge
        if not charge.is_admitted:
            raise _refusal(charge, self._gate.now_ms)
        return charge

    async def settle(self) -> None:
        """A call that nothing was charged for counts as one request: for pictures it made no sense, or it was refused
        before anybody asked what it wants."""
        if self.charge is None:
            self.charge = await self._gate.request(self.asker)

    def headers(self) -> list[Header]:
        return limit_headers(self.charge, self._gate.now_ms) if self.charge else []


def free_paths() -> frozenset[str]:
    """What is served without being counted: path for path, so that nothing beside them is free too."""
    files = (file.relative_to(STATIC).as_posix() for file in STATIC.rglob("*") if file.is_file())
    return frozenset(PROBES_AND_SCHEMA) | {f"/static/{file}" for file in files}


class Limits:
    """A guard for the whole app. Finds out who is asking; `given_caller` hands that on."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._gate = services.gate
        self._free = free_paths()

    def tab(self, scope: Scope) -> Tab | None:
        """Of this call, for nobody known as long as nobody asked who it is; None where nothing is counted."""
        if scope["path"] in self._free and scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            return None
        tab: Tab | None = scope["state"].get(TAB)
        if tab is None:
            nobody = Asker(None, None, caller_networks(scope, self._services.settings))
            tab = scope["state"][TAB] = Tab(self._gate, nobody)
        return tab

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        tab = self.tab(connection.scope)
        if tab is None:
            return
        nobody = tab.asker
        if CALLER in handler.parsed_fn_signature.parameters:
            caller = await self._find_out(Request(connection.scope), tab)
            connection.scope["state"][CALLER] = caller
            tab.asker = _asker(caller, nobody)
        kind = handler.opt.get(CHARGES, REQUESTS)
        if refused := self._gate.remembered(tab.asker, kind):
            tab.put(refused)
        if kind != PICTURES:
            tab.put(await self._gate.request(tab.asker, kind))

    async def _find_out(self, request: ApiRequest, tab: Tab) -> Caller:
        """A stranger is charged to their network first, so that the database is asked no more often than that allows.
        Raises RateLimited, and what `provide_caller` raises."""
        try:
            if is_strange(request, self._services):
                tab.put(await self._gate.request(tab.asker))
            caller = await provide_caller(request, self._services)
        except Refusal:
            if tab.charge is None:
                tab.put(await self._gate.request(tab.asker))
            raise
        tab.charge = None
        return caller


def given_caller(request: ApiRequest, services: NamedDependency[SkipValidation[Services]]) -> Caller:
    """`services` is named so that it comes first: two that come at once would cost a task group, a tenth of a call."""
    caller: Caller = request.scope["state"][CALLER]
    return caller


async def start_charged(
    request: Request[None, None, State], services: Services, images: int, start: Callable[[], Awaitable[Run]]
) -> Run:
    """Charges the pictures, then starts them; what does not begin is given back. Raises RateLimited, ProofRequired, and
    what `start` raises."""
    tab: Tab = request.scope["state"][TAB]
    charge = tab.put(await services.gate.pictures(tab.asker, images, request.headers.get(PROOF)))
    has_begun = False
    try:
        run = await start()
        has_begun = True
    finally:
        if not has_begun:
            await services.gate.give_back(charge)
    services.gate.follow(charge, run)
    return run


def limit_headers(charge: Charge, now_ms: int) -> list[Header]:
    """As of draft-ietf-httpapi-ratelimit-headers-11, and as OpenAI's clients know them. No partition key: it would
    label a person."""
    shown = [standing.at(now_ms) for standing in _shown(charge)]
    policies = [_policy(standing.window) for standing in shown]
    states = [f'"{each.window.name}";r={each.available};t={_reset_s(each, charge)}' for each in shown]
    if charge.ask.most_leases:
        policies.append(f'"concurrent-jobs";q={charge.ask.most_leases};qu="concurrent-requests"')
        left = max(0, charge.ask.most_leases - charge.answer.leased)
        states.append(f'"concurrent-jobs";r={left}' + (f";t={ceil(CROWDED_RETRY_S)}" if charge.is_crowded else ""))
    headers = [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(states).encode())]
    if not shown:
        return headers
    first = charge.refused_by.at(now_ms) if charge.refused_by else shown[0]
    return [
        *headers,
        (b"x-ratelimit-limit-requests", b"%d" % first.window.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % first.available),
        (b"x-ratelimit-reset-requests", b"%ds" % _reset_s(first, charge)),
    ]


def _asker(caller: Caller, nobody: Asker) -> Asker:
    networks = nobody.networks if caller.owner.kind == "session" else ()
    return Asker(caller.owner, caller.plan, networks)


def _shown(charge: Charge) -> Iterable[Standing]:
    """The caller's own windows, of the networks' the tightest for each, and whatever else refused the call."""
    tightest: dict[str, Standing] = {}
    for standing in charge.answer.standings:
        name = standing.window.name
        if name.startswith(("everyone-", "proof")) and standing is not charge.refused_by:
            continue
        if name not in tightest or standing.available < tightest[name].available:
            tightest[name] = standing
    return tightest.values()


@cache
def _policy(window: Window) -> str:
    """There are as many windows as plans and networks have."""
    unit = "" if window.unit == "requests" else f';qu="{window.unit}"'
    return f'"{window.name}";q={window.limit};w={window.length_ms // 1000}{unit}'


def _reset_s(standing: Standing, charge: Charge) -> int:
    refused = charge.refused_by
    if refused is not None and refused.window == standing.window:
        return max(1, ceil(standing.wait_ms(charge.cost) / 1000))
    return max(1, ceil(standing.reset_ms() / 1000))


def _refusal(charge: Charge, now_ms: int) -> RateLimited:
    if charge.refused_by is None:
        most = charge.ask.most_leases
        return RateLimited(f"at most {most} at once; one must end first", retry_after_s=CROWDED_RETRY_S)
    standing = charge.refused_by.at(now_ms)
    retry_s = max(1, ceil(standing.wait_ms(charge.cost) / 1000))
    window = standing.window
    what = f"{window.limit} {window.unit} in a {LENGTHS[window.length_ms]}"
    whose = WHOSE.get(window.name.partition("-")[0], "")
    return RateLimited(f"the limit is {what}{whose}; there is room again in {retry_s} s", retry_after_s=retry_s)
