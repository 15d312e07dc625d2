"""How synthetic models write and synthetic callers ask.

An answer is a topic's phrases in a voice's wording and layout, so a swapped model talks of the same things
in another manner, as a real one does.
"""

from __future__ import annotations

from random import Random

import msgspec

from streams.plays._traffic_words import (
    ASKS,
    CONTAINERS,
    CONTEXTS,
    DEMANDS,
    ELEMENTS,
    EXERCISES,
    LANGUAGES,
    LIMITS,
    PLACES,
    SETTINGS,
    SNIPPETS,
    TASKS,
    WORDS,
    Topic,
)

MIN_CHARS, MAX_CHARS = 50, 2_000
"""Length of an answer."""

_BOLD_SHARE = 0.25


class Voice(msgspec.Struct, frozen=True, kw_only=True):
    """How one model writes; what it does not say in a manner of its own is worded as any other model would.

    Shares are of answers at full manner, `list_share` of blocks. `scale` multiplies the usual length, `run`
    is the longest run of sentences in a paragraph.
    """

    openings: tuple[str, ...]
    opening_share: float
    sentences: tuple[str, ...]
    closings: tuple[str, ...]
    closing_share: float
    list_leads: tuple[str, ...]
    list_share: float
    numbered_share: float
    run: int
    scale: float


MEASURED = Voice(
    openings=(
        "Thanks for the details on {title}.",
        "I had a look at {title} for you.",
        "Here is what I would check first.",
        "Let us take {title} one part at a time.",
    ),
    opening_share=0.6,
    sentences=(
        "In most cases {fact}.",
        "Please note that {fact}.",
        "As far as I can see, {fact}, and that is why {thing} may look different.",
        "To be certain, {step} and compare the result with {thing}.",
        "If that does not help, {step}.",
        "It is also possible that {fact}.",
        "The usual reason is {thing}, because {fact}.",
        "You can {step}, or ask somebody with access to {thing} to do so.",
    ),
    closings=(
        "Please let me know whether {thing} looks right afterwards.",
        "If anything about {title} is still unclear, I am happy to go through it again.",
        "That should settle {title}.",
    ),
    closing_share=0.5,
    list_leads=("These are the steps in order:", "I would proceed as follows:", "Please try the following:"),
    list_share=0.3,
    numbered_share=0.65,
    run=4,
    scale=1.0,
)
"""The voice of the model that was approved."""

LIVELY = Voice(
    openings=(
        "Happy to help with {title}!",
        "Good question, and a common one.",
        "Sure, let us sort out {title}.",
        "Got it, here is the short version.",
    ),
    opening_share=0.7,
    sentences=(
        "Most of the time {fact}.",
        "Keep in mind that {fact}.",
        "Just {step}, then check {thing}.",
        "It is usually {thing}: {fact}.",
        "Still stuck? Try to {step}.",
        "One more thing: {fact}.",
        "You'll want to {step}, and after that look at {thing}.",
        "That is normal, since {fact}.",
    ),
    closings=(
        "Hope that helps with {title}!",
        "Tell me if {thing} still looks off, and I'll dig deeper.",
        "Want me to go deeper on {title}?",
    ),
    closing_share=0.55,
    list_leads=("Here is how:", "A quick checklist:", "What to do:"),
    list_share=0.42,
    numbered_share=0.4,
    run=3,
    scale=1.2,
)
"""The voice of the model that answers after the silent swap."""

_PLAIN = (
    "{fact}.",
    "After that, {step}.",
    "Then {step} and look at {thing} again.",
    "This depends on {thing}.",
    "Sometimes {fact}, or {fact}.",
    "Check {thing}, {thing} and {thing}.",
    'The page says: "{fact}" (section #).',
    "{fact}; to see it, {step}.",
    "First {step}, second {step}, and if nothing changes, {step}.",
    "For {title}, {thing} matters more than {thing}.",
)
"""Sentences of any model: an answer shows little of its voice, or much, or half."""

_REFUSALS = (
    "I'm sorry, but I can't help with {title} in this conversation. Please ask a member of the team.",
    "I cannot provide {thing}. Somebody with the right access has to look at it.",
    "I'm not able to do that, because {thing} belongs to another account.",
)


