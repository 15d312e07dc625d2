"""What differs between two attestations of one subject, by name: which file, package, tool or ability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from streams.attesting.report import Attestation, AttestError, Concern, Level

MAX_BYTES = 256_000_000


def read_reports(source: str, data: bytes) -> dict[str, Attestation]:
    """The attestations of a file that ``attest --json`` printed, by subject. Raises `AttestError`."""
    if len(data) > MAX_BYTES:
        raise AttestError(f"{source}: larger than any report")
    try:
        reports = [msgspec.json.decode(line, type=Attestation) for line in data.splitlines() if line.strip()]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise AttestError(f"{source}: no report; expected what `inferwatch attest --json` printed") from None
    if not reports:
        raise AttestError(f"{source}: holds no report")
    found = {each.subject: each for each in reports}
    if len(found) != len(reports):
        raise AttestError(f"{source}: holds two reports of one kind; give one")
    return found


def compared(before: dict[str, Attestation], now: Attestation) -> Attestation:
    """The attestation with a concern for everything that is not as it was. Raises `AttestError`."""
    old = before.get(now.subject)
    if old is None:
        raise AttestError(f"the earlier report says nothing about {now.subject}")
    changes = [*_files(old, now), *_packages(old, now), *_tools(old, now), *_abilities(old, now)]
    if old.digest != now.digest and not changes:
        changes.append(_changed(now.source, f"was {old.digest or 'without a digest'}"))
    return msgspec.structs.replace(now, concerns=(*changes, *now.concerns))


def _files(old: Attestation, now: Attestation) -> Iterator[Concern]:
    before = {each.path: (each.sha256, each.link) for each in old.files}
    after = {each.path: (each.sha256, each.link) for each in now.files}
    yield from _names(before, after)
    for path in sorted(before.keys() & after.keys()):
        if before[path] != after[path]:
            yield _changed(path, f"has changed; was {before[path][0] or before[path][1] or 'unread'}")


def _packages(old: Attestation, now: Attestation) -> Iterator[Concern]:
    before, after = ({each.name: each for each in report.packages} for report in (old, now))
    yield from _names(before, after)
    for name in sorted(before.keys() & after.keys()):
        was, is_ = before[name], after[name]
        if was.version != is_.version:
            yield _changed(name, f"was {was.version}, is {is_.version}")
        elif was.digest != is_.digest:
            yield _changed(name, f"has other files under the same version {is_.version}")


def _tools(old: Attestation, now: Attestation) -> Iterator[Concern]:
    before, after = ({each.name: each for each in report.tools} for report in (old, now))
    yield from _names(before, after)
    for name in sorted(before.keys() & after.keys()):
        was, is_ = before[name], after[name]
        parts = [part for part in ("description", "schemas") if getattr(was, part) != getattr(is_, part)]
        if was.digest != is_.digest:
            yield _changed(name, f"the tool says something else in its {' and '.join(parts) or 'annotations'}")


def _abilities(old: Attestation, now: Attestation) -> Iterator[Concern]:
    """What code can do that it could not; lines do not count, they move with every edit."""
    before = {(each.path, each.ability, each.call) for each in old.abilities}
    for path, ability, call in sorted({(each.path, each.ability, each.call) for each in now.abilities} - before):
        yield _changed(path, f"has a new ability: {ability}, {call}")


def _names(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[Concern]:
    for name in sorted(after.keys() - before.keys()):
        yield _changed(name, "is new")
    for name in sorted(before.keys() - after.keys()):
        yield _changed(name, "is gone")


def _changed(where: str, text: str) -> Concern:
    return Concern(level=Level.ALARM, where=where, text=text)
