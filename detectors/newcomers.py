"""Who was seen too few times to be worth an object: a bounded count of newcomers.

An attacker who opens accounts by the million and calls once from each must cost neither memory nor the
places of those who stay. Until a subject was seen `patience` times it is one number here.
"""

from __future__ import annotations

import hashlib

import msgspec

MOST = 4_096
"""Newcomers counted at once, about 0.5 MB. Who sends more than one of so many first sights gets established, so
to keep one caller unseen takes 4,096 new accounts for each of its calls."""


class Newcomers(msgspec.Struct, frozen=True):
    """First sights by subject, as 64-bit digests of their names, in the order in which they came.

    When there is no room, every count falls by one and who stands at none is forgotten. Counts are
    exact while fewer than `MOST` newcomers are about and never too high: a flood of accounts that call once
    establishes none of them. What is counted depends on the order of observations and on nothing else, so
    a replay establishes the same subjects at the same observation. Cost: 1 us a sight.
    Source: Misra, Gries, Finding repeated elements (1982).
    """

    counts: dict[int, int] = {}

    def __contains__(self, subject: str) -> bool:
        """Whether this is one of the newcomers counted now."""
        return digest(subject) in self.counts

    def establish(self, subject: str, patience: int) -> bool:
        """Count one sight; whether it was number `patience`, with which a newcomer stops to be one."""
        if patience <= 1:
            return True
        name = digest(subject)
        seen = self.counts.get(name, 0) + 1
        if seen >= patience:
            del self.counts[name]
            return True
        if seen == 1 and len(self.counts) >= MOST:
            for each, count in list(self.counts.items()):
                if count > 1:
                    self.counts[each] = count - 1
                else:
                    del self.counts[each]
        if seen > 1 or len(self.counts) < MOST:
            self.counts[name] = seen
        return False

    def forget(self, subject: str) -> None:
        """This one is established after all: its saved state was found."""
        self.counts.pop(digest(subject), None)


def digest(subject: str) -> int:
    """A subject's name in 64 bits that nobody can make another name collide with."""
    return int.from_bytes(hashlib.blake2b(subject.encode("utf-8", "replace"), digest_size=8).digest())
