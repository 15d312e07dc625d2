"""Whether accounts that share something act as one: three tests on a group of accounts against all others.

Each test counts accounts, never calls, so that no account weighs more than another, and gives nats: minus the log of
a bound on how likely so many would be among accounts that have nothing to do with one another.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

BITS = 64
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_ALIKE_NATS = 2.0
"""What an account's prompts must say for the group's kind over everybody's: it takes two to eight prompts."""

_ALIKE_SHARE, _TOGETHER_SHARE, _KIND_SHARE = 0.25, 0.3, 0.05
"""The largest shares that are put down to chance: of accounts with prompts of one kind, first seen in one window, alike
to one account."""


_PERSONAL, _PERSONAL_NOISE = 0.03, 0.5
"""How much nearer, of 1, own prompts are than others', and what chance adds to it for so few prompts. Measured: slices
of one list below 0.03, applications 0.18, people with topics of their own 0.03-0.07 beside 0.01 of those without."""


class _Step(msgspec.Struct, frozen=True):
    """Calls within a factor `ratio` are equal; up to `share` of accounts is put down to chance, from `least` calls."""

    ratio: float
    share: float
    least: float


_STEPS = (_Step(2.0, 0.5, 2.0), _Step(1.25, 0.35, 8.0))
"""Of any exponential distribution of calls at most 0.39 (0.29) of those above ``L / ratio`` lie within
``[L, ratio * L)``, of a log-normal with a deviation of 0.5 at most 0.51 (0.18)."""

_WINDOWS_S = (3_600.0, 86_400.0)
_PRIOR = 1.0


class Accounts(msgspec.Struct, frozen=True):
    """What is known of `size` accounts, one row each, as arrays.

    `bits` is the mean of the simhash bits of an account's first prompts as -1..1, shape (size, 64), `prompts` how many
    those are, `calls` all of its calls, `first_s` when it was first seen.
    """

    bits: Floats
    prompts: Floats
    calls: Floats
    first_s: Floats

    @property
    def size(self) -> int:
        """How many accounts."""
        return len(self.calls)

    def only(self, kept: Flags) -> Accounts:
        """Those of `kept`."""
        return Accounts(self.bits[kept], self.prompts[kept], self.calls[kept], self.first_s[kept])


class Kinship(msgspec.Struct, frozen=True):
    """Who of a group sends prompts of its kind, evidence for it in nats, mean distance across accounts in bits."""

    alike: Flags
    nats: float
    distance: float


def surprise(hits: float, of: float, share: float) -> float:
    """Chernoff's bound in nats on `hits` or more `of` that many where each has chance `share`; 0 if not above it.

    Source: Hoeffding, Probability inequalities for sums of bounded random variables (1963), theorem 1.
    """
    if of <= 0.0 or hits <= share * of:
        return 0.0
    observed = min(hits / of, 1.0)
    nats = observed * math.log(observed / share)
    if observed < 1.0:
        nats += (1.0 - observed) * math.log((1.0 - observed) / (1.0 - share))
    return of * nats


def kinship(accounts: Accounts, group: Flags) -> Kinship:
    """Whether the prompts of each account of `group` are of the kind of the others rather than of everybody's."""
    usable = accounts.prompts > 0.0
    inside = group & usable
    members, others = accounts.bits[inside], accounts.bits[usable & ~group]
    count = len(members)
    none = Kinship(np.zeros(accounts.size, dtype=bool), 0.0, BITS / 2.0)
    if count < 2 or not len(others):  # noqa: PLR2004 - a pair is the least
        return none
    total, common = members.sum(axis=0), others.mean(axis=0)
    cross = float(total @ total - (members * members).sum()) / (count * (count - 1) * BITS)
    # Each account against the mean of the others of the group: it must not be its own witness.
    kind = np.where(inside[:, None], (total - accounts.bits) / (count - 1), total / count)
    gap = kind - common
    scale = np.maximum(1.0 - common * common, 0.1)
    nats = accounts.prompts * (((accounts.bits - (kind + common) / 2.0) * gap) / scale).sum(axis=1)
    alike = usable & (nats >= _ALIKE_NATS)
    outside = usable & ~group
    share = (float((alike & outside).sum()) + _PRIOR) / (float(outside.sum()) + 2.0 * _PRIOR)
    evidence = surprise(float((alike & inside).sum()), float(count), min(max(share, _ALIKE_SHARE), 0.99))
    return Kinship(alike & inside, evidence, BITS / 2.0 * (1.0 - cross))


def personal(accounts: Accounts, group: Flags) -> Flags:
    """Who of `group` has a kind of prompt of its own: its prompts are nearer to one another than to the others' of it.

    People have topics and applications have templates; slices of one shuffled list are interchangeable.
    """
    inside = group & (accounts.prompts >= 2.0)  # noqa: PLR2004 - a pair is the least
    count = int(inside.sum())
    if count < 2:  # noqa: PLR2004 - as above
        return np.zeros(accounts.size, dtype=bool)
    prompts = np.maximum(accounts.prompts, 2.0)
    squares = (accounts.bits * accounts.bits).sum(axis=1)
    own = (prompts * squares / BITS - 1.0) / (prompts - 1.0)
    total = accounts.bits[inside].sum(axis=0)
    cross = (accounts.bits @ total - squares) / ((count - 1) * BITS)
    own_kind: Flags = inside & (own - cross > _PERSONAL + _PERSONAL_NOISE / prompts)
    return own_kind


