"""Servers of this machine are reached directly, whatever proxy the environment names for the rest of the world."""

import ipaddress
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

#: Hosts that every client's `no_proxy` understands; clients differ in whether they take networks.
_HOSTS = ("localhost", "127.0.0.1", "::1")


def is_loopback(url: str) -> bool:
    """Return whether an address leads to this machine.

    Args:
        url: With a scheme, or a bare `HOST`, `HOST:PORT` or `[HOST]:PORT`. The host 0.0.0.0, which servers print as
            the address that they listen on, leads to this machine as well.
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
    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> Any:  # noqa: A002 (the base's name)
        """Leave a request to this machine to the handlers that connect directly."""
        return None if is_loopback(req.full_url) else super().proxy_open(req, proxy, type)


def opener() -> urllib.request.OpenerDirector:
    """Return what opens URLs as `urllib.request.urlopen` does, and reaches this machine without a proxy."""
    return urllib.request.build_opener(_ProxyHandler())


def proxies(url: str) -> dict[str, str] | None:
    """Return the `proxies` that `requests` is to be called with: none for this machine, else the environment's."""
    return {"no_proxy": "*"} if is_loopback(url) else None


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with this machine among the hosts that no proxy is asked for.

    For processes, and for libraries that read the environment, such as Prefect's client. What the environment
    exempts already stays exempt. Clients differ in which spelling they read, so both say the same.
    """
    stated = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in stated.split(",") if host.strip()]
    exempt = "*" if "*" in hosts else ",".join([*hosts, *(host for host in _HOSTS if host not in hosts)])
    return {**environment, "no_proxy": exempt, "NO_PROXY": exempt}
