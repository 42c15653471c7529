"""Which addresses a cluster's API server may have: those that no one could mean as a way into this machine.

A kubeconfig names its server, and its name may mean another address a moment later. So the address is judged on the
connection itself, after it is made and before anything is sent on it.
"""

import ipaddress
import socket
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

LOOPBACK = ipaddress.ip_address("127.0.0.1")
"""The one loopback address that a laptop's clusters may have."""
_METADATA = ipaddress.ip_network("fd00:ec2::/32")
"""Amazon's instance metadata over IPv6, the one such service outside the link-local networks."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052, section 2.1

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def refusal(text: str, *, loopback: bool) -> str | None:
    """Why no API server may be at an address; None for one that may. loopback: whether 127.0.0.1 may."""
    address = _inner(ipaddress.ip_address(text.partition("%")[0]))
    if address.is_loopback:
        if loopback and str(address) == text == str(LOOPBACK):
            return None
        return "is a loopback address" + (f"; only {LOOPBACK} is allowed here" if loopback else "")
    if address.is_link_local or address in _METADATA:
        return "is link-local, where machines keep their metadata"
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        return "is no address of a server"
    return None


def guard(pools: urllib3.PoolManager, *, loopback: bool) -> None:
    """Has every new connection of these pools judged before it is used."""

    def judged(connection: HTTPConnection, sock: socket.socket) -> socket.socket:
        address = sock.getpeername()[0]
        if (reason := refusal(address, loopback=loopback)) is None:
            return sock
        sock.close()
        raise NewConnectionError(connection, f"it is at {address}, which {reason}")

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return judged(self, super()._new_conn())

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return judged(self, super()._new_conn())

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls: Any = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls: Any = Secure

    pools.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


def _inner(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
