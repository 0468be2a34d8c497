"""What a child of `up` is given."""

from pathlib import Path

from cluster.family import SECRETS, environment_of
from cluster.home import TRAINING_KEY, prepare_home


def test_every_secret_that_a_home_makes_is_given_by_name_only(tmp_path: Path):
    made = set(prepare_home(tmp_path)) - {TRAINING_KEY}  # the public half
    assert made
    assert made <= set[str]().union(*SECRETS.values())


def test_a_child_gets_its_own_secrets_and_all_that_is_none():
    everything = {name: "x" for names in SECRETS.values() for name in names} | {"PATH": "/bin", "SFUMATO_PORT": "8080"}
    for command, own in SECRETS.items():
        assert set(environment_of(command, everything)) == own | {"PATH", "SFUMATO_PORT"}
