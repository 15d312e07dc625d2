"""What Python code can do, from its syntax tree: start processes, call out, run code made at run time, decode.

Names are followed through imports, aliases, `getattr` with a name that is written out, `__import__` and simple
assignments: ``from subprocess import run as r; r(...)`` is found, and the word "subprocess" in a comment is not.
Nothing is imported or run.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator

from streams.attesting.report import Ability, Concern, Level, shown

MAX_SOURCE_BYTES = 1_000_000
"""A syntax tree takes some 600 times the memory of its source; no person writes files as large."""

PROCESS, OUTBOUND, DYNAMIC, DECODING, NATIVE = (
    "process start",
    "outbound call",
    "dynamic code",
    "decoding",
    "native code",
)

_PATTERNS: tuple[tuple[str, str], ...] = (
    (
        PROCESS,
        r"subprocess\.\w+|(os|posix|nt)\.(system|popen\w*|exec[lv]\w*|spawn\w+|posix_spawnp?|fork|forkpty|startfile)",
    ),
    (
        PROCESS,
        r"pty\.(spawn|fork)|asyncio\.(subprocess\.)?create_subprocess_\w+|multiprocessing\.(Process|Pool)|commands\.\w+",
    ),
    (
        PROCESS,
        r"(anyio|trio)\.(run_process|open_process)|pexpect\.\w+|sh\.\w+|plumbum\..+|concurrent\.futures\.ProcessPoolExecutor",
    ),
    (
        OUTBOUND,
        r"socket\.(socket|create_connection|getaddrinfo|gethostbyname\w*)|ssl\.wrap_socket|http\.client\.HTTPS?Connection",
    ),
    (
        OUTBOUND,
        r"urllib\.request\.(urlopen|urlretrieve|Request|build_opener)|urllib3\.(request|\w*PoolManager|\w+Pool)",
    ),
    (
        OUTBOUND,
        r"(requests|httpx|aiohttp|niquests)\.(get|post|put|patch|delete|head|options|request|stream|[sS]ession|Async\w+)",
    ),
    (OUTBOUND, r"httpx\.(Client|HTTPTransport)|aiohttp\.(ClientSession|TCPConnector)"),
    (
        OUTBOUND,
        r"(ftplib|smtplib|telnetlib|poplib|imaplib|nntplib|paramiko|pycurl|boto3|botocore|grpc|websockets|websocket)\..+",
    ),
    (
        OUTBOUND,
        r"xmlrpc\.client\..+|asyncio\.(open_connection|open_unix_connection)|dns\.resolver\..+|(anyio|trio)\..*connect_tcp",
    ),
    (OUTBOUND, r"webbrowser\.open\w*|urllib2\..+|asyncssh\..+|fabric\..+|slack_sdk\..+|google\.cloud\..+|azure\..+"),
    (
        DYNAMIC,
        r"(builtins\.)?(eval|exec|compile|__import__)|importlib\.(import_module|reload|util\.\w+_from_\w+|machinery\.\w+Loader)|runpy\.\w+",
    ),
    (
        DYNAMIC,
        r"(marshal|dill|cloudpickle|joblib|c?[pP]ickle|_pickle|shelve|jsonpickle)\.(loads?|open|decode|Unpickler)|torch\.load",
    ),
    (DYNAMIC, r"types\.(FunctionType|CodeType|LambdaType)|code\.(Interactive\w+|interact|compile_command)|codeop\..+"),
    (
        DYNAMIC,
        r"yaml\.(load|load_all|unsafe_load|unsafe_load_all|full_load)|sys\.(settrace|meta_path.*|path_hooks.*)|imp\.\w+",
    ),
    (
        DECODING,
        r"base64\.\w*decode\w*|binascii\.(a2b_\w+|unhexlify)|codecs\.(decode|getdecoder)|(bytes|bytearray)\.fromhex",
    ),
    (
        DECODING,
        r"(zlib|gzip|bz2|lzma|brotli|zstandard)\.(decompress\w*|open)|quopri\.decode\w*|cryptography\.fernet\..+",
    ),
    (NATIVE, r"ctypes\..+|cffi\..+|_ctypes\..+|mmap\.mmap"),
)
_RULES = tuple((ability, re.compile(pattern)) for ability, pattern in _PATTERNS)
_BUILTINS = frozenset({"eval", "exec", "compile", "__import__", "getattr", "bytes", "bytearray", "__builtins__"})
_SPEAKING_CODECS = frozenset(
    {"rot13", "rot_13", "base64", "base64_codec", "hex", "hex_codec", "zlib", "zip", "bz2", "uu"}
)
_ENCODINGS = frozenset({"utf-8", "utf-8-sig", "ascii", "us-ascii", "iso-8859-1", "latin-1", "iso-8859-15", "cp1252"})
_HANDS_ON = (ast.keyword, ast.Dict, ast.List, ast.Tuple, ast.Return, ast.Starred)
_COMPUTED = "a name computed at run time"


def abilities(path: str, source: bytes) -> tuple[list[Ability], list[Concern]]:
    """What one file of Python can do, and what about it a person should know. Never raises for what is in it."""
    if len(source) > MAX_SOURCE_BYTES:
        return [], [
            Concern(level=Level.ALARM, where=path, text=f"more than {MAX_SOURCE_BYTES} bytes of source; not read")
        ]
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        if encoding not in _ENCODINGS:
            return [], [
                Concern(level=Level.ALARM, where=path, text=f"source in {shown(encoding)}, which hides what it says")
            ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        found = sorted(set(_Reading(path).read(tree)), key=lambda each: (each.line, each.ability, each.call))
    except (SyntaxError, ValueError) as error:
        said = shown(f"{type(error).__name__}: {error}".splitlines()[0])
        return [], [Concern(level=Level.WARN, where=path, text=f"is no Python this version reads: {said}")]
    except (RecursionError, MemoryError):
        return [], [Concern(level=Level.ALARM, where=path, text="is nested too deep to be read, as no person writes")]
    return found, [
        Concern(level=Level.ALARM, where=f"{path}:{each.line}", text=f"runs what it decodes: {each.call}")
        for each in found
        if each.ability == DYNAMIC and " of " in each.call
    ]


class _Reading:
    """One pass over a tree, without recursion: `names` says what a name of the file stands for."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._names: dict[str, str] = {}
        self._stars: list[str] = []
        self._decoded: set[str] = set()

    def read(self, tree: ast.Module) -> Iterator[Ability]:
        """All abilities. Names are learned first, so that a function may come before the import it uses."""
        assignments = []
        for node in ast.walk(tree):
            self._learn_import(node)
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
                assignments.append(node)
        for _ in range(3):  # x = os; y = x.system; z = y
            for node in assignments:
                self._learn_assignment(node)
        waiting: list[tuple[ast.AST, str]] = [(tree, "")]
        while waiting:
            node, within = waiting.pop()
            if isinstance(node, ast.Call):
                yield from self._call(node, within)
            elif isinstance(node, _HANDS_ON):
                yield from self._handed_on(ast.iter_child_nodes(node), within)
            inside = within
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                inside = f"{within}.{getattr(node, 'name', 'lambda')}".lstrip(".")
            waiting += [(child, within if child in _now(node) else inside) for child in ast.iter_child_nodes(node)]

    def _learn_import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for each in node.names:
                self._names[each.asname or each.name.partition(".")[0]] = (
                    each.name if each.asname else each.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for each in node.names:
                if each.name == "*":
                    self._stars.append(node.module)
                else:
                    self._names[each.asname or each.name] = f"{node.module}.{each.name}"

    def _learn_assignment(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        value = node.value
        if value is None:
            return
        stands_for = self._resolve(value)
        decoded = self._decodes(value)
        for target in targets:
            if not isinstance(target, ast.Name):
                continue
            if stands_for and target.id not in self._names and stands_for != target.id:
                self._names[target.id] = stands_for
            if decoded:
                self._decoded.add(target.id)

    def _resolve(self, node: ast.AST) -> str:
        """The dotted name an expression stands for, or nothing."""
        parts: list[str] = []
        while True:
            if isinstance(node, ast.Attribute):
                parts.append(node.attr)
                node = node.value
            elif isinstance(node, ast.Call) and (inner := self._looked_up(node)):
                return ".".join([inner, *reversed(parts)])
            elif isinstance(node, ast.Subscript) and (key := _text(node.slice)) and self._is_namespace(node.value):
                if self._resolve(node.value) == "sys.modules":
                    return ".".join([key, *reversed(parts)])
                parts.append(key)
                node = node.value.value if isinstance(node.value, ast.Attribute) else node.value
            elif isinstance(node, ast.Name):
                known = self._names.get(node.id, "") or self._unimported(node.id)
                name = ".".join([known, *reversed(parts)]) if known else ""
                return re.sub(r"^(__builtins__|builtins)(\.__dict__)?\.", "", name)
            else:
                return ""

    def _unimported(self, name: str) -> str:
        """What a name is that nothing in the file makes: a builtin, or of a module that is imported with a star."""
        if name in _BUILTINS:
            return name
        return next((full for each in self._stars if _ability(full := f"{each}.{name}")), "")

    def _is_namespace(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr == "__dict__" or self._resolve(node) == "sys.modules"
        return isinstance(node, ast.Name) and node.id == "__builtins__"

    def _looked_up(self, call: ast.Call) -> str:
        """What a call that only looks something up stands for: getattr(os, "system"), __import__("os")."""
        called = self._resolve(call.func) if not isinstance(call.func, ast.Call) else ""
        if called == "getattr" and len(call.args) > 1:
            owner, name = self._resolve(call.args[0]), _text(call.args[1])
            return re.sub(r"^(__builtins__|builtins)\.", "", f"{owner}.{name}") if owner and name else ""
        if called in {"__import__", "importlib.import_module"} and call.args:
            name = _text(call.args[0])
            return name.partition(".")[0] if called == "__import__" else name
        return ""

    def _call(self, node: ast.Call, within: str) -> Iterator[Ability]:
        name = self._resolve(node.func)
        ability = _ability(name)
        called = self._resolve(node.func.func) if isinstance(node.func, ast.Call) else ""
        yield from self._handed_on(node.args, within)
        hidden = called == "getattr" and isinstance(node.func, ast.Call) and not self._looked_up(node.func)
        if hidden:
            yield self._made(node, DYNAMIC, _COMPUTED, within)
        if ability == DYNAMIC:
            decoder = next((each for each in map(self._decodes, node.args) if each), "")
            detail = f"{name} of {decoder}" if decoder else name
            if name == "__import__" or name.endswith("import_module"):
                written = _text(node.args[0]) if node.args else ""
                detail += f"({written!r})" if written else f" ({_COMPUTED})"
            yield self._made(node, DYNAMIC, detail, within)
        elif ability == OUTBOUND:
            host = next((found for each in node.args[:2] if (found := _host(_text(each)))), "")
            yield self._made(node, ability, f"{name} to {host}" if host else name, within)
        elif ability:
            yield self._made(node, ability, name, within)
        elif self._speaks(node):
            yield self._made(node, DECODING, f"decode {_text(node.args[0])}", within)

    def _handed_on(self, nodes: Iterable[ast.AST], within: str) -> Iterator[Ability]:
        """A function that is handed on, Thread(target=os.system), is as able as one that is called."""
        for node in nodes:
            if isinstance(node, ast.Attribute | ast.Name) and (ability := _ability(name := self._resolve(node))):
                yield self._made(node, ability, name, within)

    def _decodes(self, node: ast.AST) -> str:
        """The decoder that the value of an expression comes from."""
        for each in ast.walk(node):
            if isinstance(each, ast.Call) and (
                _ability(name := self._resolve(each.func)) == DECODING or self._speaks(each)
            ):
                return name or "decode"
            if isinstance(each, ast.Name) and each.id in self._decoded:
                return f"{each.id}, decoded before"
        return ""

    def _speaks(self, node: ast.Call) -> bool:
        """Whether this is ``text.decode("rot13")`` and the like, not the decoding of characters."""
        if not (isinstance(node.func, ast.Attribute) and node.func.attr == "decode" and node.args):
            return False
        return _text(node.args[0]).lower() in _SPEAKING_CODECS

    def _made(self, node: ast.expr, ability: str, call: str, within: str) -> Ability:
        place = within or "module"
        return Ability(
            path=self._path,
            line=node.lineno,
            ability=ability,
            call=shown(call),
            within=shown(place),
            on_import=not within,
        )


def _now(node: ast.AST) -> list[ast.AST | None]:
    """The parts of a function that run where it is defined: decorators, and defaults and annotations."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.decorator_list, node.args, node.returns]
    return [node.args] if isinstance(node, ast.Lambda) else []


@functools.lru_cache(maxsize=10_000)
def _ability(name: str) -> str:
    return next((ability for ability, rule in _RULES if rule.fullmatch(name)), "") if name else ""


def _text(node: ast.AST) -> str:
    """The text of a constant, of constants added, or of a joined or reversed constant."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return left + right if left and right else ""
    if isinstance(node, ast.JoinedStr):
        pieces = [_text(each) for each in node.values]
        return "".join(pieces) if all(pieces) else next(iter(pieces), "")
    return ""


def _host(address: str) -> str:
    match = re.match(r"(?:https?|wss?|ftp)://([\w.-]{1,253})", address)
    return match[1] if match else ""
