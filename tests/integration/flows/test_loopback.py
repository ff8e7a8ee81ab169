"""Nothing that is meant for this machine is shown to a proxy."""

import http.server
import ipaddress
import os
import threading

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.flows import loopback

PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class Server:
    """Answers every GET with its name, and knows which URLs it was asked for."""

    def __init__(self, name: str) -> None:
        self.asked: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def target():
    server = Server("target")
    yield server
    server.close()


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that the environment names for everything, and nothing is exempt."""
    server = Server("proxy")
    for name in PROXIES:
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, f"http://127.0.0.1:{server.port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_this_machine_is_reached_directly_and_the_rest_through_the_proxy(target, proxy, host):
    url = f"http://{host}:{target.port}/here"
    with loopback.opener().open(url, timeout=60) as answer:
        assert answer.read() == b"target"
    assert requests.get(url, timeout=60, proxies=loopback.proxies(url)).text == "target"
    assert proxy.asked == []
    away = "http://elsewhere.invalid/there"
    with loopback.opener().open(away, timeout=60) as answer:
        assert answer.read() == b"proxy"
    assert requests.get(away, timeout=60, proxies=loopback.proxies(away)).text == "proxy"
    assert proxy.asked == [away, away]


@pytest.mark.parametrize(
    "stated", [{}, {"no_proxy": "a.example"}, {"NO_PROXY": " a.example , b.example"}, {"no_proxy": "*"}]
)
def test_an_environment_without_proxy_is_understood_by_every_client(target, proxy, monkeypatch, stated):
    for name, value in loopback.without_proxy({**os.environ, **stated}).items():
        monkeypatch.setenv(name, value)
    for host in ("127.0.0.1", "localhost"):
        url = f"http://{host}:{target.port}/here"
        assert httpx.get(url, timeout=60).text == "target"
        assert requests.get(url, timeout=60).text == "target"
    if stated != {"no_proxy": "*"}:
        assert httpx.get("http://elsewhere.invalid/there", timeout=60).text == "proxy"
        for name in stated.values():
            for host in name.split(","):
                assert requests.utils.should_bypass_proxies(f"http://{host.strip()}/", None)


def test_an_exemption_is_added_once():
    once = loopback.without_proxy({"no_proxy": "localhost,a"})
    assert once["no_proxy"] == once["NO_PROXY"] == "localhost,a,127.0.0.1,::1"
    assert loopback.without_proxy(once) == once


@given(st.ip_addresses(), st.integers(1, 65535), st.sampled_from(["http://", "https://", ""]))
def test_of_all_addresses_those_of_this_machine_are_loopback(address, port, scheme):
    host = f"[{address}]" if address.version == 6 else str(address)
    mapped = getattr(address, "ipv4_mapped", None) or address
    own = mapped.is_loopback or int(mapped) == 0
    assert loopback.is_loopback(f"{scheme}{host}:{port}") is own


@given(st.integers(0, 2**24 - 1))
def test_the_whole_network_of_loopback_addresses(number):
    address = ipaddress.IPv4Address((127 << 24) + number)
    assert loopback.is_loopback(f"http://{address}:8265/api")
    assert loopback.is_loopback(f"http://[::ffff:{address}]/")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost.example:80",
        "http://example/127.0.0.1",
        "http://127.0.0.1@example/",
        "http://1270.0.0.1",
        "",
        "http://[",
    ],
)
def test_what_only_looks_like_this_machine(url):
    assert not loopback.is_loopback(url)


@pytest.mark.parametrize(
    "url",
    ["http://LOCALHOST:1/", "localhost", "http://ray.localhost:8265", "http://user@[::1]:2/", "http://localhost./"],
)
def test_names_of_this_machine(url):
    assert loopback.is_loopback(url)


def test_a_flow_reaches_the_server_of_this_machine_behind_a_proxy(server, proxy, parameters, start_flow, tmp_path):
    flow = start_flow("train", parameters("steps=2", name="behind"))
    assert flow.wait() == 0, flow.text
    assert (tmp_path / "behind" / "complete.json").exists()
    assert proxy.asked == []
