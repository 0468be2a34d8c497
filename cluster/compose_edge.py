"""The one place that builds an edge, around a generator that its caller chose, and the sweeper from the same parts."""

from time import time
from urllib.parse import urlsplit

from litestar import Litestar
from valkey.asyncio import Valkey

from cluster.day_keys import DayKeys
from cluster.lifecycle import run_sweeper
from cluster.operator_app import OperatorSettings, operator_served
from cluster.sweep import Parts
from edge.app import create_app
from edge.db.counter_store import open_counter_store
from edge.db.database import Database, open_engine
from edge.db.migrate import migrate
from edge.db.rows import NoticeKeyRow
from edge.domain.api_keys import KnownKeys
from edge.domain.challenges import Challenges
from edge.domain.conduct import Clock, Conductor
from edge.domain.day_seal import DayKeysRead
from edge.domain.deletions import Deletions
from edge.domain.events import EventHub, MemoryHub
from edge.domain.keyring import Keyring
from edge.domain.limits.gate import Gate
from edge.domain.limits.limiter import Limiter
from edge.domain.limits.memory import MemoryLimiter
from edge.domain.limits.proof import Proofs
from edge.domain.limits.shared import SharedLimiter
from edge.domain.limits.steady import SteadyLimiter
from edge.domain.limits.tries import Tries, failed_entries, made_accounts, taken_appeals, taken_reports
from edge.domain.moderation.judge import Judge
from edge.domain.moderation.semantics import Semantics
from edge.domain.page_tokens import PageTokens
from edge.domain.passkeys import RelyingParty
from edge.domain.prompts import PromptSealer
from edge.domain.receipts import Signer
from edge.domain.rotation import Rotation
from edge.domain.runs import UNWATCHED_S, Runs
from edge.domain.shared_events import SharedHub
from edge.domain.sign_ins import KnownSignIns
from edge.domain.training import terms_of
from edge.guards.moderation import Moderation
from edge.services import HEARTBEAT_S, Services
from edge.settings import Places, Settings
from policies.load import load_policies
from policies.schema import Policies
from serve_app.contract import Generator
from serve_app.storage.opening import open_store


def build_edge(settings: Settings, policies: Policies, generator: Generator) -> Litestar:
    return create_app(build_services(settings, policies, generator, semantics=build_semantics(policies)))


def build_semantics(policies: Policies) -> Semantics:
    return Semantics({name: category.exemplars for name, category in policies.moderation.categories.items()})


def build_services(
    settings: Settings, policies: Policies, generator: Generator, *, semantics: Semantics | None = None,
    clock: Clock = time,
    heartbeat_s: float = HEARTBEAT_S, unwatched_s: float = UNWATCHED_S,
) -> Services:  # fmt: skip
    database = Database(open_engine(settings.database_url))
    store = open_store(settings.store)
    keyring = Keyring(settings.secret)
    counter_store = open_counter_store(settings.valkey_url) if settings.valkey_url else None
    hub = _hub(counter_store, policies.retention.classes.job_events.duration_s)
    prompts = PromptSealer(database, policies.retention.classes.moderation_prompt.duration_s)
    terms = terms_of(policies, settings.training_key)
    conductor = Conductor(generator, database, store, keyring, clock, policies)
    runs = Runs(conductor, database, hub, keyring, prompts, policies, terms, clock, unwatched_s)
    signer = Signer(keyring)
    proofs = Proofs(keyring.proof_key, policies.plans.anonymous_budget.proof_cost, clock)
    known_keys = KnownKeys(database, keyring, clock)
    known_sign_ins = KnownSignIns(database, keyring, clock)
    limiter = _limiter(counter_store)
    return Services(
        settings=settings,
        policies=policies,
        database=database,
        store=store,
        counter_store=counter_store,
        generator=generator,
        hub=hub,
        gate=Gate(limiter, policies.plans, proofs, clock),
        moderation=Moderation(Judge(policies.moderation, semantics), policies, database, keyring, clock),
        semantics=semantics,
        keyring=keyring,
        known_keys=known_keys,
        known_sign_ins=known_sign_ins,
        relying_party=RelyingParty(urlsplit(settings.public_url).hostname or "", settings.public_url),
        challenges=Challenges(keyring, limiter, clock),
        made_accounts=Tries(made_accounts(policies.plans.entry), limiter, clock),
        failed_entries=Tries(failed_entries(policies.plans.entry), limiter, clock),
        taken_reports=Tries(taken_reports(policies.plans.notices), limiter, clock),
        taken_appeals=Tries(taken_appeals(policies.plans.notices), limiter, clock),
        notice_keys=DayKeysRead(database, NoticeKeyRow),
        rotation=Rotation(database, policies.retention.classes.session.duration_s, clock),
        prompts=prompts,
        runs=runs,
        signer=signer,
        deletions=Deletions(
            issuer=settings.public_url,
            database=database,
            store=store,
            runs=runs,
            known_keys=known_keys,
            known_sign_ins=known_sign_ins,
            signer=signer,
            keyring=keyring,
            policies=policies,
            clock=clock,
        ),
        page_tokens=PageTokens(keyring),
        clock=clock,
        heartbeat_s=heartbeat_s,
    )


def _limiter(counter_store: Valkey | None) -> Limiter:
    local = MemoryLimiter()
    return local if counter_store is None else SteadyLimiter(SharedLimiter(counter_store), local)


def _hub(counter_store: Valkey | None, kept_after_end_s: float) -> EventHub:
    return MemoryHub(kept_after_end_s) if counter_store is None else SharedHub(counter_store, kept_after_end_s)


async def run_sweeper_from(places: Places, keys: DayKeys, operator: OperatorSettings) -> None:
    """Until cancelled."""
    database = Database(open_engine(places.database_url))
    parts = Parts(
        clock=time,
        store=open_store(places.store),
        store_settings=places.store,
        database=database,
        policies=load_policies(places.policies),
        keys=keys,
    )
    try:
        await migrate(database.engine)
        async with operator_served(parts, operator):
            await run_sweeper(parts)
    finally:
        await database.close()
