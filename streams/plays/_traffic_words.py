"""What synthetic callers and models talk about: topics, and the forms of prompts.

All of it was written for this repository; nothing is another's data.
"""

from __future__ import annotations

import msgspec


class Topic(msgspec.Struct, frozen=True):
    """Phrases about one subject: `things` are noun phrases, `steps` imperatives, `facts` clauses; # is a number."""

    title: str
    things: tuple[str, ...]
    steps: tuple[str, ...]
    facts: tuple[str, ...]


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


SUPPORT = (
    Topic(
        "the late parcel",
        ("the tracking page", "the delivery address", "the depot scan", "the carrier's note", "the order number"),
        (
            "open the tracking page from the order mail",
            "confirm the delivery address",
            "wait for the next depot scan",
            "ask a neighbor whether the parcel was left there",
            "report the parcel as lost after # days",
        ),
        (
            "the carrier updates the tracking page only once a day",
            "a parcel can wait up to # days at the depot",
            "the address label could not be read by the machine",
            "a holiday moved the route to the next working day",
            "parcels over # kg travel on a separate truck",
        ),
    ),
    Topic(
        "the refund",
        ("the card statement", "the return label", "the refund mail", "the bank's hold", "the receipt"),
        (
            "print the return label from the account page",
            "hand the parcel in within # days",
            "keep the receipt until the refund mail arrives",
            "ask the bank about the hold on the card",
            "choose store credit if the card has expired",
        ),
        (
            "refunds reach the card within # working days",
            "the bank shows the amount as a hold at first",
            "shipping costs are refunded with the last item",
            "gift cards are refunded as store credit",
            "the warehouse checks every return by hand",
        ),
    ),
    Topic(
        "the sign-in problem",
        ("the reset mail", "the second factor", "the recovery code", "the browser's cookies", "the account lock"),
        (
            "request a new reset mail",
            "use one of the recovery codes",
            "clear the browser's cookies for the shop",
            "check the clock of the phone",
            "register the second factor again",
        ),
        (
            "the reset mail is valid for # minutes",
            "the account locks itself after # wrong passwords",
            "codes differ when the phone's clock is off",
            "an old bookmark leads to the former sign-in page",
            "company accounts sign in through their own page",
        ),
    ),
    Topic(
        "the subscription",
        ("the renewal date", "the plan page", "the invoice", "the trial period", "the number of seats"),
        (
            "open the plan page and choose another plan",
            "remove seats that nobody uses",
            "download the invoice as a file",
            "cancel before the renewal date",
            "enter the tax number under billing",
        ),
        (
            "the plan renews on the day it was bought",
            "unused months are credited on the next invoice",
            "the trial ends after # days without a charge",
            "seats can be added at any time and cost # each",
            "a canceled plan stays usable until the renewal date",
        ),
    ),
    Topic(
        "the broken device",
        ("the warranty card", "the serial number", "the charging cable", "the status light", "the repair ticket"),
        (
            "hold the power button for # seconds",
            "try another charging cable",
            "write down the serial number under the battery",
            "update the firmware over the app",
            "send the device in with the repair ticket",
        ),
        (
            "a blinking status light means the battery is empty",
            "the warranty covers # months from the purchase",
            "firmware updates need half a charge",
            "water damage is repaired at a fixed price",
            "most repairs take # working days",
        ),
    ),
)

CODE = (
    Topic(
        "the failing query",
        ("the index", "the query plan", "the join order", "the connection pool", "the transaction log"),
        (
            "run the statement with its plan shown",
            "add an index on the filtered column",
            "batch the rows by #",
            "close the cursor in a finally block",
            "lower the isolation level for the report",
        ),
        (
            "the planner ignores an index on a function of a column",
            "a missing limit reads the whole table",
            "the pool holds # connections by default",
            "a long transaction keeps old row versions alive",
            "statistics are stale after a bulk load",
        ),
    ),
    Topic(
        "the flaky test",
        ("the fixture", "the fake clock", "the temporary directory", "the test order", "the event loop"),
        (
            "pass the clock as an argument",
            "run the test # times with a fixed seed",
            "give every test its own directory",
            "wait for the condition instead of sleeping",
            "split the assertion in two",
        ),
        (
            "two tests write to the same file",
            "the order of a set is not stable",
            "the server needs # ms before it listens",
            "a global cache survives between tests",
            "rounding differs between the two machines",
        ),
    ),
    Topic(
        "the parser",
        ("the tokenizer", "the grammar", "the error message", "the escape rule", "the buffer"),
        (
            "return the position with every error",
            "read the input in blocks of # bytes",
            "reject unknown fields early",
            "write the grammar down before the code",
            "keep the tokenizer free of state",
        ),
        (
            "a quoted field may contain a line break",
            "the file begins with a byte order mark",
            "recursion deeper than # levels ends the process",
            "numbers may have an exponent",
            "the last line has no line end",
        ),
    ),
    Topic(
        "the slow request",
        ("the profiler", "the cache key", "the response body", "the retry loop", "the thread pool"),
        (
            "measure before changing anything",
            "cache the result for # seconds",
            "stream the response instead of building it",
            "move the call out of the loop",
            "set a timeout on every outgoing call",
        ),
        (
            "most of the time is spent on serialization",
            "the retry loop multiplies every failure by #",
            "the thread pool is exhausted at noon",
            "the cache key contains the current time",
            "compression costs more than it saves here",
        ),
    ),
)

