"""A refusal as a person in a browser reads it: a small page with the reason and a way back."""

from litestar import Request
from litestar.datastructures import State
from litestar.response import Template

from edge.errors import Refusal, status_of

TITLES = {
    404: "There is nothing here",
    405: "That is not done here",
    410: "It is gone",
    429: "A little slower, please",
    500: "Something went wrong",
    503: "Not just now",
}


def wants_page(request: Request[None, None, State]) -> bool:
    """Browsers say so when somebody goes somewhere or sends a form; neither images nor scripts nor programs do."""
    return "text/html" in request.headers.get("accept", "") and not request.scope["path"].startswith("/v1/")


def trouble_page(refusal: Refusal, request: Request[None, None, State], headers: dict[str, str]) -> Template:
    """Asks nothing of the parts that may be down."""
    status = status_of(refusal)
    context = {
        "title": TITLES.get(status, "That did not work"),
        "reason": refusal.message,
        "retry_after_s": headers.get("Retry-After"),
        "is_form": request.scope["method"] == "POST",
    }
    return Template("trouble.html", context=context, status_code=status, headers=headers)
