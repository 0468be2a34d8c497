"""`/v1/models`: what this caller may ask for."""

from datetime import UTC, datetime, time
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.params import PathParameter

from edge.domain.orders import sizes_within
from edge.errors import NotFound
from edge.guards.scopes import needs
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.replies import ModelCard, ModelCards, model_card
from policies.schema import Model, Plan, Policies


@get("/", responses=api_errors())
async def list_models(caller: GivenCaller, services: GivenServices) -> ModelCards:
    return ModelCards(cards_of(caller.plan, services.policies))


@get("/{model:str}", responses=api_errors(404))
async def show_model(
    model: Annotated[str, PathParameter(description="A model's id.", max_length=64)],
    caller: GivenCaller,
    services: GivenServices,
) -> ModelCard:
    for card in cards_of(caller.plan, services.policies):
        if card.id == model:
            return card
    raise NotFound("there is no such model", param="model")


def cards_of(plan: Plan, policies: Policies) -> list[ModelCard]:
    offered = [(name, policies.models.models[name]) for name in plan.models]
    return [
        model_card(name, _within(plan, model), int(datetime.combine(model.created, time(), UTC).timestamp()))
        for name, model in offered
    ]


def _within(plan: Plan, model: Model) -> Model:
    """The model as far as the plan goes."""
    steps = msgspec.structs.replace(model.steps, maximum=min(model.steps.maximum, plan.max_steps))
    return msgspec.structs.replace(model, sizes=sizes_within(plan, model), steps=steps)


model_routes = Router("/v1/models", route_handlers=[list_models, show_model], tags=["models"], opt=needs("read"))
