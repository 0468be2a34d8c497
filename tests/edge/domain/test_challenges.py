"""A challenge is answered once: at one edge alone, and at many that share a counter store."""

import pytest

from edge.domain.challenges import LIVES_S, Challenges
from edge.domain.keyring import Keyring
from edge.domain.limits.memory import MemoryLimiter
from edge.domain.owner import Owner, OwnerId
from tests.edge.edges import Clock, Edge, make_edge

KEYRING = Keyring("s" * 40)
BROWSER = Owner("session", OwnerId("1" * 32))
ACCOUNT = "2" * 32


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def challenges(clock: Clock) -> Challenges:
    return Challenges(KEYRING, MemoryLimiter(), clock)


async def test_it_is_answered_once_and_says_whose_passkey_it_is_for(challenges: Challenges) -> None:
    challenge = challenges.issue("sign_up", BROWSER, ACCOUNT)
    answered = await challenges.spend(challenge, "sign_up", BROWSER)
    assert answered
    assert answered.account_id == ACCOUNT
    assert await challenges.spend(challenge, "sign_up", BROWSER) is None


async def test_an_answer_that_is_refused_uses_nothing_up(challenges: Challenges) -> None:
    challenge = challenges.issue("sign_in", BROWSER, ACCOUNT)
    assert await challenges.spend(challenge, "sign_up", BROWSER) is None
    assert await challenges.spend(challenge, "sign_in", Owner("session", OwnerId("3" * 32))) is None
    assert await challenges.spend(challenge[:-1] + b"!", "sign_in", BROWSER) is None
    assert await challenges.spend(challenge, "sign_in", BROWSER)


async def test_used_or_not_it_is_over_after_its_time(challenges: Challenges, clock: Clock) -> None:
    used, unused = (challenges.issue("sign_in", BROWSER, ACCOUNT) for _ in range(2))
    assert await challenges.spend(used, "sign_in", BROWSER)
    for _ in range(8):  # as long as its use is remembered, and longer
        clock.advance(LIVES_S / 4)
        assert await challenges.spend(used, "sign_in", BROWSER) is None
    assert await challenges.spend(unused, "sign_in", BROWSER) is None


async def test_what_was_answered_at_one_edge_is_refused_at_another(
    tmp_path_factory: pytest.TempPathFactory, valkey_url: str
) -> None:
    edges: list[Edge] = [
        make_edge(tmp_path_factory.mktemp("edge"), Clock(), env={"SFUMATO_VALKEY_URL": valkey_url}) for _ in range(2)
    ]
    async with edges[0].opened() as one, edges[1].opened() as other:
        challenge = one.services.challenges.issue("sign_in", BROWSER, ACCOUNT)
        assert await one.services.challenges.spend(challenge, "sign_in", BROWSER)
        assert await other.services.challenges.spend(challenge, "sign_in", BROWSER) is None
        second = one.services.challenges.issue("sign_in", BROWSER, ACCOUNT)
        assert await other.services.challenges.spend(second, "sign_in", BROWSER)