SEARCH = (
    Topic(
        "the travel policy",
        ("the booking tool", "the daily rate", "the approval form", "the rail pass", "the expense report"),
        (
            "book through the tool at least # days ahead",
            "attach the receipts to the expense report",
            "ask for approval before an overnight stay",
            "prefer the train below # hours",
            "use the daily rate for meals",
        ),
        (
            "the daily rate depends on the country",
            "flights under # hours need a reason",
            "the rail pass is paid by the team",
            "reports are settled within # days",
            "hotels above the limit need approval",
        ),
    ),
    Topic(
        "the data retention rule",
        ("the archive", "the deletion date", "the legal hold", "the audit log", "the backup"),
        (
            "delete exports after # days",
            "mark records under legal hold",
            "write the owner into the register",
            "review the archive every quarter",
            "keep the audit log on separate storage",
        ),
        (
            "backups are overwritten after # weeks",
            "a legal hold stops every deletion",
            "the register names an owner for each archive",
            "audit logs are kept for # months",
            "exports contain the same data as the archive",
        ),
    ),
    Topic(
        "the machine room",
        ("the cooling unit", "the access list", "the power feed", "the spare parts", "the fire panel"),
        (
            "sign in at the desk",
            "test the second power feed every # weeks",
            "report a warm aisle to the operator",
            "label both ends of a cable",
            "keep the floor free of boxes",
        ),
        (
            "the cooling unit is serviced in spring",
            "the access list is renewed every # days",
            "both feeds carry half of the load",
            "the fire panel is linked to the station",
            "spare parts are counted monthly",
        ),
    ),
)

SNIPPETS = (
    "```python\ndef load_{word}(path: Path) -> list[str]:\n    return path.read_text().splitlines()[:{number}]\n```",
    "```python\nfor attempt in range({number}):\n    {word} = fetch(attempt)\n    if {word}:\n        break\n```",
    "```sql\nSELECT {word}, count(*)\nFROM events\nGROUP BY {word}\nLIMIT {number};\n```",
    "```python\n@dataclass(frozen=True)\nclass {word}:\n    name: str\n    size: int = {number}\n```",
)
WORDS = ("rows", "orders", "pages", "tokens", "spans", "items", "users", "batches", "files", "scores")

ASKS = (
    "How do I {step}?",
    "What does {thing} have to do with {title}?",
    "I have a problem with {title}.",
    "Can you explain {thing}?",
    "Is it true that {fact}?",
    "Somebody told me to {step}, but {thing} is not where I expected it.",
    "Why does {thing} change every time?",
    "We tried to {step} and it did not work.",
    "{thing}?",
    "My colleague says that {fact}. What should I do about {title} then?",
)
CONTEXTS = (
    "This has been going on for # days.",
    "I already looked at {thing}.",
    "Yesterday I was told that {fact}.",
    "I need this before the end of the week, thanks.",
    "The last time it helped to {step}.",
    "Here is what I see on my side: {thing}, then {thing}, and after that nothing at all for # minutes.",
    "Sorry if that was asked before.",
)

TASKS = _phrases(
    "reverse, deduplicate, rotate, merge, count, split, interleave, validate, compress, partition, flatten, shuffle, "
    "rank, encrypt, parse, print, index, sample, cluster, balance, search, normalize, transpose, schedule, pack, "
    "diff, archive, hash"
)
CONTAINERS = _phrases(
    "nested lists, linked lists, binary trees, sorted arrays, matrices, streams, graphs, intervals, queues, tables, "
    "tuples, ring buffers, tries, heaps, bitmaps, stacks, dictionaries, logs"
)
ELEMENTS = _phrases(
    "integers, invoices, chess moves, temperatures, genes, recipes, dates, coordinates, melodies, prices, passwords, "
    "polygons, votes, train delays, colors, words, sensor readings, fractions, tickets, brackets, earthquakes, "
    "proteins, emails, tides, crosswords, heights, currencies, pixels"
)
LANGUAGES = ("Python", "Go", "Rust", "Java", "TypeScript", "C", "Kotlin", "Haskell", "Ruby", "Scala", "Swift", "Lua")
LIMITS = (
    "without extra memory",
    "in O(n log n)",
    "up to # at once",
    "keeping equal ones in order",
    "recursively",
    "lazily",
    "within # ms",
    "across # threads",
    "while # readers wait",
)
PLACES = _phrases(
    "libraries, harbors, clinics, bakeries, airports, schools, mines, choirs, vineyards, theaters, farms, museums, "
    "courts, laundries, zoos, shipyards"
)
SETTINGS = (
    "Many {place} keep {container} of {element}.",
    "Suppose {place} send # {element} an hour.",
    "At night # {place} hand over damaged {container}.",
    "{language} runs on devices with # kB.",
    "Every # weeks {place} compare {element} with {element}.",
)
DEMANDS = (
    "Name its worst case.",
    "Add tests with # random {element}.",
    "Which edge cases break it, and how would {place} notice?",
    "Then translate everything to {language}.",
    "Prove termination.",
    "What changes for {container}?",
    "Explain each line to beginners who know {place}, using # {element}.",
)
EXERCISES = (
    "Write {language} code to {task} {container} of {element} {limit}.",
    "Given # {element} in {container}, {task} and {task} them {limit}.",
    "Which structure lets {language} {task} {element} fastest?",
    "Implement, {limit}, {language} programs which {task} {container}.",
    "Translate pseudocode that would {task} {element} into {language} {limit}.",
    "Show # test cases where {language} fails to {task} {container} of {element}.",
    "Find mistakes beginners make when they {task} {element} {limit}.",
    "My {language} script needs # seconds to {task} {container}; make it faster {limit}.",
    "Compare recursion and loops: who can {task} {element} better {limit}?",
    "Estimate how long # machines {task} {container} of {element}.",
    "Without libraries, design classes that {task} {element} {limit}.",
    "Why can no algorithm {task} {container} {limit}?",
)
"""One family of exercises, walked systematically: what a distillation script sends."""
