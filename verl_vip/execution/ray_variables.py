"""Environment variables for Ray, and a check that none of them is a secret.

Ray shows the variables of a `runtime_env` to other users: in `runtime_env_agent.log`, which every user of a node can
read, in the command lines of its processes (`ps`), and on the dashboard.
"""

import re
from collections.abc import Mapping

from verl_vip.errors import ConfigError

#: Keeps a private Ray on the loopback address. By default, Ray uses the machine's address on Linux and listens on all
#: interfaces. In spite of its name, the variable is read on every system. It does not affect a driver that joins a
#: running cluster. Ray reads it on import.
PRIVATE_RAY: Mapping[str, str] = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

#: What somebody who passes variables to a cluster should know.
READABLE_BY_OTHERS = (
    "others can read them in Ray's runtime_env_agent.log, in ps and on the dashboard, so secrets are refused: put a "
    "secret into a file on the nodes and pass its path, such as HF_TOKEN_PATH=/home/me/token"
)

_END = r"(?:[_.-]?\d+)?(?=[_.-]|$)"  # end of a word in a name: API_KEY_FILE, HF_TOKEN2
#: TOKENS may also mean a model's tokens; see `_COUNTED`.
_SECRET = re.compile(
    rf"(?:TOKEN|KEYS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASES?|CREDENTIALS?|CREDS|AUTH|JWTS?|BEARER|COOKIES?){_END}"
    rf"|AUTHORIZATION|(?P<tokens>(?:^|[_.-])TOKENS{_END})|(?:^|[_.-])(?:PATS?|SIG|SIGNATURE){_END}"
    r"|(?<!COM)(?<!BY)PASS(?:[_.-]?\d+)?$|(?<=[_.-])PWD\d*$"  # not PASS_AT_K, nor a shell's PWD
)
_ABOUT_ONE = re.compile(r"(PATH|FILE|DIR|FOLDER|HOME|MODE)$")  # the place of a secret, or its use
_COUNTED = re.compile(r"(?:^|[_.-])(?:MAX|MIN|NUM|N|NEW|TOTAL|COUNT|BATCHED|PER|LIMIT)(?=[_.-]|$)")  # MAX_TOKENS

#: A URL with a password, or an HTTP URL with only a user, which may be a token.
_URL_WITH_USER = re.compile(r"://[^/\s@]*:[^/\s@]+@|https?://[^/?#\s@]+@", re.IGNORECASE)
#: As in `https://host/?token=x` and `host=db password=x`.
_ASSIGNED = re.compile(r"(?<![\w.-])([\w.-]+)=[^\s&;,]")
#: The prefixes of secrets that well-known services issue, with enough characters after them to exclude hf_transfer and
#: sk-learn.
_ISSUED = re.compile(
    r"(?<![A-Za-z\d])(?:"
    r"(?:hf_|api_org_|[sr]k-(?:[a-z\d]+-){0,3})(?:(?=[a-z]*[A-Z\d])[A-Za-z\d]{12,}|[A-Za-z\d]{16,})"
    r"|sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{16,}"
    r"|(?:gh[opsur]_|github_pat_|glpat-|xox[abeoprs]-|npm_|pypi-|pn[ub]_|wandb_v1_)\w{6,}"
    r"|A[KS]IA[A-Z\d]{16}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{6,}\.[\w-]+"  # a JSON web token
    r"|(?:[Bb]earer|[Bb]asic)\s+\S|-----BEGIN [A-Z ]*PRIVATE KEY)"
)


def secrets_among(variables: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that look like secrets.

    A variable looks like a secret if its name does (HF_TOKEN, DB_PASS), or if its value contains a user or password in
    a URL, an assignment to such a name (`https://host/?token=x`), or a secret in the form of a well-known service
    (`hf_...`, `ghp_...`).
    """
    return sorted(name for name, value in variables.items() if _looks_secret(name, value))


def refuse_secrets(variables: Mapping[str, str], cluster: str) -> None:
    """Refuse to send variables that look like secrets to a Ray cluster.

    Args:
        variables: The variables to send.
        cluster: The address of the cluster.

    Raises:
        ConfigError: If a variable looks like a secret.
    """
    if found := secrets_among(variables):
        raise ConfigError(
            f"{', '.join(found)} would be readable in logs, in `ps` and on the dashboard of the cluster at {cluster}; "
            "put a secret into a file on the nodes and pass its path (HF_TOKEN_PATH=/home/me/token), or set it in "
            "the environment of `ray start` on each node."
        )


def _looks_secret(name: str, value: str) -> bool:
    names = [name, *_ASSIGNED.findall(value)]
    return any(map(_names_secret, names)) or bool(_URL_WITH_USER.search(value) or _ISSUED.search(value))


def _names_secret(name: str) -> bool:
    upper = name.upper()
    if _ABOUT_ONE.search(upper):
        return False
    counted = _COUNTED.search(upper) is not None
    return any(not (found["tokens"] and counted) for found in _SECRET.finditer(upper))
