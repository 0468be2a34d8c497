"""`/your-data`: a person sees, takes along, erases and decides, without JavaScript.

Each form carries a one-time token. A deletion leads to the page of its receipt, which can be read again.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from litestar import Router, get, post
from litestar.params import URLEncodedBody
from litestar.response import Redirect, Template
from msgspec import Meta, Struct
from msgspec.structs import replace
from sqlalchemy.orm import Session as DbSession

from edge.db.rows import ConsentRow, ImageRow, RightsRequestRow
from edge.domain.deletions import Deletion
from edge.domain.images import token_for
from edge.domain.owner import Caller
from edge.domain.rights import HeldClass, holdings, streams_of
from edge.domain.rights_requests import MOST_SAID, Kind, Law, RightsRequest, add_request, request_token, requests_of
from edge.domain.standing import utc_minute
from edge.domain.training import Asked, Choice, copies_of, decide
from edge.errors import BadCredential, BadInput, NotFound
from edge.guards.auth import ApiRequest, bearer_of, caller_of, find_sign_in, signed_in_caller
from edge.guards.scopes import needs
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.pages import session_cookie, visiting_session
from edge.routes.privacy import policy_in_words
from edge.routes.privacy_me import ERASE, forgotten
from edge.routes.receipts import ReceiptIdPath, kept_receipt
from edge.routes.stored_images import delete_picture
from edge.routes.training import WORDS, say
from edge.services import Services
from policies.publish import in_one_unit
from policies.schema import Policies

PAGE = "your data"  # what a token of the page's other forms allows
MOST_SHOWN = 60
STILL_THERE = "What you wrote stands in the form below."
TOO_LATE = "That page was open for too long, or its button was pressed before. Nothing has changed."


class ImageForm(Struct, frozen=True):
    image: Annotated[str, Meta(max_length=64)]
    token: str = ""


class EraseForm(Struct, frozen=True):
    token: str = ""


class TrainingForm(Struct, frozen=True):
    choice: Choice
    token: str = ""


class RequestForm(Struct, frozen=True):
    """What a person wrote is never lost: too long or too late, it comes back in the form."""

    kind: Kind
    law: Law
    message: str
    token: str = ""

    def __repr__(self) -> str:
        return f"<rights request: {self.kind}>"


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the page. `path` is None where looking at it would use it up."""

    id: str
    path: str | None
    made_at: int
    goes_at: int
    goes_in: str


@dataclass(frozen=True, slots=True)
class Belongings:
    """What the page shows of one owner."""

    classes: list[HeldClass]
    images: list[ImageRow]
    choice: Choice | None
    copies: list[ConsentRow]
    requests: list[RightsRequestRow]

    @property
    def lone_copies(self) -> list[ConsentRow]:
        """Copies for training whose picture has gone before."""
        seen = {image.id for image in self.images}
        return [copy for copy in self.copies if copy.id not in seen]

    @property
    def count(self) -> int:
        return sum(each.count for each in self.classes)


@get("/")
async def your_data_page(request: ApiRequest, services: GivenServices) -> Template:
    """By the cookie alone, as a browser comes; whoever says to be another is not shown this one's."""
    if bearer_of(request) is not None:
        raise BadCredential("this page goes by the cookie; with a key, ask /v1/privacy/me")
    if sign_in := await find_sign_in(request, services):
        return await _page(signed_in_caller(sign_in, request, services), services)
    session = await visiting_session(request, services)
    caller = caller_of(session, request, services, is_new=False)
    page = await _page(caller, services)
    page.cookies = [session_cookie(session, services)]
    return page


@get("/erase")
async def confirm_page(caller: GivenCaller, services: GivenServices) -> Template:
    belongings = await _belongings(caller, services)
    context = {
        **_words(services),
        "reached": [each for each in belongings.classes if each.count],
        "token": services.page_tokens.issue(caller.owner, ERASE, services.clock()),
    }
    return Template("erase.html", context=context)


@get("/receipts/{receipt_id:str}")
async def receipt_page(receipt_id: ReceiptIdPath, services: GivenServices) -> Template:
    receipt = await kept_receipt(receipt_id, services)
    return Template("receipt.html", context={**_words(services), "receipt": receipt, "claims": receipt.claims})


@post("/image", status_code=303)
async def erase_one(
    data: URLEncodedBody[ImageForm], caller: GivenCaller, services: GivenServices
) -> Redirect | Template:
    if not services.page_tokens.spend(data.token, caller.owner, PAGE, services.clock()):
        return await _page(caller, services, notice=TOO_LATE)
    try:
        return _to_receipt(await delete_picture(data.image, caller, services))
    except NotFound:
        return await _page(caller, services, notice="That picture is gone already.")


