"""A process of its own each time: a limit that was raised stays."""

import subprocess
import sys

RAISED = """
import resource
from cluster.open_files import allow_many_open_files
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
allow_many_open_files()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
"""


def test_a_process_holds_as_many_connections_as_the_system_lets_it() -> None:
    subprocess.run([sys.executable, "-c", RAISED], check=True, timeout=60)
