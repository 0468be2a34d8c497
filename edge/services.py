"""Everything the routes need, built elsewhere and passed in."""

from dataclasses import dataclass

from valkey.asyncio import Valkey

from edge.db.database import Database
from edge.domain.api_keys import KnownKeys
from edge.domain.challenges import Challenges
from edge.domain.conduct import Clock
from edge.domain.day_seal import DayKeysRead
from edge.domain.deletions import Deletions
from edge.domain.events import EventHub
from edge.domain.keyring import Keyring
from edge.domain.limits.gate import Gate
from edge.domain.limits.tries import Tries
from edge.domain.moderation.semantics import Semantics
from edge.domain.page_tokens import PageTokens
from edge.domain.passkeys import RelyingParty
from edge.domain.prompts import PromptSealer
from edge.domain.receipts import Signer
from edge.domain.rotation import Rotation
from edge.domain.runs import Runs
from edge.domain.sign_ins import KnownSignIns
from edge.domain.training import Terms, terms_of
from edge.guards.moderation import Moderation
from edge.settings import Settings
from policies.schema import Plan, Policies
from serve_app.contract import Generator
from serve_app.storage.store import ObjectStore

HEARTBEAT_S = 10.0
BODY_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`counter_store` is None where this edge is the only one; `semantics` where prompts are judged by words alone."""

    settings: Settings
    policies: Policies
    database: Database
    store: ObjectStore
    counter_store: Valkey | None
    generator: Generator
    hub: EventHub
    gate: Gate
    moderation: Moderation
    semantics: Semantics | None
    keyring: Keyring
    known_keys: KnownKeys
    known_sign_ins: KnownSignIns
    relying_party: RelyingParty
    challenges: Challenges
    made_accounts: Tries
    failed_entries: Tries
    taken_reports: Tries
    taken_appeals: Tries
    notice_keys: DayKeysRead
    rotation: Rotation
    prompts: PromptSealer
    runs: Runs
    signer: Signer
    deletions: Deletions
    page_tokens: PageTokens
    clock: Clock
    heartbeat_s: float = HEARTBEAT_S
    body_within_s: float = BODY_WITHIN_S

    @property
    def session_idle_s(self) -> float:
        return self.policies.retention.classes.session.duration_s

    @property
    def training(self) -> Terms:
        return terms_of(self.policies, self.settings.training_key)

    @property
    def anonymous_plan(self) -> Plan:
        return self.policies.plans.plans["anonymous"]
