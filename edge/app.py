"""The edge as a Litestar app: routes, guards and one envelope, over services that were built elsewhere."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path

from litestar import Litestar
from litestar.datastructures import CacheControlHeader
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig

from edge.db.counter_store import require_forgetful
from edge.db.migrate import migrate
from edge.guards.cross_site import RefusesCrossSite
from edge.guards.envelope import Envelope
from edge.guards.hosts import RefusesOtherHosts
from edge.guards.limits import STATIC, Limits, given_caller
from edge.guards.refusals import reply_to_error
from edge.routes.account import account_routes
from edge.routes.account_pages import account_pages
from edge.routes.account_passkeys import passkey_routes
from edge.routes.account_sign_in import sign_in_routes
from edge.routes.complaints import complaint_routes
from edge.routes.delivery import delivery_routes
from edge.routes.generations import generation_routes
from edge.routes.health import healthz, readyz
from edge.routes.images import image_routes
from edge.routes.keys import key_routes
from edge.routes.models import model_routes
from edge.routes.moderations import moderation_routes
from edge.routes.pages import front_page
from edge.routes.privacy import privacy_routes
from edge.routes.privacy_me import me_routes
from edge.routes.privacy_requests import request_routes
from edge.routes.receipts import key_set, receipt_routes
from edge.routes.report_page import report_pages
from edge.routes.stored_images import stored_image_routes
from edge.routes.training import training_routes
from edge.routes.your_data import your_data_routes
from edge.services import Services

HERE = Path(__file__).parent
MAX_BODY_BYTES = 128 * 1024  # a receipt to be checked is the largest; routes for pictures have a cap of their own
STATIC_FRESH_S = 300


def create_app(services: Services) -> Litestar:
    limits = Limits(services)
    app = Litestar(
        route_handlers=[
            front_page,
            healthz,
            readyz,
            image_routes,
            stored_image_routes,
            generation_routes,
            model_routes,
            moderation_routes,
            complaint_routes,
            account_pages,
            account_routes,
            sign_in_routes,
            passkey_routes,
            key_routes,
            delivery_routes,
            *privacy_routes,
            me_routes,
            request_routes,
            training_routes,
            key_set,
            receipt_routes,
            your_data_routes,
            report_pages,
            create_static_files_router(
                "/static",
                directories=[STATIC],
                cache_control=CacheControlHeader(max_age=STATIC_FRESH_S),
                include_in_schema=False,
            ),
        ],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "caller": Provide(given_caller, sync_to_thread=False),
        },
        exception_handlers={Exception: reply_to_error},
        guards=[RefusesOtherHosts(services.settings), RefusesCrossSite(services), limits],
        lifespan=[partial(_open, services)],
        logging_config=None,  # Litestar's would print bodies, headers and queries
        openapi_config=OpenAPIConfig(
            title="Sfumato",
            version="1",
            path="/schema",
            render_plugins=[JsonRenderPlugin()],
            description="Pictures from prompts, in OpenAI's shapes, that are gone at the promised minute.",
        ),
        request_max_body_size=MAX_BODY_BYTES,
        template_config=TemplateConfig(directory=HERE / "templates", engine=JinjaTemplateEngine),
    )
    app.asgi_handler = Envelope(
        app.asgi_handler, limits, body_within_s=services.body_within_s, is_https=services.settings.is_https
    )
    return app


@asynccontextmanager
async def _open(services: Services, _: Litestar) -> AsyncGenerator[None]:
    try:
        await migrate(services.database.engine)
        if services.counter_store is not None:
            await require_forgetful(services.counter_store)
        async with services.semantics or nullcontext(), services.gate, services.runs:
            yield
    finally:
        await services.database.close()
        if services.counter_store is not None:
            await services.counter_store.aclose()
