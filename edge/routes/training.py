"""`/v1/privacy/training`: whether pictures made here train models, and this caller's word about it."""

from functools import partial
from typing import Literal

from litestar import Router, get, put
from litestar.params import JSONBody
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy.orm import Session

from edge.domain.deletions import Deletion
from edge.domain.owner import Caller
from edge.domain.training import (
    Asked,
    Because,
    Choice,
    choice_of,
    choose,
    count_copies,
    decide,
    refuse_what_cannot_be,
)
from edge.guards.scopes import needs
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.strict_body import StrictBody
from edge.services import Services
from policies.schema import TrainingMode

TRAINED = "A model that has learned from a picture is not untrained when the copy goes."

WORDS: dict[Because, str] = {
    "gpc": "Your browser's Global Privacy Control says no, and that wins.",
    "policy": "Nothing made here is used for training.",
    "no_key": "The operator has set no training key, so nothing is copied.",
    "not_kept": "What is not stored for a time is never copied.",
    "request": "The call said so.",
    "choice": "You chose so.",
    "account": "An account's pictures are copied only where it says yes.",
    "mode": "You made no choice, so the policy's usual answer holds.",
}


class TrainingChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """What holds from now on. `deny` also takes back every copy there is; a call's own `training` is more specific."""

    choice: Choice


class TrainingStanding(Struct, frozen=True, kw_only=True):
    """How it stands for a picture that is made now, stored for a time, by a call that says nothing about training.

    `choice` is null where none was made. `withdrawn` and `receipt` are the answer to a no: how many copies it took
    back, and the receipt for that.
    """

    object: Literal["training"] = "training"
    mode: TrainingMode
    ground: str
    means: str
    trained: str = TRAINED
    choice: Choice | None
    gpc: bool
    effective: Choice
    because: Because
    says: str
    copies: int
    withdrawn: int | UnsetType = UNSET
    receipt: str | UnsetType = UNSET


@get("/", responses=api_errors())
async def show_training(caller: GivenCaller, services: GivenServices) -> TrainingStanding:
    return await _standing(caller, services)


@put("/", dto=StrictBody[TrainingChoice], return_dto=None, responses=api_errors(413, 415))
async def choose_training(
    data: JSONBody[TrainingChoice], caller: GivenCaller, services: GivenServices
) -> TrainingStanding:
    deletion = await say(data.choice, caller, services)
    if data.choice == "allow":
        return await _standing(caller, services)
    if deletion is None:
        return await _standing(caller, services, withdrawn=0)
    withdrawn = deletion.claims.counts.training_copies
    return await _standing(caller, services, withdrawn=withdrawn, receipt=deletion.receipt)


async def say(choice: Choice, caller: Caller, services: Services) -> Deletion | None:
    """Keeps the choice, and takes back what there is after a no: None where that is nothing. Raises BadInput."""
    refuse_what_cannot_be(choice, services.training, param="choice")
    if choice == "deny":
        return await services.deletions.refuse_training(caller.owner)
    await services.database.write(partial(choose, owner=caller.owner, choice=choice, now=services.clock()))
    return None


async def _standing(
    caller: Caller, services: Services, *, withdrawn: int | UnsetType = UNSET, receipt: str | UnsetType = UNSET
) -> TrainingStanding:
    choice, copies = await services.database.read(partial(_held, caller=caller))
    answer = decide(Asked(owner_kind=caller.owner.kind, gpc=caller.gpc, choice=choice), services.training)
    policy = services.policies.retention.training
    return TrainingStanding(
        mode=policy.mode,
        ground=policy.ground,
        means=policy.means,
        choice=choice,
        gpc=caller.gpc,
        effective=answer.effective,
        because=answer.because,
        says=WORDS[answer.because],
        copies=copies,
        withdrawn=withdrawn,
        receipt=receipt,
    )


def _held(db: Session, caller: Caller) -> tuple[Choice | None, int]:
    return choice_of(db, caller.owner), count_copies(db, caller.owner)


training_routes = Router(
    "/v1/privacy/training", route_handlers=[show_training, choose_training], tags=["privacy"], opt=needs("privacy")
)
