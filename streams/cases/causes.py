"""Why it happened: explanations of an incident in order, each with what speaks for and against it. Pure.

A cause gets points for the signs (`signs`) that it would leave and loses points for those it would not (`_POINTS`). The
points are judgment, written down in one table so that it can be argued about; `UNKNOWN` always holds some, so that weak
evidence never looks like an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from streams.cases.incidents import Cause, Cited
from streams.cases.signs import (
    ANSWER,
    ANY_COMPONENT,
    APART,
    APPROVED,
    CONNECTION,
    CONTRADICTING,
    LOAD_OF_ALL,
    MANY,
    MISMATCH,
    ONE_KIND,
    OWN_COMPONENT,
    SERVED,
    SILENT_SHIFT,
    TOOL,
    Sign,
    approvals,
    approved_of,
    signs,
    unapproved_of,
)

WEIGHTS, ADAPTER, PLUGIN, INDEX = "weights_modified", "adapter_or_template", "plugin_compromised", "index_poisoned"
CODE, PROVIDER, UPDATE, LOAD = "code_tampered", "provider_update", "legitimate_update", "load"
MIX, EXTRACTION, STOLEN, PROMPTS = "traffic_mix", "extraction", "key_stolen", "prompt_attack"
BLIND, UNKNOWN = "watch_lost", "unknown"

TITLES = {
    WEIGHTS: "The model's weights were modified",
    ADAPTER: "An adapter, tokenizer or prompt template was changed",
    PLUGIN: "A plugin or tool server was compromised",
    INDEX: "The retrieval index was poisoned",
    CODE: "The inference code or its image was tampered with",
    PROVIDER: "The provider updated the model silently",
    UPDATE: "A legitimate update",
    LOAD: "Load",
    MIX: "The traffic mix changed",
    EXTRACTION: "The model is being extracted",
    STOLEN: "A key was stolen",
    PROMPTS: "The model is attacked with prompts",
    BLIND: "The deployment is no longer fully seen",
    UNKNOWN: "Unknown",
}

LOAD_SIGNS = frozenset({"load", "busier", "slower", "errors"})
"""What is seen of load alone."""
VOLUME_SIGNS = frozenset({LOAD_OF_ALL, "volume"})
"""What is seen of a caller on a day when everybody calls more."""
MORE_CALLS = frozenset({"load", "busier", LOAD_OF_ALL, ONE_KIND})
"""What must be seen of it: slow calls that fail are load perhaps, and no less severe for that."""
MIX_SIGNS = frozenset({ONE_KIND, "behavior", SILENT_SHIFT, *LOAD_SIGNS})
"""What is seen of a model that is asked other things by many."""

_UNKNOWN_POINTS = 1.5
_CONFIDENT_SHARE, _CONFIDENT_POINTS = 0.4, 3.0
_MOST_SAID = 6

_OWN_OF = {
    WEIGHTS: {"weights": 4.0},
    ADAPTER: {"adapter": 4.5, "prompt_template": 4.5, "tokenizer": 4.0},
    PLUGIN: {"tool_list": 4.5},
    INDEX: {"retrieval_index": 4.5},
    CODE: {"image": 4.0, "package_set": 3.5, "guardrail": 3.5},
    PROVIDER: {SERVED: 3.0},
}
"""Points for a component of another version than before, by the cause that changes it."""
_UNAPPROVED_POINTS, _APPROVED_POINTS = 1.5, -2.5
"""More where it was seen that nobody approved it; less for a cause whose component was changed with approval."""

_POINTS: Mapping[str, Mapping[str, float]] = {
    WEIGHTS: {"unsafe artifact": 2.5, "trigger": 2.5, "known prompts": 1, "behavior": 1, "labels": 0.5},
    ADAPTER: {"trigger": 1.5, "behavior": 1, "known prompts": 1},
    PLUGIN: {TOOL: 3.5, CONNECTION: 1.5, "leak": 0.5, "leak by link": 1},
    INDEX: {ANSWER: 1.75, "leak": 0.25, "leak by link": 1, "behavior": 0.5},
    CODE: {
        "guardrail off": 2,
        "logging off": 2,
        CONNECTION: 2.5,
        TOOL: 0.5,
        "slower": 1,
        "unsafe artifact": 1,
        "errors": 0.25,
        "leak": 0.5,
        "load": -1,
        "busier": -0.5,
    },
    PROVIDER: {
        "behavior": 2,
        "known prompts": 3,
        "labels": 0.5,
        MISMATCH: 2.5,
        "slower": 1,
        "faster": 1,
        SILENT_SHIFT: 1,
        APART: 3,
        OWN_COMPONENT: -3,
        CONNECTION: -2,
        TOOL: -1,
        "trigger": -1.5,
        "inputs": -1.5,
        "guardrail off": -1.5,
        APPROVED: -3,
    },
    UPDATE: {
        APPROVED: 8,
        ANY_COMPONENT: 1.5,
        MANY: 4.5,
        **dict.fromkeys(sorted(CONTRADICTING), -6.0),
        APART: -8,
        ANSWER: -3,
        "leak": -3,
    },
    LOAD: {
        "load": 3,
        "busier": 1.75,
        LOAD_OF_ALL: 2.5,
        "slower": 1,
        "errors": 1,
        ANY_COMPONENT: -2,
        "behavior": -1,
        CONNECTION: -1.5,
        "known prompts": -2,
    },
    MIX: {
        "inputs": 4,
        ONE_KIND: 2.5,
        "labels": 1.5,
        "behavior": 1,
        "load": 0.5,
        "fewer calls": 0.5,
        "known prompts": -3,
        ANY_COMPONENT: -2,
        "trigger": -1.5,
    },
    EXTRACTION: {"extraction": 4, "cohort": 5, "parameters": 2.5, "volume": 0.5, "load": 0.5},
    STOLEN: {"new place": 2, "journey": 1, "two at once": 3, "cost": 2, "volume": 1.25, "attacks": 0.5, "cohort": -1},
    PROMPTS: {"attacks": 4.5, "leak": 1.5, "leak by link": 0.25, "trigger": 0.5, "parameters": 0.5},
    BLIND: {
        "blind": 4,
        "thinned": 3,
        "silent": 4,
        "format": 3,
        "dead letters": 3,
        "logging off": 2.5,
        "state refused": 2,
        "fewer calls": 0.75,
    },
}
_TOGETHER = (
    (CODE, ("slower", CONNECTION), 1.5),
    (CODE, ("package_set", CONNECTION), 1.0),
    (CODE, ("image", CONNECTION), 1.0),
    (CODE, ("guardrail off", "leak"), 1.0),
    (LOAD, ("load", "slower"), 1.5),
    (PROVIDER, (ONE_KIND, SILENT_SHIFT), -1.0),
    # What load does to calls is no hint of another model.
    (PROVIDER, ("load", "slower"), -1.0),
    # Prompts of one kind have words in common, and answers of one kind: neither has to be a trigger.
    (MIX, (ONE_KIND, "trigger"), 2.5),
    (WEIGHTS, (ONE_KIND, "trigger"), -1.5),
    (ADAPTER, (ONE_KIND, "trigger"), -0.5),
    # That all call more does not bring a caller to another place.
    (LOAD, (LOAD_OF_ALL, "new place"), -2.5),
    # Attacks are what makes the prompts of a cohort ones of one kind.
    (PROMPTS, ("attacks", "cohort"), 2.5),
    (LOAD, ("load", "errors"), 0.5),
    (LOAD, ("busier", "slower"), 1.0),
    (PLUGIN, ("tool_list", CONNECTION), 1.5),
    (INDEX, ("retrieval_index", ANSWER), 1.0),
    (STOLEN, ("new place", "cost"), 1.0),
    (STOLEN, ("new place", "volume"), 1.0),
    (WEIGHTS, ("weights", "known prompts"), 1.0),
    (PROVIDER, (SERVED, "known prompts"), 1.0),
)
"""Signs that say more together than each alone, or less."""
_NARROWER = (
    (CODE, "guardrail", frozenset({"image", "package_set", CONNECTION}), "The guardrail was taken away or changed"),
    (MIX, "inputs", frozenset({ONE_KIND}), "The inputs changed"),
)
"""Causes that are said by a narrower name where a sign is there and no other sign asks for the wide one."""


def rank(cited: Sequence[Cited], amid: Collection[str] = ()) -> tuple[Cause, ...]:
    """The causes that have points, the likeliest first, and `UNKNOWN` among them; `amid` as for `signs`."""
    given: dict[str, Sign] = {}
    for sign in signs(cited, amid):
        given.setdefault(sign.name, sign)
    scored = [(name, _points(name, given)) for name in _POINTS]
    scored = [(name, points) for name, points in scored if points > 0.0]
    scored.append((UNKNOWN, _UNKNOWN_POINTS))
    total = sum(points for _, points in scored)
    order = sorted(scored, key=lambda each: (-each[1], each[0] != UNKNOWN, each[0]))
    return tuple(_cause(name, points, points / total, given) for name, points in order)


def is_sure(cause: Cause) -> bool:
    """Whether a cause is said without a question mark: it has much of the evidence, and that is more than one hint."""
    return cause.share >= _CONFIDENT_SHARE and cause.points >= _CONFIDENT_POINTS


def maintenance(cited: Sequence[Cited], ranked: Sequence[Cause]) -> str | None:
    """The approved change that explains all that was found, as a person reads it; `None` where none does."""
    seen = {sign.name for sign in signs(cited)}
    if not ranked or ranked[0].name != UPDATE or APPROVED not in seen or seen & CONTRADICTING:
        return None
    return f"maintenance: approved change of {', '.join(approvals(cited))}"


def of_load(cited: Sequence[Cited], amid: Collection[str] = ()) -> frozenset[str]:
    """The detectors that say nothing here but what load says, too, where more calls were seen."""
    found = list(signs(cited, amid))
    if not {sign.name for sign in found} & MORE_CALLS:
        return frozenset()
    other = {sign.finding_id for sign in found if sign.name not in LOAD_SIGNS}
    return frozenset(each.detector for each in cited) - {each.detector for each in cited if each.finding_id in other}


def _title(name: str, given: Mapping[str, Sign]) -> str:
    for cause, sign, wider, title in _NARROWER:
        if cause == name and sign in given and not wider & given.keys():
            return title
    return TITLES[name]


def _table(name: str) -> Mapping[str, float]:
    own = _OWN_OF.get(name, {})
    return {
        **_POINTS[name],
        **own,
        **{unapproved_of(each): _UNAPPROVED_POINTS for each in own},
        **{approved_of(each): _APPROVED_POINTS for each in own},
    }


_TABLES: Mapping[str, Mapping[str, float]] = {name: _table(name) for name in _POINTS}


def _points(name: str, given: Mapping[str, Sign]) -> float:
    table = _TABLES[name]
    points = sum(table[sign] for sign in given if sign in table)
    return points + sum(more for cause, needed, more in _TOGETHER if cause == name and all(map(given.get, needed)))


def _cause(name: str, points: float, share: float, given: Mapping[str, Sign]) -> Cause:
    table = _TABLES.get(name, {})
    speaking = [(table[sign], each) for sign, each in given.items() if sign in table]
    speaking.sort(key=lambda each: -abs(each[0]))
    supports = [each for weight, each in speaking if weight > 0.0]
    against = [each for weight, each in speaking if weight < 0.0]
    return Cause(
        name=name,
        title=_title(name, given),
        points=round(points, 2),
        share=round(share, 3),
        supports=tuple(dict.fromkeys(each.said for each in supports))[:_MOST_SAID],
        contradicts=tuple(dict.fromkeys(each.said for each in against))[:_MOST_SAID],
        finding_ids=tuple(dict.fromkeys(each.finding_id for each in supports))[:_MOST_SAID],
    )
