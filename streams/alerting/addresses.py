"""Which addresses a webhook may connect to. An alert goes out of the house, never to a server inside by accident.

A name is resolved once, every address it has is looked at, and the connection is made to one that was looked at: a
name server that answers otherwise the second time gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
"""All addresses of a host name; raises `OSError`."""

_METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")))
"""Servers of cloud providers, beside the link-local ones, that give credentials to whoever asks from the inside."""

_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.ip_network("::/96")


class AddressRefusedError(Exception):
    """The host has an address that nothing may be sent to; the message is one line."""


def resolve(host: str, port: int) -> list[str]:
    """As the system resolves names."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def checked(host: str, addresses: list[str], *, private: bool) -> list[str]:
    """`addresses` when all of them may be connected to; with `private` those of one's own networks may.

    Raises `AddressRefusedError` when one may not: which of several is used is the network's choice.
    """
    for text in addresses:
        reason = _reason(text, private=private)
        if reason:
            raise AddressRefusedError(f"{host} is {text}, {reason}")
    if not addresses:
        raise AddressRefusedError(f"{host} has no address")
    return addresses


def is_inside(text: str) -> bool:
    """Whether an address is of one's own networks or machine."""
    return not all(each.is_global for each in _meant(ipaddress.ip_address(text)))


def _reason(text: str, *, private: bool) -> str:
    """Why nothing is sent to an address; nothing where it may be."""
    try:
        meant = list(_meant(ipaddress.ip_address(text)))
    except ValueError:
        return "which is no address"
    for address in meant:
        if address.is_link_local or address in _METADATA:
            return "which is link-local or a cloud's metadata server, and never allowed"
        if address.is_multicast or address.is_unspecified or _is_odd(address):
            return "which is no address of one host, and never allowed"
        if not address.is_global and not private:
            return "which is private or this machine; INFERWATCH_ALERT_PRIVATE_ADDRESSES allows that"
    return ""


def _is_odd(address: Address) -> bool:
    reserved = address.is_reserved and not address.is_loopback  # IPv6 counts ::1 as reserved
    return reserved or (address.version == _THIS_NETWORK.version and address in _THIS_NETWORK)


def _meant(address: Address) -> Iterator[Address]:
    """What is reached in the end: an IPv6 address may be another way to write, or a tunnel to, an IPv4 one."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    if address in _COMPATIBLE and not (address.is_loopback or address.is_unspecified):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return
    if any(address in network for network in _NAT64):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
