"""The policy as people and programs read it, and what they learn when a promise does not hold."""

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from httpx2 import Response

from edge.db.rows import CanaryRow
from edge.domain.reports import HourlyReport, Report, RulesReport, SweepReport, put_report
from policies.load import load_policies
from policies.presets import write_preset
from policies.publish import lifecycle_rules
from tests.edge.edges import Clock, Edge, make_edge


@pytest.fixture
def edge(edge_on_each_database: Edge) -> Edge:
    return edge_on_each_database


DAY_S = 86_400
PUBLIC = base64.b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()


def words(page: Response) -> str:
    """What a reader sees, as one line."""
    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_data = seen.append
    parser.feed(page.text)
    return " ".join("".join(seen).split())


async def report(edge: Edge, *reports: Report) -> None:
    for each in reports:
        await edge.services.database.write(partial(put_report, report=each))


@pytest.mark.parametrize("path", ["/privacy", "/privacy/status", "/v1/privacy/retention", "/.well-known/gpc.json"])
async def test_nobody_has_to_be_anyone_to_read_what_is_kept(edge: Edge, path: str) -> None:
    reply = await edge.client.get(path)
    assert reply.status_code == 200
    assert not {"x-sfumato-session", "set-cookie"} & set(reply.headers)


async def test_the_policy_is_data(edge: Edge) -> None:
    policy = (await edge.client.get("/v1/privacy/retention")).json()
    assert policy["plans"]["anonymous"]["default"] == "PT1H"
    assert {kept["name"] for kept in policy["classes"]} == set(edge.services.policies.retention.classes.by_name())
    assert len(policy["backstop"]) == len(lifecycle_rules(edge.services.policies))


async def test_global_privacy_control_is_said_to_be_obeyed_since_the_policy_in_force(edge: Edge) -> None:
    reply = await edge.client.get("/.well-known/gpc.json")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {"gpc": True, "lastUpdate": str(edge.services.policies.retention.effective)}


ANSWERS: dict[str, dict[str, str]] = {
    "opt_out": {
        "Are my pictures kept?": "1 hour, then deleted; a copy for training up to 365 days, unless you say no",
        "Are they used for training?": "Unless you say no",
        "Does anyone else see them?": "Whom you give the address; and the operator, where a copy is made",
        "Are prompts stored?": "30 days, sealed; with a copy for training up to 365 days",
        "How do I delete?": "Any time, at once",
    },
    "opt_in": {
        "Are my pictures kept?": "1 hour, then deleted Choose up to 1 day",
        "Are they used for training?": "Only if you say yes",
        "Does anyone else see them?": "Only whom you give the address",
        "Are prompts stored?": "30 days, sealed To answer",
        "How do I delete?": "Any time, at once",
    },
    "never": {
        "Are my pictures kept?": "1 hour, then deleted Choose up to 1 day",
        "Are they used for training?": "No Nothing made here",
        "Does anyone else see them?": "Only whom you give the address",
        "Are prompts stored?": "30 days, sealed To answer",
        "How do I delete?": "Any time, at once",
    },
}


@asynccontextmanager
async def edge_with(home: Path, mode: str, **env: str) -> AsyncGenerator[Edge]:
    """An edge whose policy has this mode of training."""
    write_preset("european", home / "policies")
    retention = home / "policies" / "retention.toml"
    retention.write_text(retention.read_text().replace('mode = "opt_in" #', f'mode = "{mode}" #').replace(
        'ground = "consent" #', 'ground = "legitimate interest" #'))  # fmt: skip
    async with make_edge(home, Clock(), env={"SFUMATO_POLICIES": str(home / "policies"), **env}).opened() as edge:
        yield edge


