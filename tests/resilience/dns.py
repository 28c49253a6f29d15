"""A question to a name server, and what it answers (RFC 1035, RFC 2782): what a test needs of it."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

A, SRV = 1, 33
IN = 1


@dataclass(frozen=True)
class Record:
    """One of the answers."""

    name: str
    kind: int
    data: str
    """The address, or the target."""
    port: int = 0


def ask(port: int, name: str, kind: int) -> list[Record]:
    """Ask a server on this machine, over UDP; its answers and what it adds to them."""
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    question = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, IN)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(5)
        line.sendto(question, ("127.0.0.1", port))
        text = line.recv(65535)
    number, _flags, _questions, answers, _authority, more = struct.unpack("!HHHHHH", text[:12])
    assert number == 7
    at, found = len(question), []
    for _each in range(answers + more):
        owner, at = _name(text, at)
        each, _class, _ttl, length = struct.unpack("!HHIH", text[at : at + 10])
        at += 10
        if each == A:
            found.append(Record(owner, A, socket.inet_ntoa(text[at : at + 4])))
        elif each == SRV:
            (its_port,) = struct.unpack("!H", text[at + 4 : at + 6])
            found.append(Record(owner, SRV, _name(text, at + 6)[0], its_port))
        at += length
    return found


def _name(text: bytes, at: int) -> tuple[str, int]:
    """A name at a place, which may be compressed (RFC 1035, 4.1.4), and where it ends."""
    labels, end = [], None
    while length := text[at]:
        if length >= 0xC0:
            end = at + 2 if end is None else end
            at = int.from_bytes(text[at : at + 2]) & 0x3FFF
        else:
            labels.append(text[at + 1 : at + 1 + length].decode())
            at += 1 + length
    return ".".join(labels), at + 1 if end is None else end
