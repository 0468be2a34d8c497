"""`serve` beside its Ray: what it does to the logs while Ray lives, and how it ends when Ray does not."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from cluster import serving
from tests.edge.edges import Clock

KEPT_FOR = timedelta(days=7)


class Ray:
    """A node that lives for so many beats, each of them a day long."""

    def __init__(self, clock: Clock, beats: int, on_beat: Callable[[], None]) -> None:
        self._clock = clock
        self._beats = beats
        self._on_beat = on_beat

    def nodes(self) -> list[dict[str, bool]]:
        self._beats -= 1
        return [{"Alive": self._beats >= 0}]

    def sleep(self, _: float) -> None:
        self._clock.advance(86400)
        self._on_beat()


def wait_while_ray_lives(monkeypatch: pytest.MonkeyPatch, directory: Path | None, days: int, log: Path) -> list[int]:
    """How large the log, which grows by a byte a day, is at the end of each day."""
    sizes: list[int] = []

    def grow() -> None:
        with log.open("ab") as out:
            out.write(b"x")
        sizes.append(log.stat().st_size)

    clock = Clock()
    ray = Ray(clock, days, grow)
    with monkeypatch.context() as patched:
        patched.setattr(serving.ray, "nodes", ray.nodes)
        patched.setattr(serving.time, "sleep", ray.sleep)
        patched.setattr(serving.time, "time", clock)
        with pytest.raises(SystemExit) as ended:
            serving.wait_while_ray_lives(directory, KEPT_FOR)
    assert ended.value.code == 1
    return sizes


def test_no_line_of_rays_own_logs_is_older_than_the_policy_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = tmp_path / "session_2026-11-24_08-31-14_183801_1" / "logs" / "serve" / "controller.log"
    log.parent.mkdir(parents=True)
    assert wait_while_ray_lives(monkeypatch, tmp_path, 10, log) == [1, 2, 3, 4, 5, 6, 7, 1, 2, 3]


def test_the_logs_of_a_cluster_that_others_run_are_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = tmp_path / "session_2026-11-24_08-31-14_183801_1" / "logs" / "raylet.out"
    log.parent.mkdir(parents=True)
    assert wait_while_ray_lives(monkeypatch, None, 10, log)[-1] == 10
