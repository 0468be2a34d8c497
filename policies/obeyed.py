"""How the code ends each class of data, and whether erasure reaches it: what a policy file may say and not decide.

An operator chooses numbers and words. A file that gives a class another kind of end, or another reach of erasure, than
the code obeys would publish what is not so: `load.py` refuses it. `tests/promises/test_obeyed.py` holds this table
against what the code does.
"""

from typing import NamedTuple

from policies.schema import Erasure, KeptUntil


class Obeyed(NamedTuple):
    """`until` what happens it is kept; None for a time that the file chooses, in whole days where that is said."""

    erasure: Erasure
    until: KeptUntil | None = None
    in_whole_days: bool = False


OBEYED: dict[str, Obeyed] = {
    "output_image": Obeyed("reaches it", until="the minute its caller chose"),
    "job_and_image_rows": Obeyed("reaches it", until="the image goes"),
    "job_state": Obeyed("reaches it"),
    "waiting_prompt": Obeyed("ends by itself", until="the job ends"),
    "moderation_prompt": Obeyed("reaches it"),
    "moderation_decision": Obeyed("loses its subject"),
    "day_key": Obeyed("holds no subject", until="its records have gone"),
    "training_copy": Obeyed("reaches it"),
    "session": Obeyed("reaches it"),
    "account": Obeyed("reaches it", until="its owner deletes it"),
    "job_events": Obeyed("ends by itself"),
    "limit_counters": Obeyed("ends by itself", until="two days have passed"),
    "rights_request": Obeyed("loses its subject"),
    "notice": Obeyed("loses its subject"),
    "proofs": Obeyed("does not reach it"),
    "canary": Obeyed("holds no subject"),
    "operations": Obeyed("holds no subject", until="replaced by the next"),
    "logs": Obeyed("holds no subject", in_whole_days=True),  # a file is of a day, and goes whole
}