@pytest.mark.parametrize("mode", ANSWERS)
async def test_five_questions_are_answered_as_is_true_in_this_mode_of_training(tmp_path: Path, mode: str) -> None:
    async with edge_with(tmp_path, mode, SFUMATO_TRAINING_KEY=PUBLIC) as edge:
        page = words(await edge.client.get("/privacy"))
    for question, answer in ANSWERS[mode].items():
        assert f"{question} {answer}" in page
    assert "Copies in backups are gone within 31 days" in page
    assert edge.services.policies.retention.undisclosed in page
    journey = page[page.index("The journey of a prompt") : page.index("All that is kept")]
    copied = {"opt_out": "Unless you say no, a copy of both", "opt_in": "Only if you say yes, a copy of both"}
    assert ("a copy of both" in journey, "the copy for training after 365 days" in journey) == (mode != "never",) * 2
    assert copied.get(mode, "") in journey
    assert ("a model that has learned from a picture is not untrained" in page) == (mode != "never")


async def test_where_no_key_is_set_no_page_speaks_of_copies_as_if_they_were_made(edge: Edge) -> None:
    page, front = words(await edge.client.get("/privacy")), words(await edge.client.get("/"))
    assert "Are they used for training? Not now No key for copies is set here" in page
    assert "1 hour, then deleted Choose" in page
    assert "a copy of both" not in page
    assert "Nothing is copied for training." in front
    assert "Training allowed" not in front


async def test_the_front_page_says_in_sight_how_long_a_copy_for_training_is_kept(tmp_path: Path) -> None:
    async with edge_with(tmp_path, "opt_out", SFUMATO_TRAINING_KEY=PUBLIC) as edge:
        front = await edge.client.get("/")
    assert '<p id="training-note" class="aside"><b>Training allowed</b>' in front.text
    assert words(front).count("365 days at most") == 2


