"""A sweep that is split over many accounts: what they share makes them a cohort, how they act makes it an attack."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator
from typing import ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.alarms import DAY_S, Pace, average_run_length, bonferroni, e_limit
from detectors.base import DEPLOYMENT, Detector, Metadata
from detectors.cohorts import Accounts, Flags, alike_to, busiest, centered, kinship, lockstep, personal, rush, together
from detectors.types import MAX_TIME_S, Detection, Evidence, Observation, Severity

_MAX_ACCOUNTS = 320
_MAX_LEVEL = 24
_SLOTS = 4_096
"""Prompts remembered by a 16-bit print each, the latest in each slot; one new one in 65,536 is taken for old."""

_SKETCHED = 64
"""Prompts of one account whose bits are summed: afterwards its calls only count."""

_EVERY = 512
"""Observations between two looks at all groups."""

_MIN_MEMBERS, _MIN_CALLS = 8, 60
_GROUPS = 16
"""Groups looked at each time: the largest by network, agent and template, two windows, some kinds."""

_SEEDS = 12
_SEED_PROMPTS = 8

_LOCKSTEP_CAP, _KIN_CAP, _NEAR_CAP, _TOGETHER_CAP = 0.6, 0.5, 0.2, 0.25
"""Shares of the limit that a test may give: equal volumes of prompts of one kind, or of the fills of one template from
accounts that began together. A time and a volume, a time and a kind are not enough."""

_CORE = 0.5
"""Share of a group that must have both equal volumes and prompts of its kind: the finding is about the group."""

_MOST_OF_A_KIND = 0.4
"""Share of all accounts above which a kind of prompt is what people send here, and nothing they share."""

_NEAR_BITS = 25.0
"""Mean simhash distance below which prompts are the fills of a template, which an application explains."""

_REPEATED = 1.0 / 3.0
"""Share of prompts sent before above which a group is a class, an evaluation or a rerun, and no sweep."""

_IDLE_S, _BRIEF_IDLE_S, _BRIEF_CALLS = 30.0 * DAY_S, DAY_S, 2
_NAMED = 20
_MANY_CALLS = 1_000
"""Calls of all members from which a finding is HIGH."""

_ONES = int.from_bytes(b"\1" * 64)


Places = npt.NDArray[np.intp]


class Account(msgspec.Struct, array_like=True):
    """One account: counts, when it was seen, prints of where it came from, sums of its first prompts' simhash bits.

    `template` is the most frequent one by Boyer and Moore's vote, `votes` how far it leads. `cohort` is the name of
    the finding it was a member of, or "".
    """

    first_s: float
    last_s: float
    network: int
    agent: int
    template: int = 0
    votes: int = 0
    calls: int = 0
    repeats: int = 0
    prompts: int = 0
    bits: bytes = b"\0" * 64
    cohort: str = ""


class CoordinatedExtraction(Detector, kw_only=True, array_like=True):
    """Groups of accounts that share network, agent, template, first day or kind of prompt are put to three tests.

    Do they make equally many calls (people and applications differ tenfold)? Are their prompts of one kind, each
    account's like those of the others, and unlike everybody's? Were they first seen at one time? The evidence is
    added up with caps, so that an office (kind), a marketing day (time) or a quota (volume) alone is not enough, and
    equal volumes are always needed. Fills of one template are no kind; prompts sent before are no coverage.

    Accounts are an adaptive sample by hash of at most 320: of a share 2**-level of all accounts each one is followed
    from its first call. Source: Flajolet, On adaptive sampling (1990). Cost: 2 us a call and a look at all groups
    every 512 calls.
    """

    metadata: ClassVar[Metadata] = Metadata(
        version=1,
        title="Model extraction split over many accounts",
        scope=DEPLOYMENT,
        severity=Severity.HIGH,
        sees=(
            "Accounts that share network, agent, template, first day or kind of prompt and act as one: equal volumes "
            "of new prompts of one kind, begun together."
        ),
        requires=("principal", "prompt_hash", "prompt_simhash"),
        warm_up=_EVERY,
        score_unit="nats against accounts that have nothing to do with one another",
        atlas=("AML.T0024.002", "AML.T0021", "AML.T0040"),
        owasp=("LLM10:2025",),
        causes=(
            "training data for a copy of the model is collected through many accounts to stay below limits",
            "trial accounts are farmed and resold or used by one program",
        ),
        false_positives=(
            "a fleet of workers with one key each that share one job evenly",
            "a course or contest in which everybody sends equally many texts of one kind, none of them twice",
            "a load test with one account per simulated user",
        ),
        known_gaps=(
            "accounts whose volumes differ widely, as those of people do, are not told from people",
            "fewer than eight accounts: those are large enough for the detector of single principals",
            "a cohort below a tenth of all accounts where there are many thousands: a sample is followed",
            "accounts with benign traffic of their own around their share of the sweep",
            "a sweep of prompts as unlike as people's, from accounts that share nothing and begin at different times",
        ),
        runbook=(
            "Read ten prompts of five members: are they slices of one list, benchmark or grammar?",
            "Look up the members: sign-up data, payment, verified addresses; do they belong to one customer?",
            "Ask that customer whether a fleet, a course or a load test is running.",
            "Limit the members' rate together, and new accounts of what they share.",
            "If it is not explained, close the accounts and keep prompts and answers as evidence.",
        ),
        references=(
            "Tramer et al., Stealing Machine Learning Models via Prediction APIs (2016)",
            "Cao et al., Uncovering Large Groups of Active Malicious Accounts in Online Social Networks (2014)",
            "Hoeffding, Probability inequalities for sums of bounded random variables (1963)",
            "Charikar, Similarity estimation techniques from rounding algorithms (2002)",
        ),
    )

    pace: Pace = msgspec.field(default_factory=Pace)
    accounts: dict[str, Account] = msgspec.field(default_factory=dict)
    level: int = 0
    prints: bytearray = msgspec.field(default_factory=lambda: bytearray(2 * _SLOTS))
    seen: int = 0
    turn: int = 0

    def update(self, observation: Observation) -> Detection | None:
        """Learn one call of an account; ignored without a principal or its prompt."""
        principal, prompt, simhash = observation.principal, observation.prompt_hash, observation.prompt_simhash
        time_s = observation.time_s
        if principal is None or prompt is None or simhash is None or not 0.0 <= time_s <= MAX_TIME_S:
            return None
        self.pace.see(time_s)
        self.seen += 1
        slot, low, high = prompt & (_SLOTS - 1), (prompt >> 16) & 0xFF, (prompt >> 24) & 0xFF
        prints = self.prints
        repeated = prints[slot] == low and prints[slot + _SLOTS] == high
        if not repeated:
            prints[slot], prints[slot + _SLOTS] = low, high
        account = self.accounts.get(principal) or self._admit(principal, observation)
        if account is not None:
            account.last_s = time_s
            account.calls += 1
            if repeated:
                account.repeats += 1
            template = (observation.prompt_template or 0) & 0xFFFFFFFF
            if template == account.template:
                account.votes += 1
            elif account.votes:
                account.votes -= 1
            else:
                account.template, account.votes = template, 1
            if account.prompts < _SKETCHED:
                account.prompts += 1
                spread = int.from_bytes(f"{simhash & 0xFFFFFFFFFFFFFFFF:064b}".encode()) & _ONES
                account.bits = (int.from_bytes(account.bits) + spread).to_bytes(64)
        return self._look(time_s) if self.seen % _EVERY == 0 else None

    def _admit(self, principal: str, observation: Observation) -> Account | None:
        """A new account, if its hash is in the sample that is followed."""
        principal = principal[:64]
        if _print(principal) & ((1 << self.level) - 1):
            return None
        known = self.accounts.get(principal)
        if known is not None:
            return known
        time_s = observation.time_s
        account = Account(time_s, time_s, _print(observation.network), _print(observation.user_agent))
        self.accounts[principal] = account
        while len(self.accounts) > _MAX_ACCOUNTS:
            self._expire(time_s)
            if len(self.accounts) <= _MAX_ACCOUNTS or self.level >= _MAX_LEVEL:
                break
            self.level += 1
            mask = (1 << self.level) - 1
            self.accounts = {name: each for name, each in self.accounts.items() if not _print(name) & mask}
        while len(self.accounts) > _MAX_ACCOUNTS:
            del self.accounts[next(iter(self.accounts))]
        return self.accounts.get(principal)

    def _expire(self, now_s: float) -> None:
        """Forget accounts that stayed away; who came once or twice is forgotten after a day."""
        self.accounts = {
            name: each
            for name, each in self.accounts.items()
            if now_s - each.last_s <= (_BRIEF_IDLE_S if each.calls <= _BRIEF_CALLS else _IDLE_S)
        }

    def _look(self, time_s: float) -> Detection | None:
        if self.seen % (64 * _EVERY) == 0:
            self._expire(time_s)
            if self.level and len(self.accounts) < _MAX_ACCOUNTS // 4:
                self.level -= 1
        if len(self.accounts) < _MIN_MEMBERS:
            return None
        everyone = list(self.accounts.values())
        prompts = np.array([each.prompts for each in everyone], dtype=float)
        sums = np.frombuffer(b"".join(each.bits for each in everyone), dtype=np.uint8).reshape(-1, 64)
        table = Accounts(
            bits=2.0 * sums / np.maximum(prompts, 1.0)[:, None] - (prompts > 0.0)[:, None],
            prompts=prompts,
            calls=np.array([each.calls for each in everyone], dtype=float),
            first_s=np.array([each.first_s for each in everyone]),
        )
        repeats = np.array([each.repeats for each in everyone], dtype=float)
        said = np.array([bool(each.cohort) for each in everyone])
        limit = e_limit(bonferroni(average_run_length(self.share, self.pace.per_day), _GROUPS))
        for what, group, given in self._groups(everyone, table):
            calls = float(table.calls[group].sum())
            if group.sum() < _MIN_MEMBERS or calls < _MIN_CALLS or repeats[group].sum() > _REPEATED * calls:
                continue
            if (group & said).sum() * 2 > group.sum():
                continue
            detection = self._judge(what, table, group, said, given, limit)
            if detection is not None:
                return detection
        return None

    def _groups(self, everyone: list[Account], table: Accounts) -> Iterator[tuple[str, Flags, dict[str, float]]]:
        """What a group shares, who it is, and the evidence of the tests that its choice has made void."""
        for what, prints in (
            ("network", np.array([each.network for each in everyone])),
            ("agent", np.array([each.agent for each in everyone])),
            ("template", np.array([each.template for each in everyone])),
        ):
            values, counts = np.unique(prints, return_counts=True)
            for place in np.argsort(-counts, kind="stable")[:3]:
                if values[place] and _MIN_MEMBERS <= counts[place] < len(everyone):
                    yield f"{what} {values[place]:08x}", prints == values[place], {}
        for window, width_s in busiest(table):
            rushed = rush(table, window, width_s)
            if window.sum() >= _MIN_MEMBERS and rushed > 0.0:
                yield f"first seen within {width_s / 3_600.0:.0f} h", window, {"together": rushed}
        seeds = np.flatnonzero(table.prompts >= _SEED_PROMPTS)
        bits = centered(table)
        for _ in range(min(_SEEDS, len(seeds))):
            self.turn = (self.turn + 1) % len(seeds)
            group, nats = alike_to(table, bits, int(seeds[self.turn]))
            if nats > 0.0 and group.sum() <= _MOST_OF_A_KIND * table.size:
                yield "kind of prompt", group, {"kin": nats}

    def _judge(
        self, what: str, everyone: Accounts, group: Flags, said: Flags, given: dict[str, float], limit: float
    ) -> Detection | None:
        least = max(_MIN_MEMBERS, math.ceil(_CORE * float(group.sum())))
        others = ~group & ~said
        if not what.startswith("network"):
            # Behind one network slices by topic are looked at too.
            group = group & ~personal(everyone, group)
        if group.sum() < least:
            return None
        places = np.flatnonzero(group | others)
        table, group = everyone.only(group | others), group[places]
        in_step, volume = lockstep(table, group)
        if volume <= 0.0:
            return None
        kin = kinship(table, group)
        start, _ = together(table, group)
        kin_nats = min(given.get("kin", math.inf), kin.nats)
        start = given.get("together", start)
        kin_cap = _NEAR_CAP if kin.distance < _NEAR_BITS else _KIN_CAP
        score = min(volume, _LOCKSTEP_CAP * limit) + min(kin_nats, kin_cap * limit) + min(start, _TOGETHER_CAP * limit)
        core = places[in_step & kin.alike]
        if score < limit or len(core) < least:
            return None
        return self._detection(what, everyone, core, kin.distance, (volume, kin_nats, start, score, limit))

    def _detection(
        self, what: str, table: Accounts, core: Places, distance: float, nats: tuple[float, float, float, float, float]
    ) -> Detection:
        volume, kin, start, score, limit = nats
        names = list(self.accounts)
        members = [names[place] for place in core.tolist()]
        earlier = [self.accounts[name].cohort for name in members if self.accounts[name].cohort]
        shared = what if " " in what and what.partition(" ")[0] in {"network", "agent", "template"} else members[0]
        cohort = earlier[0] if earlier else "cohort:" + hashlib.blake2b(shared.encode(), digest_size=8).hexdigest()
        for name in members:
            self.accounts[name].cohort = cohort
        size = len(members) << self.level
        calls = table.calls[core]
        onset_s = float(table.first_s[core].min())
        return Detection(
            subject=cohort,
            summary=(
                f"about {size} accounts act as one: {np.median(calls):.0f} calls each, prompts of one kind that were "
                f"not sent before; they share: {what}"
            ),
            severity=Severity.HIGH if size * float(np.median(calls)) >= _MANY_CALLS else Severity.MEDIUM,
            score=score,
            threshold=limit,
            onset_s=onset_s,
            evidence=(
                Evidence(name="accounts", observed=float(size), unit="accounts"),
                Evidence(name="members", observed=" ".join(members[:_NAMED]), unit=f"first {_NAMED}"),
                Evidence(name="shared", observed=what),
                Evidence(name="calls of all", observed=float(calls.sum()) * (1 << self.level), unit="calls"),
                Evidence(name="equal volumes", observed=volume, expected=0.0, unit="nats"),
                Evidence(name="prompts of one kind", observed=kin, expected=0.0, unit="nats"),
                Evidence(name="begun together", observed=start, expected=0.0, unit="nats"),
                Evidence(name="distance between prompts", observed=distance, expected=_NEAR_BITS, unit="bits of 64"),
            ),
        )


def _print(name: str | None) -> int:
    """32 bits of a pseudonym; 0 for unknown. Pseudonyms are keyed, so nobody can choose them to collide."""
    return zlib.crc32(name.encode("utf-8", "replace")) if name else 0
