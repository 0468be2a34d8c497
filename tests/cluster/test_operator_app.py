"""`/metrics` of a sweeper: for whoever has the token, from what the deleter reports."""

import asyncio
import re
import socket
from functools import partial
from pathlib import Path

import pytest
import yaml
from httpx2 import AsyncClient, ConnectError
from prometheus_client.parser import text_string_to_metric_families

from cluster.home import HomeError, prepare_home
from cluster.lifecycle import sweep_once
from cluster.metrics import COUNTERS, GAUGES, Seen, exposition
from cluster.operator_app import OperatorSettings, operator_served
from edge.domain.reports import CanaryReport, HourlyReport, RulesReport, SweepReport, put_report
from edge.domain.standing import Standing
from tests.edge.edges import Edge
from tests.servers import free_ports
from tests.sweeping import parts_of

TOKEN = "o" * 32
ALERTS = Path(__file__).parents[2] / "cluster" / "alerts.yml"


def told(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(port: int, token: str | None) -> tuple[int, str]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with AsyncClient(trust_env=False) as client, asyncio.timeout(20):
        while True:
            try:
                reply = await client.get(f"http://127.0.0.1:{port}/metrics", headers=headers)
            except ConnectError:
                await asyncio.sleep(0.01)
            else:
                return reply.status_code, reply.text


async def test_the_metrics_tell_what_the_sweeper_did(edge: Edge):
    parts, [port] = parts_of(edge.services, edge.keys), free_ports(1)
    await edge.draw(n=2, retention="PT1M")
    edge.clock.advance(70)
    report = await sweep_once(parts)
    await parts.database.write(partial(put_report, report=report))
    async with operator_served(parts, OperatorSettings(port, TOKEN)):
        status, text = await scrape(port, TOKEN)
    values = told(text)
    assert status == 200
    assert values["sfumato_deleted_totalobjects"] == 2
    assert values["sfumato_sweep_lag_seconds"] == 10
    assert values["sfumato_rules_held"] == 0


@pytest.mark.parametrize("token", [None, "", "x" * 32, TOKEN + "x"])
async def test_without_the_token_there_is_nothing_to_see(edge: Edge, token: str | None):
    [port] = free_ports(1)
    async with operator_served(parts_of(edge.services, edge.keys), OperatorSettings(port, TOKEN)):
        status, text = await scrape(port, token)
    assert (status, "sfumato_" in text) == (401, False)


async def test_a_port_in_use_or_no_token_stops_no_deletion(edge: Edge, caplog: pytest.LogCaptureFixture):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with operator_served(parts_of(edge.services, edge.keys), OperatorSettings(taken.getsockname()[1], TOKEN)):
            assert "no metrics are served: port" in caplog.text
    async with operator_served(parts_of(edge.services, edge.keys), OperatorSettings(1, None)):
        assert (await sweep_once(parts_of(edge.services, edge.keys))).is_complete


def test_a_short_token_is_refused_and_not_shown():
    with pytest.raises(HomeError, match="SFUMATO_OPERATOR_TOKEN") as refused:
        OperatorSettings.from_env({"SFUMATO_OPERATOR_TOKEN": "hunter2"})
    assert "hunter2" not in str(refused.value)


def test_up_makes_a_token_for_an_older_home_too(tmp_path: Path):
    made = prepare_home(tmp_path)["SFUMATO_OPERATOR_TOKEN"]
    file = tmp_path / "secrets.env"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "OPERATOR" not in line))
    again = prepare_home(tmp_path)["SFUMATO_OPERATOR_TOKEN"]
    assert (again == made, prepare_home(tmp_path)["SFUMATO_OPERATOR_TOKEN"]) == (False, again)
    assert OperatorSettings.from_env({"SFUMATO_OPERATOR_TOKEN": again}) == OperatorSettings(8081, again)


def test_every_metric_of_the_table_is_told_and_an_overdue_canary_counts():
    planted = [(50, None), (99, None), (101, None), (101, 60)]
    standing = Standing(
        now=100,
        sweep=SweepReport(at=90, removed={}, lag_s=4.5, oldest_due_at=40, left=["objects"]),
        hourly=HourlyReport(at=70, left=["orphans"]),
        rules=RulesReport(at=80, state="agree"),
        canaries=[
            CanaryReport(prefix="img/1d/", class_days=1, planted_at=0, due_at=due_at, gone_at=gone_at)
            for due_at, gone_at in planted
        ],
        watched=["img/1d/", "img/2d/"],
    )
    values = told(exposition(Seen(removed={"objects": 3}, standing=standing)).decode())
    assert set(GAUGES) < set(values)
    assert (values["sfumato_canary_overdue"], values["sfumato_canary_waiting"]) == (2, 1)
    assert (values["sfumato_sweep_overdue_seconds"], values["sfumato_sweep_left"]) == (60, 1)
    assert (values["sfumato_canary_early"], values["sfumato_canary_unwatched"]) == (1, 1)
    assert (values["sfumato_checks_timestamp_seconds"], values["sfumato_checks_left"]) == (70, 1)
    assert values["sfumato_rules_held"] == 1


def test_alerts_name_only_metrics_that_exist():
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    named = {name for rule in rules for name in re.findall(r"sfumato_\w+", rule["expr"])}
    assert named <= set(GAUGES) | set(COUNTERS)
    assert {
        name for name in GAUGES if name.startswith(("sfumato_canary", "sfumato_rules", "sfumato_checks"))
    } - named == {"sfumato_canary_waiting"}
    assert all(rule["alert"] and rule["annotations"]["summary"] for rule in rules)
