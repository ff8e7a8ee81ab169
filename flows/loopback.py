"""Direct connections to servers on this machine, even if the environment sets a proxy."""

import ipaddress
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

#: Hosts that every client understands in `no_proxy`; not all clients accept networks there.
_HOSTS = ("localhost", "127.0.0.1", "::1")


def is_loopback(url: str) -> bool:
    """Return whether an address is on this machine.

    Args:
        url: A URL with a scheme, or a bare `HOST`, `HOST:PORT` or `[HOST]:PORT`. The host 0.0.0.0, which servers print
            as their address, counts as this machine.
    """
    try:
        host = (urlsplit(url if "://" in url else f"//{url}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


class _ProxyHandler(urllib.request.ProxyHandler):
    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> Any:  # noqa: A002 (named by the base class)
        """Let the handlers that connect directly take a request to this machine."""
        return None if is_loopback(req.full_url) else super().proxy_open(req, proxy, type)


def opener() -> urllib.request.OpenerDirector:
    """Return an opener like `urllib.request.urlopen` that reaches this machine without a proxy."""
    return urllib.request.build_opener(_ProxyHandler())


def proxies(url: str) -> dict[str, str] | None:
    """Return the `proxies` argument for `requests`: none for this machine, otherwise those of the environment."""
    return {"no_proxy": "*"} if is_loopback(url) else None


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with this machine added to `no_proxy`.

    It is meant for processes, and for libraries that read the environment, such as Prefect's client. Hosts that are
    already exempt stay exempt. Some clients read the upper-case spelling and some the lower-case one, so both are set.
    """
    stated = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in stated.split(",") if host.strip()]
    exempt = "*" if "*" in hosts else ",".join([*hosts, *(host for host in _HOSTS if host not in hosts)])
    return {**environment, "no_proxy": exempt, "NO_PROXY": exempt}
