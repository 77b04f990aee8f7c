"""Reads names and what they mean from what Python brings along: its documentation and its docstrings.

Knows the files and their format; does not know how questions are asked. Everything here is under PSF-2.0.
"""

import ast
import re
import sysconfig
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from examples.inference.train.prose import first_sentence

DOCS = Path("/usr/share/doc/python3.11/html/_sources")  # Debian's python3.11-doc

# In order of how likely somebody asks: who wants fewer facts takes the first ones.
_PAGES = """
functions stdtypes exceptions constants asyncio-task asyncio-eventloop asyncio-queue asyncio-sync asyncio-stream
asyncio-runner asyncio-future asyncio-exceptions asyncio-subprocess asyncio-protocol json os os.path pathlib sys re
time datetime math random itertools functools collections collections.abc contextlib contextvars dataclasses typing
enum string operator copy threading concurrent.futures multiprocessing subprocess queue socket selectors ssl select
signal http http.client http.server urllib.parse urllib.request logging logging.handlers io shutil tempfile glob
fnmatch csv sqlite3 pickle hashlib hmac secrets struct base64 binascii uuid heapq bisect statistics decimal fractions
inspect traceback types abc gc weakref importlib unittest unittest.mock argparse textwrap difflib pprint configparser
gzip zlib zipfile tarfile bz2 lzma html html.parser xml.etree.elementtree email.message wsgiref ipaddress socketserver
calendar locale timeit cProfile profile tracemalloc warnings atexit platform getpass array graphlib stat mimetypes
shlex cmath codecs unicodedata ast dis tomllib zoneinfo sched fileinput linecache filecmp errno numbers reprlib
"""
MODULES = _PAGES.split()


class Entry(NamedTuple):
    kind: str  # function, method, class, exception, decorator, constant, module, term or status
    name: str
    text: str


_DIRECTIVE = re.compile(
    r"^( *)\.\. (?:coroutine|awaitable|class|static|abstract)?"
    r"(function|method|class|exception|data|decorator|module|currentmodule)::\s*(.*)$"
)
_BARE = re.compile(r"^[A-Za-z_][\w.]*")


def _block(lines: list[str], start: int, indent: int) -> str:
    """The paragraph that begins at `start`, if it is indented deeper than `indent`."""
    taken: list[str] = []
    index: int | None = None  # how deep the directive `.. index::` stands, which the reader does not see
    for line in lines[start:]:
        depth = len(line) - len(line.lstrip())
        if line.strip() and index is not None and depth <= index:
            index = None
        if line.lstrip().startswith(".. index::"):
            index = depth
        if index is not None:
            continue
        if not line.strip():
            if taken:
                break
        elif depth <= indent or line.lstrip().startswith(("..", "* ", "- ", ">>>")):
            break
        else:
            taken.append(line.strip())
    return " ".join(taken)


def _after_signature(lines: list[str], start: int) -> int:
    """Signatures and options may take several lines; what they say follows an empty one."""
    return next((number for number in range(start, len(lines)) if not lines[number].strip()), len(lines))


def documented(page: Path) -> Iterator[Entry]:
    """What one page of the library reference defines, with qualified names."""
    lines = page.read_text(encoding="utf-8").splitlines()
    module = ""
    classes: list[tuple[int, str]] = []
    for number, line in enumerate(lines):
        match = _DIRECTIVE.match(line)
        if not match:
            continue
        indent, kind, rest = len(match[1]), match[2], match[3]
        if kind in ("module", "currentmodule"):
            module = rest.strip()
            synopsis = re.match(r"\s+:synopsis:\s*(.*)", lines[number + 1] if number + 1 < len(lines) else "")
            if kind == "module" and synopsis and (text := first_sentence(synopsis[1])):
                yield Entry("module", module, text)
            continue
        bare = _BARE.match(re.sub(r"^(async|coroutine|abstractmethod|classmethod|staticmethod)\s+", "", rest))
        if not bare:
            continue
        name = bare[0]
        classes = [(depth, known) for depth, known in classes if depth < indent]
        if kind == "method" and classes and "." not in name:
            name = f"{classes[-1][1]}.{name}"
        elif module and not (name.startswith(module + ".") and kind != "method"):
            name = f"{module}.{name}"
        if kind == "class":
            classes.append((indent, name))
        text = first_sentence(_block(lines, _after_signature(lines, number), indent))
        if text and "._" not in name and name != "set.set":  # which are the set's operators
            yield Entry("constant" if kind == "data" else kind, name, text)


def glossary(page: Path) -> Iterator[Entry]:
    """The terms of the glossary: a line of three blanks, then a paragraph of six."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        # A new term follows an empty line; a line so indented that follows text goes on with it.
        if not re.match(r"^   \w[\w -]+$", line) or lines[number - 1].strip():
            continue
        if text := first_sentence(_block(lines, number + 1, 3)):
            yield Entry("term", line.strip(), text)


def docstrings(module: str) -> Iterator[Entry]:
    """The docstrings of one module's public functions, classes and methods, read without importing it."""
    root = Path(sysconfig.get_path("stdlib")) / module.replace(".", "/")
    path = next((p for p in (root.with_suffix(".py"), root / "__init__.py") if p.exists()), None)
    if path is None:
        return

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[Entry]:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name[0] == "_":
                continue
            name = f"{prefix}.{node.name}"
            if text := first_sentence((ast.get_docstring(node) or "").split("\n\n")[0]):
                yield Entry("class" if isinstance(node, ast.ClassDef) else "function", name, text)
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, name)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")).body, module)


def statuses() -> Iterator[Entry]:
    """Every status that `http` knows: "404 Not Found" and what it says about it, if anything."""
    for status in HTTPStatus:
        yield Entry("status", str(status.value), f"{status.phrase}|{status.description}")
