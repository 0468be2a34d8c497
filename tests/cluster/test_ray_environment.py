"""Ray's switches: what every Ray of ours reads, and what one that serves this machine only reads as well."""

from cluster.ray_environment import set_ray_environment


def test_every_ray_asks_for_a_token_and_calls_nobody():
    env: dict[str, str] = {}
    set_ray_environment(env)
    assert (env["RAY_AUTH_MODE"], env["RAY_USAGE_STATS_ENABLED"]) == ("token", "0")
    assert env["RAY_USAGE_STATS_REPORT_URL"].startswith("http://127.0.0.1:")  # it reports that it does not report
    assert "RAY_AUTH_TOKEN" not in env  # a cluster has its own


def test_a_ray_of_this_machine_alone_makes_its_token_and_stays_on_loopback():
    env: dict[str, str] = {}
    set_ray_environment(env, alone=True)
    assert len(env["RAY_AUTH_TOKEN"]) >= 32
    assert env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_what_the_operator_set_wins():
    env = {"RAY_AUTH_TOKEN": "mine", "RAY_USAGE_STATS_ENABLED": "1"}
    set_ray_environment(env, alone=True)
    assert (env["RAY_AUTH_TOKEN"], env["RAY_USAGE_STATS_ENABLED"]) == ("mine", "1")