@post("/erase", status_code=303)
async def erase_everything(
    data: URLEncodedBody[EraseForm], caller: GivenCaller, services: GivenServices
) -> Redirect | Template:
    if not services.page_tokens.spend(data.token, caller.owner, ERASE, services.clock()):
        return await _page(caller, services, notice=TOO_LATE)
    return forgotten(_to_receipt(await services.deletions.delete_owner(caller.owner)), caller.owner, services)


@post("/training", status_code=303)
async def choose_about_training(
    data: URLEncodedBody[TrainingForm], caller: GivenCaller, services: GivenServices
) -> Redirect | Template:
    if not services.page_tokens.spend(data.token, caller.owner, PAGE, services.clock()):
        return await _page(caller, services, notice=TOO_LATE)
    try:
        deletion = await say(data.choice, caller, services)
    except BadInput as error:
        return await _page(caller, services, notice=error.message)
    return _to_receipt(deletion) if deletion else Redirect("/your-data#training", status_code=303)


@post("/request", status_code=303)
async def ask_a_person(
    data: URLEncodedBody[RequestForm], caller: GivenCaller, services: GivenServices
) -> Redirect | Template:
    draft = replace(data, message=data.message.replace("\r\n", "\n"))  # a browser sends two letters for a line's end
    if not services.page_tokens.spend(data.token, caller.owner, PAGE, services.clock()):
        return await _page(caller, services, notice=f"{TOO_LATE} {STILL_THERE}", draft=draft)
    if not 1 <= len(draft.message) <= MOST_SAID:
        notice = f"A request has at most {MOST_SAID} letters, and this one has {len(draft.message)}. {STILL_THERE}"
        return await _page(caller, services, notice=notice, draft=draft)
    request = RightsRequest(kind=draft.kind, law=draft.law, message=draft.message)
    try:
        await services.database.write(partial(add_request, owner=caller.owner, request=request, now=services.clock()))
    except BadInput as error:
        return await _page(caller, services, notice=f"{error.message}. {STILL_THERE}", draft=draft)
    return Redirect("/your-data#requests", status_code=303)


async def _page(
    caller: Caller, services: Services, *, notice: str | None = None, draft: RequestForm | None = None
) -> Template:
    """A notice says why nothing happened; `draft` is what was written and not sent."""
    now = services.clock()
    belongings = await _belongings(caller, services)
    asked = Asked(owner_kind=caller.owner.kind, gpc=caller.gpc, choice=belongings.choice)
    context = {
        **_words(services),
        "has_account": caller.owner.kind == "account",
        "notice": notice,
        "draft": draft,
        "most_said": MOST_SAID,
        "belongings": belongings,
        "pictures": [_shown(row, caller, services, now) for row in belongings.images[:MOST_SHOWN]],
        "lone_copies": belongings.lone_copies[:MOST_SHOWN],
        "not_shown": max(0, len(belongings.images) - MOST_SHOWN),
        "gpc": caller.gpc,
        "answer": (answer := decide(asked, services.training)),
        "answer_in_words": WORDS[answer.because],
        "request_token": partial(request_token, keyring=services.keyring),
        "issue_token": partial(services.page_tokens.issue, caller.owner, PAGE, now),
    }
    return Template("your-data.html", context=context, status_code=409 if notice else 200)


async def _belongings(caller: Caller, services: Services) -> Belongings:
    now = services.clock()
    streams = await streams_of(caller.owner, services.database, services.policies, services.hub, now)
    subject = services.keyring.subject(caller.owner)
    read = partial(
        _read_belongings, caller=caller, policies=services.policies, streams=streams, now=now, subject=subject
    )
    return await services.database.read(read)


def _read_belongings(
    db: DbSession, caller: Caller, policies: Policies, streams: int, now: float, subject: str
) -> Belongings:
    held = holdings(db, caller.owner, policies, streams, now, subject)
    return Belongings(
        held.classes, held.images, held.training, copies_of(db, caller.owner), requests_of(db, caller.owner)
    )


def _shown(row: ImageRow, caller: Caller, services: Services, now: float) -> Shown:
    path = None if row.on_download else f"/i/{token_for(row, caller, services.keyring)}"
    return Shown(row.id, path, row.created_at, row.delete_at, in_one_unit(row.delete_at - now))


def _to_receipt(deletion: Deletion) -> Redirect:
    return Redirect(f"/your-data/receipts/{deletion.claims.jti}", status_code=303)


def _words(services: Services) -> dict[str, object]:
    return {**policy_in_words(services), "utc": utc_minute}


your_data_routes = Router(
    "/your-data",
    route_handlers=[
        your_data_page,
        confirm_page,
        receipt_page,
        erase_one,
        erase_everything,
        choose_about_training,
        ask_a_person,
    ],
    include_in_schema=False,
    opt=needs("privacy"),
)
