"""What Ray reads from the environment, and only while it is imported: so this file must not import it."""

from collections.abc import MutableMapping

SWITCHES = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def set_ray_environment(env: MutableMapping[str, str]) -> None:
    """Before the first `import ray`. What the operator set wins."""
    for name, value in SWITCHES.items():
        env.setdefault(name, value)