def lockstep(accounts: Accounts, group: Flags) -> tuple[Flags, float]:
    """Who of `group` made as many calls as the most others did, and the evidence in nats."""
    best, steady = 0.0, np.zeros(accounts.size, dtype=bool)
    calls = np.sort(accounts.calls[group])
    for step in _STEPS:
        starts = np.unique(calls[calls >= step.least])
        if not len(starts):
            continue
        within = np.searchsorted(calls, step.ratio * starts) - np.searchsorted(calls, starts)
        above = len(calls) - np.searchsorted(calls, starts / step.ratio)
        # The most that stand out: a share alone would choose the two busiest.
        low = float(starts[int((within - step.share * above).argmax())])
        among = accounts.calls >= low / step.ratio
        equal = (accounts.calls >= low) & (accounts.calls < step.ratio * low)
        others = among & ~group
        share = (float((equal & others).sum()) + _PRIOR) / (float(others.sum()) + 2.0 * _PRIOR)
        hits, of = float((equal & group).sum()), float((among & group).sum())
        nats = surprise(hits, of, min(max(share, step.share), 0.99)) - math.log(len(_STEPS) * len(calls))
        if nats > best:
            best, steady = nats, equal & group
    return steady, best


def together(accounts: Accounts, group: Flags) -> tuple[float, float]:
    """Evidence in nats that `group` was first seen at one time, when others were not, and how long that window is."""
    own, others = np.sort(accounts.first_s[group]), accounts.first_s[~group]
    best, best_s = 0.0, _WINDOWS_S[-1]
    for width_s in _WINDOWS_S:
        ends = np.searchsorted(own, own + width_s, side="right")
        held = ends - np.arange(len(own))
        start = int(held.argmax())
        inside = float(((others >= own[start]) & (others <= own[start] + width_s)).sum())
        share = (inside + _PRIOR) / (len(others) + 2.0 * _PRIOR)
        nats = surprise(float(held[start]), float(len(own)), min(max(share, _TOGETHER_SHARE), 0.99))
        nats -= math.log(len(_WINDOWS_S) * len(own))
        if nats > best:
            best, best_s = nats, width_s
    return best, best_s


def rush(accounts: Accounts, window: Flags, width_s: float) -> float:
    """Evidence in nats that more accounts came in `window` than come in as long a time; 0 without a threefold past.

    Chernoff's bound on the upper tail of a Poisson variable, whose mean is doubled: sign-ups come in waves.
    """
    start_s = float(accounts.first_s[window].min())
    past = accounts.first_s[accounts.first_s < start_s]
    if len(past) < 5 or start_s - float(past.min()) < 3.0 * width_s:  # noqa: PLR2004 - see the docstring
        return 0.0
    usual = 2.0 * (len(past) + _PRIOR) * width_s / (start_s - float(past.min()))
    came = float(window.sum())
    return max(came * math.log(came / usual) - came + usual, 0.0) if came > usual else 0.0


def busiest(accounts: Accounts) -> list[tuple[Flags, float]]:
    """For each width of window the accounts first seen in the one that saw the most, and the width in seconds."""
    order = np.sort(accounts.first_s)
    found = []
    for width_s in _WINDOWS_S:
        held = np.searchsorted(order, order + width_s, side="right") - np.arange(len(order))
        start = order[int(held.argmax())]
        found.append(((accounts.first_s >= start) & (accounts.first_s <= start + width_s), width_s))
    return found


def centered(accounts: Accounts) -> Floats:
    """The bits of each account without what all have in common."""
    mean: Floats = accounts.bits - accounts.bits[accounts.prompts > 0.0].mean(axis=0)
    return mean


def alike_to(accounts: Accounts, bits: Floats, seed: int) -> tuple[Flags, float]:
    """Accounts whose prompts are of the kind of account `seed`, and the evidence that they are more than chance's.

    `bits` are those of `centered`.
    """
    prompts = np.maximum(accounts.prompts, 1.0)
    near = bits @ bits[seed]
    noise = np.sqrt(BITS / (prompts * prompts[seed]))
    group = (accounts.prompts > 0.0) & (near > np.maximum(4.0 * noise, 0.5))
    group[seed] = True
    # Once more with the mean of those: one account's own is blurred by chance.
    kind = bits[group].mean(axis=0)
    size = float(kind @ kind)
    group = (accounts.prompts > 0.0) & (bits @ kind > 0.5 * size + np.sqrt(size / prompts))
    nats = surprise(float(group.sum()), float((accounts.prompts > 0.0).sum()), _KIND_SHARE)
    return group, max(nats - math.log(max(accounts.size, 1)), 0.0)
