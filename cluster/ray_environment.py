"""What Ray reads from the environment, and only while it is imported: so this file must not import it."""

import secrets
from collections.abc import MutableMapping

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there
EVERYWHERE = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": NOBODY,  # where it reports that it is not to report
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the switch, on any system, between a node on loopback and one of many
    "http_proxy": NOBODY,  # its head asks the metadata services of three clouds whether it runs there
    "no_proxy": "127.0.0.1,localhost",
    "RAY_enable_metrics_collection": "0",  # else the agent serves them to the network, without a token
}


def set_ray_environment(env: MutableMapping[str, str], *, alone: bool = False) -> None:
    """Before the first `import ray`. What the operator set wins. `alone` is for a Ray that serves this machine only."""
    for name, value in (EVERYWHERE | ALONE if alone else EVERYWHERE).items():
        env.setdefault(name, value)
    if alone and "RAY_AUTH_TOKEN_PATH" not in env:
        env.setdefault("RAY_AUTH_TOKEN", secrets.token_urlsafe(32))
