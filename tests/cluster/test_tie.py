"""A child ends with whoever started it."""

import signal
import subprocess
import sys
from pathlib import Path

CHILD = """
import time
from cluster.tie import end_with_starter
end_with_starter()
print("tied", flush=True)
time.sleep(60)
"""


def test_a_child_ends_once_its_standard_input_closes_and_not_before():
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"tied\n"
        child.stdin.write(b"what a terminal may send")
        child.stdin.flush()
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(30) == -signal.SIGTERM