_EXERCISE_SLOTS = (
    ("{language}", LANGUAGES),
    ("{task}", TASKS),
    ("{container}", CONTAINERS),
    ("{element}", ELEMENTS),
    ("{limit}", LIMITS),
    ("{place}", PLACES),
)


def fill(rng: Random, pattern: str, topic: Topic) -> str:
    """`pattern` with the topic's phrases and numbers, its first letter a capital."""
    text = pattern
    for slot, phrases in (("{thing}", topic.things), ("{step}", topic.steps), ("{fact}", topic.facts)):
        while slot in text:
            text = text.replace(slot, rng.choice(phrases), 1)
    text = text.replace("{title}", topic.title)
    while "#" in text:
        text = text.replace("#", str(rng.randint(2, 60)), 1)
    return text[:1].upper() + text[1:]


def answer(rng: Random, voice: Voice, topic: Topic, chars: int, code_share: float) -> str:
    """An answer of about `chars` characters, whole sentences, never beyond `MAX_CHARS`."""
    wanted = min(max(chars, MIN_CHARS), MAX_CHARS - 250)
    manner = rng.random()
    sentences = (*rng.sample(_PLAIN, 4), *rng.sample(voice.sentences, round(5 * manner)))
    list_share = 2.0 * voice.list_share * rng.random() * rng.random()
    bold = rng.random() < _BOLD_SHARE
    blocks: list[str] = []
    if rng.random() < manner * voice.opening_share:
        blocks.append(fill(rng, rng.choice(voice.openings), topic))
    while not blocks or sum(map(len, blocks)) < wanted:
        if rng.random() < list_share and wanted > 4 * MIN_CHARS:
            blocks.append(_list(rng, voice, topic))
        else:
            patterns = rng.sample(sentences, rng.randint(1, voice.run))
            blocks.append(" ".join(fill(rng, pattern, topic) for pattern in patterns))
    if rng.random() < code_share:
        snippet = rng.choice(SNIPPETS).replace("{word}", rng.choice(WORDS))
        blocks.insert(1, snippet.replace("{number}", str(rng.randint(2, 99))))
    if rng.random() < manner * voice.closing_share:
        blocks.append(fill(rng, rng.choice(voice.closings), topic))
    text = "\n\n".join(blocks)
    if bold:
        for thing in topic.things:
            text = text.replace(thing, f"**{thing}**")
    return text if len(text) <= MAX_CHARS else text[:MAX_CHARS].rsplit(". ", 1)[0] + "."


def refusal(rng: Random, topic: Topic) -> str:
    """An answer that declines."""
    return fill(rng, rng.choice(_REFUSALS), topic)


def _list(rng: Random, voice: Voice, topic: Topic) -> str:
    steps = rng.sample(topic.steps, rng.randint(3, 5))
    numbered = rng.random() < voice.numbered_share
    items = [
        f"{position}. {fill(rng, step, topic)}." if numbered else f"- {fill(rng, step, topic)}"
        for position, step in enumerate(steps, 1)
    ]
    return "\n".join([rng.choice(voice.list_leads), *items])


def question(rng: Random, topic: Topic) -> str:
    """What a person types: short or long, sometimes without capitals."""
    parts = [rng.choice(ASKS)]
    while rng.random() < 0.45:  # noqa: PLR2004 - about one sentence of context, seldom many
        parts.insert(rng.randint(0, 1) * len(parts), rng.choice(CONTEXTS))
    text = " ".join(fill(rng, part, topic) for part in parts)
    return text.lower() if rng.random() < 0.3 else text  # noqa: PLR2004 - three people in ten


def exercise(rng: Random) -> str:
    """The next prompt of a sweep: a core, often with a setting before it and a demand after it."""
    parts = [rng.choice(EXERCISES)]
    if rng.random() < 0.6:  # noqa: PLR2004 - more with than without
        parts.insert(0, rng.choice(SETTINGS))
    if rng.random() < 0.6:  # noqa: PLR2004 - more with than without
        parts.append(rng.choice(DEMANDS))
    text = " ".join(parts)
    for slot, words in _EXERCISE_SLOTS:
        while slot in text:
            text = text.replace(slot, rng.choice(words), 1)
    while "#" in text:
        text = text.replace("#", str(rng.randint(3, 9_999)), 1)
    return text
