"""A detector with other numbers in its source, or from another source: what `backtest` tries out.

The settings of a detector are the numbers at the head of its module. A variant is that source run again with some
of them replaced, so what is computed from them follows, the warm-up in its metadata too.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path

from detectors.bank import discover
from detectors.base import Detector
from streams.settings import SettingsError

_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")
_SERIAL = itertools.count(1)

Number = int | float


def source_of(detector_id: str, path: Path | None = None) -> str:
    """The shipped source of a detector, or that in a file. Raises `SettingsError`."""
    catalog = discover()
    if detector_id not in catalog:
        raise SettingsError(f"--detector: {detector_id[:80]!r} is no detector; one of {', '.join(catalog)}")
    try:
        return (path or Path(sys.modules[catalog[detector_id].__module__].__file__ or "")).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--code: {path} cannot be read: {type(error).__name__}") from None


def variant(detector_id: str, source: str, changes: Mapping[str, str]) -> type[Detector]:
    """The detector in `source` with `changes` made. Raises `SettingsError` for what cannot be set or does not run."""
    try:
        known = _numbers(source)
    except SyntaxError as error:
        raise SettingsError(f"--code: line {error.lineno}: {error.msg}") from None
    lines = source.encode().splitlines(keepends=True)
    placed = []
    for key, text in changes.items():
        if key not in known:
            own = ", ".join(f"{name}={value:g}" for name, (_, value) in known.items()) or "no number"
            settable = f"it has {own}; and of the budget alarm_budget, expected_deployments, expected_principals"
            raise SettingsError(f"--set: {key[:80]!r} is no setting of {detector_id}; {settable}")
        node, value = known[key]
        placed.append((node, _read(key, text, value)))
    # From the last to the first: what stands before keeps its place.
    for node, number in sorted(placed, key=lambda each: (each[0].lineno, each[0].col_offset), reverse=True):
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line[: node.col_offset] + repr(number).encode() + line[node.end_col_offset :]
    return _run(detector_id, b"".join(lines).decode())


def _run(detector_id: str, source: str) -> type[Detector]:
    # msgspec resolves annotations through the module a class says it is of, so it must be there under its own name.
    module = types.ModuleType(f"inferwatch_variants.v{next(_SERIAL)}.{detector_id}")
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, f"{detector_id} (variant)", "exec"), vars(module))  # noqa: S102 - the operator's own code
    except Exception as error:
        raise SettingsError(f"{detector_id} does not run like this: {type(error).__name__}: {error}") from error
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Detector) and kind.__module__ == module.__name__
    ]
    if len(kinds) != 1:
        raise SettingsError(f"--code: it holds {len(kinds)} detectors, not one")
    return kinds[0]


def _numbers(source: str) -> dict[str, tuple[ast.expr, Number]]:
    """By setting, where its number stands and what it is."""
    found = {}
    for statement in ast.parse(source).body:
        match statement:
            case ast.Assign(targets=[ast.Name() as target], value=value):
                pairs: list[tuple[ast.expr, ast.expr]] = [(target, value)]
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                pairs = list(zip(targets, values, strict=False))
            case _:
                continue
        for name, node in pairs:
            number = _literal(node)
            if number is not None and isinstance(name, ast.Name) and _CONSTANT.fullmatch(name.id):
                found[name.id.strip("_").lower()] = (node, number)
    return found


def _literal(node: ast.expr) -> Number | None:
    """The number a node is on one line, if it is one."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and node.lineno == node.end_lineno else None


def _read(key: str, text: str, shipped: Number) -> Number:
    """A number of the same kind as the shipped one."""
    try:
        number: Number = int(text) if isinstance(shipped, int) else float(text)
    except ValueError:
        kind = "a whole number" if isinstance(shipped, int) else "a number"
        raise SettingsError(f"--set: {key}={text[:80]!r} is not accepted; {kind}, shipped with {shipped:g}") from None
    if not math.isfinite(number):
        raise SettingsError(f"--set: {key} must be finite")
    return number