async def test_a_backstop_is_promised_only_where_the_store_has_one(tmp_path: Path) -> None:
    async with edge_with(tmp_path / "a", "opt_out") as edge:
        page = words(await edge.client.get("/privacy"))
    assert "nothing but the deleter removes them" in page
    for promise in ("the store by itself", "prove that it runs", "Two clocks"):
        assert promise not in page
    store = {"S3_URL": "http://127.0.0.1:9", "S3_BUCKET": "b", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s"}
    async with edge_with(
        tmp_path / "b", "opt_out", **{f"SFUMATO_{name}": value for name, value in store.items()}
    ) as edge:
        page = words(await edge.client.get("/privacy"))
    for promise in ("1 day the store by itself: 2 days", "prove that it runs", "Two clocks"):
        assert promise in page
    assert "Pictures lie in a directory here" not in page


async def test_the_page_follows_the_policy_and_not_the_code(tmp_path: Path) -> None:
    write_preset("european", tmp_path / "policies")
    plans = tmp_path / "policies" / "plans.toml"
    plans.write_text(plans.read_text().replace('default = "PT1H"', 'default = "PT90M"'))
    env = {"SFUMATO_POLICIES": str(tmp_path / "policies"), "SFUMATO_TRAINING_KEY": PUBLIC}
    edge = make_edge(tmp_path, Clock(), env=env)
    async with edge.opened():
        page, front = words(await edge.client.get("/privacy")), words(await edge.client.get("/"))
    assert "1 hour 30 minutes, then deleted" in page
    assert "Only if you say yes in force here, on the ground of consent" in page
    assert "1 hour 30 minutes after it was made" in front
    assert "only where you say yes" in front


async def test_the_front_page_says_what_happens_to_a_prompt(edge: Edge) -> None:
    page = words(await edge.client.get("/"))
    assert "Your prompt is kept 30 days, encrypted, to answer for what was made" in page


async def test_pages_carry_neither_scripts_nor_styles_of_their_own(edge: Edge) -> None:
    for path in ("/privacy", "/privacy/status"):
        page = (await edge.client.get(path)).text
        assert "<script" not in page
        assert "style=" not in page
        assert "http://" not in page
        assert "https://" not in page


async def test_before_the_first_report_nothing_is_claimed(edge: Edge) -> None:
    page = words(await edge.client.get("/privacy/status"))
    assert "The deleter has not reported yet." in page
    assert "What should have gone is gone" not in page
    assert "Nobody has looked at the store's rules yet" in page


async def test_a_directory_is_said_to_have_no_rules(edge: Edge) -> None:
    now = int(edge.clock.now)
    finding = "pictures lie in a directory: nothing to do"
    await report(
        edge,
        SweepReport(at=now - 12, removed={"objects": 3, "jobs": 1}, lag_s=2.0),
        HourlyReport(at=now - 900),
        RulesReport(at=now, state="none", findings=[finding]),
    )
    page = words(await edge.client.get("/privacy/status"))
    assert "Yes. What should have gone is gone." in page
    assert "a directory has no lifecycle rules" in page
    assert "Last run12 seconds ago" in page
    assert "It removed objects: 3, jobs: 1." in page
    assert "The checks of every hour: 15 minutes ago." in page
    assert finding not in page  # it is said once, in words for visitors


async def test_a_deleter_that_is_silent_for_five_minutes_is_an_alarm(edge: Edge) -> None:
    await report(edge, SweepReport(at=int(edge.clock.now), removed={}))
    edge.clock.advance(299)
    assert "has not reported" not in (await edge.client.get("/privacy/status")).text
    edge.clock.advance(2)
    page = await edge.client.get("/privacy/status")
    assert 'class="alarms"' in page.text
    assert "The deleter has not reported for 5 minutes." in words(page)


async def test_rules_that_differ_are_an_alarm_that_says_how(edge: Edge) -> None:
    now = int(edge.clock.now)
    finding = "There is no rule for img/8d/."
    await report(edge, SweepReport(at=now, removed={}), RulesReport(at=now, state="differ", findings=[finding]))
    page = words(await edge.client.get("/privacy/status"))
    assert page.count(finding) == 2
    assert "it is not as the policy says" in page


@pytest.mark.parametrize(
    ("days_later", "gone_after_days", "said"),
    [(2, None, "0 gone, 1 waiting"), (10, 2, "1 gone, 0 waiting"), (10, None, "0 gone, 0 waiting, 1 overdue")],
)
async def test_canaries_are_counted_by_their_state(
    edge: Edge, days_later: int, gone_after_days: int | None, said: str
) -> None:
    planted_at = int(edge.clock.now)

    def plant(day: int) -> CanaryRow:
        gone_at = None if gone_after_days is None else planted_at + gone_after_days * DAY_S
        return CanaryRow(
            id=f"{day:032x}", class_days=1, key=f"img/1d/canary/{day}", planted_at=planted_at,
            due_at=planted_at + 3 * DAY_S, gone_at=gone_at, forget_at=planted_at + 30 * DAY_S,
        )  # fmt: skip

    await edge.services.database.write(lambda db: db.add(plant(1)))
    edge.clock.advance(days_later * DAY_S)
    assert said in words(await edge.client.get("/privacy/status"))


async def test_the_rules_asked_of_a_store_are_listed_with_their_digest(edge: Edge) -> None:
    page = words(await edge.client.get("/privacy/status"))
    digest = (await edge.client.get("/v1/privacy/retention")).json()["backstop_digest"]
    assert f"Digest {digest}" in page
    for rule in lifecycle_rules(load_policies()):
        assert f"{rule.prefix}{rule.days} day" in page


async def test_the_page_says_when_the_database_overwrites_what_is_deleted(edge_on_each_database: Edge) -> None:
    page = " ".join((await edge_on_each_database.client.get("/privacy")).text.split())
    at_once = "overwritten in its files at once."
    later = "overwritten in its files and its log when it uses their space again, not at once."
    overwrites = edge_on_each_database.services.database.overwrites
    assert (at_once in page, later in page) == (overwrites, not overwrites)
