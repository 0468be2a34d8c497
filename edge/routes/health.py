"""`/healthz`: this process answers. `/readyz`: all else that a picture needs is there too.

That is the database, a key for today's prompts, the object store with rules of its own, and a model.
"""

from litestar import get
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.orm import Session

from edge.domain.reports import RulesReport, read_report
from edge.errors import NotReady, Refusal
from edge.routes.documented import problems
from edge.routes.given import GivenServices
from serve_app.errors import ServeError

SEEN_WITHIN_S = 86_400


class Health(Struct, frozen=True):
    status: str = "ok"


@get("/healthz", responses=problems(), tags=["health"])
async def healthz() -> Health:
    return Health()


@get("/readyz", responses=problems(), tags=["health"])
async def readyz(services: GivenServices) -> Health:
    if services.runs.draining.is_set():
        raise NotReady("this server is being taken out of service")
    try:
        await services.database.read(_ask)
        await services.prompts.key(services.clock())
        await services.store.check()
        if services.settings.store.s3_url is not None:
            _require_backstop(await services.database.read(_rules), services.clock())
        for model in services.anonymous_plan.models:
            if not (await services.generator.status(model)).ready:
                raise NotReady(f"{model} is still loading")
    except (ServeError, Refusal) as error:
        raise NotReady(str(error)) from error
    return Health()


def _require_backstop(report: RulesReport | None, now: float) -> None:
    """The sweeper asks the store, each hour; an edge need not be allowed to. What it found is for the operator.

    The rules that it saw stand without it, so that a sweeper that is dead for some hours stops nobody.
    """
    if report is None:
        raise NotReady("nobody has looked at the object store's own rules yet: is a sweeper running?")
    if not report.is_held:
        raise NotReady("the object store's own rules are not those of the policy: see `sfumato store check`")
    if abs(now - report.at) > SEEN_WITHIN_S:
        raise NotReady("nobody has looked at the object store's own rules for a day: is a sweeper running?")


def _rules(db: Session) -> RulesReport | None:
    return read_report(db, RulesReport)


def _ask(db: Session) -> None:
    db.execute(text("SELECT 1"))
