"""`/report`: anybody reports a picture, without an account, a cookie or JavaScript, and reads what became of it.

No one-time token: a report does no harm twice, and nobody who is in distress shall meet a form that has run out.
"""

from math import ceil

from litestar import Router, get, post
from litestar.params import URLEncodedBody
from litestar.response import Redirect, Template
from msgspec import Struct, json

from edge.domain.complaints import MOST_SAID, complaint_token, status_of
from edge.domain.notices import MOST_ADDRESSES, MOST_CONTACT_CHARACTERS, Kind, Report, found_of
from edge.domain.standing import utc_minute
from edge.errors import BadInput, Refusal
from edge.errors import status_of as http_status_of
from edge.guards.auth import ApiRequest
from edge.guards.scopes import needs
from edge.routes.complaints import ComplaintTokenPath, find_report, take_report
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.privacy import policy_in_words
from edge.routes.strict_body import decode_strictly
from edge.services import Services

KINDS: dict[Kind, str] = {
    "non_consensual_imagery": "It shows somebody who did not agree to that",
    "abuse": "It is abusive or against the law",
    "rights": "It violates a right of mine, or of whom I speak for",
}
WRONG = {
    "addresses": f"Give 1 to {MOST_ADDRESSES} addresses, each on a line of its own.",
    "statement": f"Say what is wrong, in {MOST_SAID} letters at most.",
    "contact": f"How to reach you has {MOST_CONTACT_CHARACTERS} letters at most.",
}


class ReportForm(Struct, frozen=True):
    """What a person wrote is never lost: it comes back in the form."""

    kind: Kind
    addresses: str = ""
    statement: str = ""
    contact: str = ""

    def __repr__(self) -> str:
        return f"<report: {self.kind}>"

    @property
    def lines(self) -> list[str]:
        return [line.strip() for line in self.addresses.splitlines() if line.strip()]


@get("/")
async def report_form(services: GivenServices) -> Template:
    return _form(services)


@post("/", status_code=303, opt=needs("generate"))
async def send_report(
    data: URLEncodedBody[ReportForm], request: ApiRequest, caller: GivenCaller, services: GivenServices
) -> Redirect | Template:
    try:
        row = await take_report(_report(data), request, caller, services)
    except Refusal as refusal:
        return _form(services, draft=data, refusal=refusal)
    return Redirect(f"/report/{complaint_token(row, services.keyring)}", status_code=303)


@get("/{token:str}")
async def report_state(token: ComplaintTokenPath, services: GivenServices) -> Template:
    """For whoever holds its address."""
    row = await find_report(token, services)
    context = {
        **policy_in_words(services),
        "report": row,
        "kind": KINDS[row.kind],  # pyright: ignore[reportArgumentType]  only these are ever written
        "found": found_of(row),
        "status": status_of(row),
        "utc": utc_minute,
    }
    return Template("reported.html", context=context)


def _report(form: ReportForm) -> Report:
    """By the rules of the API. Raises BadInput, in words for people."""
    statement = form.statement.replace("\r\n", "\n")  # a browser sends two letters for a line's end
    fields = {"kind": form.kind, "addresses": form.lines, "statement": statement, "contact": form.contact}
    try:
        return decode_strictly(json.encode(fields), Report)
    except BadInput as error:
        raise BadInput(WRONG.get(error.param or "", error.message), param=error.param) from error


def _form(services: Services, *, draft: ReportForm | None = None, refusal: Refusal | None = None) -> Template:
    context = {
        **policy_in_words(services),
        "kinds": KINDS,
        "draft": draft,
        "refusal": refusal,
        "most_said": MOST_SAID,
        "most_contact": MOST_CONTACT_CHARACTERS,
        "public_url": services.settings.public_url,
    }
    if refusal is None:
        return Template("report.html", context=context)
    waits = {} if refusal.retry_after_s is None else {"Retry-After": str(ceil(refusal.retry_after_s))}
    return Template("report.html", context=context, status_code=http_status_of(refusal), headers=waits)


report_pages = Router("/report", route_handlers=[report_form, send_report, report_state], include_in_schema=False)
