"""Where a process listens, as the kernel says, and what answers there."""

from __future__ import annotations

import http.client
import socket
import struct
from pathlib import Path

LISTEN = "0A"
"""The state of a listening TCP socket in /proc/net/tcp."""

UNCONNECTED = "07"
"""The state of a UDP socket that takes packets from anybody."""


def listening(pid: int) -> set[tuple[str, str, int]]:
    """Protocol, address and port of every socket of a process that strangers may send to."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # closed in between
        if target.startswith("socket:["):
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    found = set()
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] == (LISTEN if protocol.startswith("tcp") else UNCONNECTED):
                address, _, port = fields[1].partition(":")
                found.add((protocol, written(address), int(port, 16)))
    return found


def written(address: str) -> str:
    """An address of /proc/net as people write it: words of four bytes, each in the machine's order."""
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)


def ask(address: str, path: str, token: str | None = None) -> tuple[int, str, str]:
    """Status, headers and body of a page."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, str(answer.headers), answer.read().decode()
    finally:
        connection.close()
