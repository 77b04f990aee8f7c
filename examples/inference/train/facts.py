"""What the model is taught: facts, each an answer with questions to train on and questions that are held out.

Needs nothing but Python: what is absent (Debian's python3.11-doc) is left out, and said. The same sources give the
same facts in the same order.
"""

import random
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.inference.train import phrasings, sources
from examples.inference.train.phrasings import checksum, normal
from examples.inference.train.sources import Entry

HAND_WRITTEN: dict[str, Any] = tomllib.loads(Path(__file__).with_name("facts.toml").read_text(encoding="utf-8"))
UNKNOWN: str = HAND_WRITTEN["unknown"]
PER_PAGE = 16  # so that `os` alone does not fill the model
_RANK = {"module": 0, "exception": 1, "class": 1, "function": 1, "decorator": 1, "method": 2, "constant": 3}
WHOLE_PAGES = ("functions", "stdtypes", "exceptions")


@dataclass(frozen=True)
class Fact:
    source: str  # hand, status, glossary, docs or docstring
    answer: str
    trained: tuple[str, ...]
    held_out: tuple[str, ...]


def hand_written() -> Iterator[Fact]:
    for fact in HAND_WRITTEN["fact"]:
        asked = list(fact.get("ask", []))
        held_out = [asked.pop()] if len(asked) > 2 else []
        if topic := fact.get("topic"):
            usual, kept = phrasings.questions(phrasings.CONCEPT, topic)
            asked, held_out = usual + asked, held_out + kept
        yield Fact("hand", fact["answer"], tuple(asked), tuple(held_out))
    yield from documented((Entry("class", *named) for named in HAND_WRITTEN["python"].items()), "hand")


def statuses() -> Iterator[Fact]:
    for entry in sources.statuses():
        phrase, described = entry.text.split("|")
        said = HAND_WRITTEN["status"].get(entry.name) or described
        said = said.replace(" --", ";").rstrip(".")
        if said[1:2].islower():  # not "URI"
            said = said[0].lower() + said[1:]
        answer = f"HTTP {entry.name} {phrase}" + (f": {said}." if said else ".")
        yield Fact("status", answer, *map(tuple, phrasings.questions(phrasings.STATUS, entry.name, phrase)))


def documented(entries: Iterable[Entry], source: str) -> Iterator[Fact]:
    for entry in entries:
        wordings = {"term": phrasings.CONCEPT, "module": phrasings.MODULE}.get(entry.kind, phrasings.API)
        answer = f"{entry.name[0].upper()}{entry.name[1:]}" if entry.kind == "term" else entry.name
        yield Fact(source, f"{answer}: {entry.text}", *map(tuple, phrasings.questions(wordings, entry.name)))


def _library() -> Iterator[Fact]:
    wanted = set(HAND_WRITTEN["wanted"]["names"].split())
    for page in sources.MODULES:
        path = sources.DOCS / "library" / f"{page}.rst.txt"
        read = list(sources.documented(path)) if path.exists() else []
        read.sort(key=lambda entry: (entry.name not in wanted, _RANK[entry.kind]))
        if page not in WHOLE_PAGES:
            del read[PER_PAGE:]
        yield from documented(read, "docs")
        names = {entry.name for entry in read}
        more = [entry for entry in sources.docstrings(page) if entry.name not in names]
        yield from documented(more[: max(5, PER_PAGE - len(read))], "docstring")


def build(most: int = 2000) -> list[Fact]:
    """At most so many facts, the likeliest asked first; a question belongs to the first fact that has it."""
    found = [*hand_written(), *statuses()]
    if sources.DOCS.exists():
        found += documented(sources.glossary(sources.DOCS / "glossary.rst.txt"), "glossary")
    else:
        print(f"{sources.DOCS} is absent (apt-get install python3.11-doc): docstrings only", file=sys.stderr)
    taken: set[str] = set()
    facts: list[Fact] = []
    for fact in [*found, *_library()]:
        asked = {normal(question) for question in fact.trained + fact.held_out}
        if taken.isdisjoint(asked) and len(facts) < most:
            taken |= asked
            facts.append(fact)
    return facts


_UNKNOWN_SUBJECTS = (
    (phrasings.CONCEPT, "thing"),
    (phrasings.CONCEPT, "product"),
    (phrasings.CONCEPT, "made_up"),
    (phrasings.API, "made_up"),
    (phrasings.MODULE, "made_up"),
    (phrasings.STATUS, "no_status"),
)


def _made_up(rng: random.Random) -> str:
    """A name that looks like Python's and is not."""
    syllables = (
        "zor",
        "bli",
        "fra",
        "quo",
        "nub",
        "gle",
        "wib",
        "tor",
        "spl",
        "mek",
        "dro",
        "vax",
        "ple",
        "snu",
        "kir",
    )
    words = ["".join(rng.choices(syllables, k=rng.randint(2, 3))) for _ in range(2)]
    first = rng.choice([words[0], words[0], "os", "sys", "asyncio", "json", "math", "http", "str", "list"])
    return rng.choice([f"{first}.{words[1]}", f"{first}.{words[1]}", words[1], words[1].title(), f"{first}_{words[1]}"])


def unknown_question(rng: random.Random, *, held_out: bool = False) -> str:
    """A question that gets UNKNOWN. One in ten belongs to the test, by its checksum, and is never trained on."""
    lists = HAND_WRITTEN["unknowns"]
    known = {int(entry.name) for entry in sources.statuses()}
    while True:
        words = {name: rng.choice(values) for name, values in lists.items() if name != "ask"}
        words["digit"] = str(rng.randint(2, 99))
        words["made_up"] = _made_up(rng)
        words["no_status"] = str(rng.choice([n for n in range(100, 600) if n not in known]))
        question = str(rng.choice(lists["ask"])).format(**words)
        if rng.random() < 0.5:  # in the wordings of what is known, so that it is the subject that tells
            wordings, kind = rng.choice(_UNKNOWN_SUBJECTS)
            question = phrasings.ask(rng.choice(wordings), words[kind], "Not Known")
        if (checksum(normal(question)) % 10 == 0) == held_out:
            return question


def examination(facts: list[Fact], unknowns: int = 100) -> list[tuple[str, str, str]]:
    """Source, question and answer of every held-out question."""
    rng = random.Random(0)
    asked = [(fact.source, question, fact.answer) for fact in facts for question in fact.held_out]
    return asked + [("unknown", unknown_question(rng, held_out=True), UNKNOWN) for _ in range(unknowns)]


def sample(facts: list[Fact], size: int = 200) -> list[tuple[str, str, str]]:
    """A part of the test set that is small enough to ship: drawn by checksum, so that it is like the whole."""
    return sorted(examination(facts), key=lambda row: checksum(row[1]))[:size]


if __name__ == "__main__":
    for known in build():
        print(f"[{known.source}] {known.trained[0]} -> {known.answer}")
