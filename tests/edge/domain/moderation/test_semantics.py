"""Semantics with the real worker, killed, stopped and replaced by one that talks nonsense."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import psutil
import pytest

from edge.domain.moderation.semantics import MAX_CALLS, Pace, Semantics
from edge.errors import ModerationUnavailable

EXEMPLARS = {"dogs": ["a dog in the snow", "a puppy plays with a ball"], "fruit": ["a bowl of fruit", "ripe apples"]}
ODD = (sys.executable, str(Path(__file__).parent / "odd_worker.py"))
PATIENT_S = 30.0
BRISK = Pace(first_rest_s=0.02, longest_rest_s=0.1)
HASTY = Pace(answer_s=1.0, first_rest_s=0.02, longest_rest_s=0.1)
NONSENSE = [
    "too few texts", "too many texts", "too few categories", "no number", "beyond one", "below zero",
    "another question", "no message", "other shape", "texts in the answer", "endless", "silence", "death",
]  # fmt: skip


@pytest.fixture
async def semantics() -> AsyncIterator[Semantics]:
    async with Semantics(EXEMPLARS, pace=BRISK) as semantics:
        await semantics.scores(["ready"], deadline_s=PATIENT_S)
        yield semantics


@pytest.fixture
async def hasty() -> AsyncIterator[Semantics]:
    """Gives up a worker soon."""
    async with Semantics(EXEMPLARS, pace=HASTY) as semantics:
        await semantics.scores(["ready"], deadline_s=PATIENT_S)
        yield semantics


async def asked() -> None:
    """What was begun in this loop has gone as far as it goes without the worker."""
    for _ in range(20):
        await asyncio.sleep(0)


def workers() -> list[psutil.Process]:
    """Those that live."""
    return [child for child in psutil.Process().children() if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    try:
        return "edge.domain.moderation.meaning_worker" in process.cmdline()
    except psutil.NoSuchProcess:  # or about to be
        return False


def the_worker() -> psutil.Process:
    (worker,) = workers()
    return worker


async def test_a_text_is_nearest_to_what_means_alike(semantics: Semantics):
    dog, fruit, neither = await semantics.scores(
        ["a young dog runs in winter", "pears and apples in a basket", "quarterly tax law"], deadline_s=PATIENT_S
    )
    assert dog["dogs"] > 0.5 > dog["fruit"]
    assert fruit["fruit"] > 0.5 > fruit["dogs"]
    assert max(neither.values()) < 0.3


async def test_an_exemplar_is_as_near_as_can_be_and_nothing_is_below_zero(semantics: Semantics):
    same, other = await semantics.scores(["a dog in the snow", "quarterly tax law"], deadline_s=PATIENT_S)
    assert same["dogs"] == pytest.approx(1, abs=1e-3)
    assert min(other.values()) >= 0


async def test_a_blank_text_is_near_to_nothing(semantics: Semantics):
    assert await semantics.scores(["", " \n "], deadline_s=PATIENT_S) == [{"dogs": 0.0, "fruit": 0.0}] * 2
    assert await semantics.scores([], deadline_s=PATIENT_S) == []


async def test_what_stands_at_the_end_of_the_longest_text_is_found(semantics: Semantics):
    text = "a quiet harbour with boats, stone houses and a lighthouse at noon. " * 470 + "a dog in the snow"
    (score,) = await semantics.scores([text], deadline_s=PATIENT_S)
    assert score["dogs"] > 0.5


async def test_each_of_many_who_ask_at_once_gets_his_own_answer(semantics: Semantics):
    texts = [f"{number} dogs and {number % 7} apples" for number in range(60)]
    alone = [(await semantics.scores([text], deadline_s=PATIENT_S))[0] for text in texts]
    together = await asyncio.gather(*(semantics.scores([text], deadline_s=PATIENT_S) for text in texts))
    assert [score for (score,) in together] == [pytest.approx(score, abs=1e-5) for score in alone]


async def test_who_asks_at_once_is_read_together():
    async with Semantics(EXEMPLARS, command=(*ODD, "how many")) as semantics:
        await semantics.scores(["ready"], deadline_s=PATIENT_S)
        texts = [f"boat {number:02}" for number in range(20)]
        together = await asyncio.gather(*(semantics.scores([text], deadline_s=PATIENT_S) for text in texts))
        assert {score["dogs"] for (score,) in together} == {0.2}


async def test_one_longest_text_holds_up_no_short_one(semantics: Semantics):
    text = " ".join(f"word{number}" for number in range(1500))
    long = asyncio.create_task(semantics.scores([text], deadline_s=PATIENT_S))
    await asyncio.sleep(0)
    short = asyncio.create_task(semantics.scores(["a dog"], deadline_s=PATIENT_S))
    first, _ = await asyncio.wait([long, short], return_when=asyncio.FIRST_COMPLETED)
    assert first == {short}
    await long


async def test_texts_reach_neither_the_command_line_nor_a_log_nor_our_secrets_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    monkeypatch.setenv("SFUMATO_SECRET", "do-not-tell")
    caplog.set_level(logging.DEBUG)
    command = (*ODD, "texts in the answer", str(tmp_path / "was odd"))
    async with Semantics({"a": ["exemplar-sentinel"]}, command=command, pace=BRISK) as semantics:
        with pytest.raises(ModerationUnavailable) as refused:
            await semantics.scores(["text-sentinel"], deadline_s=PATIENT_S)
        await semantics.scores(["text-sentinel"], deadline_s=PATIENT_S)
        (worker,) = (child for child in psutil.Process().children() if str(tmp_path / "was odd") in child.cmdline())
        assert "sentinel" not in " ".join(worker.cmdline())
        assert "do-not-tell" not in str(worker.environ())
    assert "another starts" in caplog.text
    assert "sentinel" not in caplog.text
    assert "sentinel" not in str(refused.value)


async def test_a_worker_that_is_killed_fails_whom_it_was_reading_and_the_next_call_works(semantics: Semantics):
    worker = the_worker()
    worker.suspend()
    waiting = asyncio.create_task(semantics.scores(["a dog"], deadline_s=PATIENT_S))
    await asked()
    worker.kill()
    with pytest.raises(ModerationUnavailable):
        await waiting
    (score,) = await semantics.scores(["a dog"], deadline_s=PATIENT_S)
    assert score["dogs"] > 0.5
    assert the_worker().pid != worker.pid


async def test_a_worker_that_dies_while_nobody_asks_is_replaced_before_somebody_does(semantics: Semantics):
    worker = the_worker()
    worker.kill()
    async with asyncio.timeout(PATIENT_S):
        while not any(process.pid != worker.pid for process in workers()):  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0.01)
    assert (await semantics.scores(["a dog"], deadline_s=PATIENT_S))[0]["dogs"] > 0.5


async def test_a_call_waits_for_a_stopped_worker_no_longer_than_its_deadline(hasty: Semantics):
    worker = the_worker()
    worker.suspend()
    began_s = monotonic()
    with pytest.raises(ModerationUnavailable):
        await hasty.scores(["a dog"], deadline_s=0.1)
    assert monotonic() - began_s < HASTY.answer_s
    assert (await hasty.scores(["a dog"], deadline_s=PATIENT_S))[0]["dogs"] > 0.5
    assert the_worker().pid != worker.pid


async def test_a_worker_that_hangs_is_replaced_and_whom_it_was_reading_hears_it(hasty: Semantics):
    the_worker().suspend()
    began_s = monotonic()
    with pytest.raises(ModerationUnavailable):
        await hasty.scores(["a dog"], deadline_s=PATIENT_S)
    assert HASTY.answer_s * 0.9 < monotonic() - began_s < PATIENT_S / 2
    assert (await hasty.scores(["a dog"], deadline_s=PATIENT_S))[0]["dogs"] > 0.5


@pytest.mark.parametrize("how", NONSENSE)
async def test_nonsense_is_no_answer_and_the_next_worker_gives_one(how: str, tmp_path: Path):
    command = (*ODD, how, str(tmp_path / "was odd"))
    async with Semantics(EXEMPLARS, command=command, pace=HASTY) as semantics:
        with pytest.raises(ModerationUnavailable):
            await semantics.scores(["a dog"], deadline_s=PATIENT_S)
        (score,) = await semantics.scores(["a dog in the snow"], deadline_s=PATIENT_S)
        assert score["dogs"] > 0.9


@pytest.mark.parametrize("how", ["starts oddly", "refuses to start"])
async def test_calls_wait_for_a_worker_that_starts_as_it_should(how: str, tmp_path: Path):
    command = (*ODD, how, str(tmp_path / "was odd"))
    async with Semantics(EXEMPLARS, command=command, pace=BRISK) as semantics:
        assert (await semantics.scores(["a dog"], deadline_s=PATIENT_S))[0]["dogs"] > 0.5


async def test_where_no_worker_can_be_started_there_is_no_answer(caplog: pytest.LogCaptureFixture):
    async with Semantics(EXEMPLARS, command=["/nowhere/python"], pace=BRISK) as semantics:
        with pytest.raises(ModerationUnavailable):
            await semantics.scores(["a dog"], deadline_s=0.2)
    assert "FileNotFoundError" in caplog.text


async def test_a_worker_that_always_fails_is_started_ever_more_rarely(caplog: pytest.LogCaptureFixture):
    pace = Pace(first_rest_s=0.05, longest_rest_s=60)
    async with Semantics(EXEMPLARS, command=["/nowhere/python"], pace=pace) as semantics:
        with pytest.raises(ModerationUnavailable):
            await semantics.scores(["a dog"], deadline_s=1.0)
    assert 3 <= len(caplog.records) <= 6


async def test_more_than_can_wait_are_refused_at_once():
    async with Semantics(EXEMPLARS, command=(*ODD, "silence")) as semantics:
        waiting = [asyncio.create_task(semantics.scores(["a dog"], deadline_s=PATIENT_S)) for _ in range(MAX_CALLS)]
        await asyncio.sleep(0)
        began_s = monotonic()
        with pytest.raises(ModerationUnavailable):
            await semantics.scores(["a dog"], deadline_s=PATIENT_S)
        assert monotonic() - began_s < 1
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {ModerationUnavailable}


async def test_who_left_waits_no_more():
    async with Semantics(EXEMPLARS, command=(*ODD, "silence")) as semantics:
        for _ in range(3):
            waiting = [asyncio.create_task(semantics.scores(["a dog"], deadline_s=PATIENT_S)) for _ in range(MAX_CALLS)]
            await asyncio.sleep(0)
            for call in waiting:
                call.cancel()
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(answer) for answer in answers} == {asyncio.CancelledError}


async def test_leaving_ends_the_worker_and_nothing_is_answered_any_more():
    semantics = Semantics(EXEMPLARS)
    with pytest.raises(ModerationUnavailable):
        await semantics.scores(["a dog"], deadline_s=PATIENT_S)
    async with semantics:
        await semantics.scores(["a dog"], deadline_s=PATIENT_S)
        worker = the_worker()
        worker.suspend()
        waiting = asyncio.create_task(semantics.scores(["a dog"], deadline_s=PATIENT_S))
        await asked()
    with pytest.raises(ModerationUnavailable):
        await waiting
    with pytest.raises(ModerationUnavailable):
        await semantics.scores(["a dog"], deadline_s=PATIENT_S)
    assert not worker.is_running()


EDGE = """
import asyncio
from edge.domain.moderation.semantics import Semantics

async def main():
    async with Semantics({"a": ["a dog"]}) as semantics:
        await semantics.scores(["a cat"], deadline_s=30)
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_worker_does_not_outlive_an_edge_that_is_killed():
    edge = subprocess.Popen([sys.executable, "-c", EDGE], stdout=subprocess.PIPE)
    assert edge.stdout
    with edge.stdout as told:
        assert told.readline() == b"ready\n"
        (worker,) = psutil.Process(edge.pid).children()
        os.kill(edge.pid, signal.SIGKILL)
        edge.wait()
    assert psutil.wait_procs([worker], timeout=PATIENT_S)[1] == []


def test_the_edge_itself_imports_nothing_that_runs_a_model():
    heavy = "{'onnxruntime', 'tokenizers', 'huggingface_hub', 'torch', 'transformers'} & set(sys.modules)"
    code = f"import sys, cluster.compose_edge, edge.domain.moderation.semantics; print({heavy})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert told.stdout == "set()\n"
