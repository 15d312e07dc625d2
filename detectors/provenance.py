"""What people decided about the components of a deployment, and the words for components and their versions.

An approval is of one version of one component; its window is when the change may take place, not how long the version
may serve. The latest word on a version counts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import msgspec

from detectors.types import APPROVED, MAX_TIME_S, REJECTED, Components, Notice

SERVED = "served_model"
DIGESTS = Components.__struct_fields__
TOOL_LIST, GUARDRAIL = DIGESTS.index("tool_list"), DIGESTS.index("guardrail")
"""Their places in `Observation.components`."""

_COMPONENTS = frozenset((SERVED, *DIGESTS))
_MOST = 32
"""Decisions remembered: with the longest names 10 KiB. The oldest leaves."""

_SLACK_S = 60.0
"""An approval is given on one machine and a call is timed on another: so much may their clocks differ."""

MAX_CHARS = 96
_SHOWN = 40

_OFF = frozenset(("", "-", "0", "off", "none", "null", "no", "false", "disabled", "inactive", "bypass", "bypassed"))


class Decision(msgspec.Struct, kw_only=True):
    """One person's word on one version; `told` is whether it was said that a rejected one serves."""

    component: str
    version: str
    approved: bool
    from_s: float
    until_s: float | None
    before: str | None
    reference: str
    told: bool = False

    def begun(self, time_s: float) -> bool:
        """Whether the change may have taken place by then."""
        return time_s >= self.from_s - _SLACK_S

    def covers(self, time_s: float) -> bool:
        """Whether the change may take place then."""
        return self.approved and self.begun(time_s) and (self.until_s is None or time_s <= self.until_s + _SLACK_S)


class Decisions(msgspec.Struct, kw_only=True):
    """The last decisions on a deployment, by component and version."""

    made: dict[str, Decision] = msgspec.field(default_factory=dict)

    def learn(self, notice: Notice, time_s: float) -> Decision | None:
        """Take in what a notice decides, said at `time_s`; `None` where it decides nothing."""
        if notice.kind not in {APPROVED, REJECTED} or notice.component not in _COMPONENTS:
            return None
        decision = Decision(
            component=notice.component,
            version=clean(notice.version),
            approved=notice.kind == APPROVED,
            from_s=_sane(notice.from_s) or _sane(time_s) or 0.0,
            until_s=_sane(notice.until_s),
            before=None if notice.before is None else clean(notice.before),
            reference=clean(notice.reference),
        )
        key = _key(decision.component, decision.version)
        self.made.pop(key, None)
        self.made[key] = decision
        if len(self.made) > _MOST:
            del self.made[next(iter(self.made))]
        return decision

    def on(self, component: str, version: str) -> Decision | None:
        """The last word on a version, as `clean` gives it."""
        return self.made.get(_key(component, version)) if self.made else None

    def pins(self, component: str, time_s: float) -> Iterator[Decision]:
        """The approvals of a component that began: from then on only what they name is as approved."""
        for decision in self.made.values():
            if decision.approved and decision.component == component and decision.begun(time_s):
                yield decision


def clean(text: str) -> str:
    """A version or a name fit to store and to print: printable, at most 96 characters, still distinct from others."""
    if len(text) <= MAX_CHARS and text.isascii() and text.isprintable():
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    shown = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text[:64])
    return f"{shown}~{digest}"


def brief(version: str) -> str:
    """A version as a sentence can carry it."""
    return repr(version) if len(version) <= _SHOWN else f"{version[:_SHOWN]!r}..."


def is_off(version: str) -> bool:
    """Whether a version says that there is none: a word such as ``off``."""
    return version.strip().casefold() in _OFF


def sane(time_s: float, otherwise_s: float) -> float:
    """An event's time, or the one before it where a broken clock gave it."""
    return time_s if 0.0 <= time_s <= MAX_TIME_S else otherwise_s


def _sane(time_s: float | None) -> float | None:
    return time_s if time_s is not None and math.isfinite(time_s) and 0.0 <= time_s <= MAX_TIME_S else None


def _key(component: str, version: str) -> str:
    return f"{component} {version}"
