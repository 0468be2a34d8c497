"""M1 in small: it judges new prompts by words and by meaning, with the real worker."""

import pytest

from cluster.bench import meaning
from cluster.bench.meaning import measure_judging


async def test_harmless_prompts_are_judged_and_timed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(meaning, "PROMPTS", 20)
    p50, p99 = await measure_judging(2)
    assert (p50.row, p99.row) == ("M1-prompt-p50", "M1-prompt-p99")
    assert all(0 < usual <= rare for usual, rare in zip(p50.rounds, p99.rounds, strict=True))
