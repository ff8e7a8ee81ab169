"""What is said to Ray through environment variables, and what must not be.

Ray writes the variables of a `runtime_env` down where others read them: in `runtime_env_agent.log`, which every user of
a node can read, in the command lines of its processes (`ps`), and on the dashboard.
"""

import re
from collections.abc import Mapping

from verl_vip.errors import ConfigError

#: Keeps a Ray that is started for this machine alone on its loopback address. By default Ray gives itself the machine's
#: address on Linux and listens on all interfaces; the variable, in spite of its name, is read on every system. A driver
#: that joins a running cluster has that cluster's addresses all the same. Ray reads it when it is imported.
PRIVATE_RAY: Mapping[str, str] = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

_SECRET = re.compile(r"(TOKEN|KEYS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH)(?=_|$)|AUTHORIZATION")
_ABOUT_ONE = re.compile(r"(PATH|FILE|DIR|FOLDER|HOME|MODE)$")  # where a secret lies, or how it is used
_URL_WITH_PASSWORD = re.compile(r"://[^/\s@]*:[^/\s@]+@")


def secrets_among(variables: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that look like secrets, by their name or by a password in a URL."""
    return sorted(name for name, value in variables.items() if _looks_secret(name, value))


def refuse_secrets(variables: Mapping[str, str], cluster: str) -> None:
    """Refuse to send what looks like a secret to a Ray cluster.

    Args:
        variables: What is to be sent.
        cluster: Address of the cluster.

    Raises:
        ConfigError: If a variable looks like a secret.
    """
    if found := secrets_among(variables):
        raise ConfigError(
            f"{', '.join(found)} would stand in logs, `ps` and the dashboard of the cluster at {cluster}, for "
            "others to read; put a secret into a file on the nodes and send its path (HF_TOKEN_PATH=/home/me/token), "
            "or into the environment that `ray start` has on each node."
        )


def _looks_secret(name: str, value: str) -> bool:
    if _URL_WITH_PASSWORD.search(value):
        return True
    upper = name.upper()
    return bool(_SECRET.search(upper)) and not _ABOUT_ONE.search(upper)
