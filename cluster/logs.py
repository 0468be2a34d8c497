"""What every command says on standard error: our own events from INFO on, other libraries' only when they warn.

Libraries are not asked for more because some of theirs hold addresses, and an address shows a picture.
"""

import logging
import sys

OURS = ("edge", "serve_app", "cluster")


def configure_logging() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for package in OURS:
        logging.getLogger(package).setLevel(logging.INFO)
