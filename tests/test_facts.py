"""What the shipped model is taught, and what is kept for its test. Needs no torch, and not Debian's python3.11-doc."""

import json
import random
import re
from pathlib import Path

import pytest

from examples.inference.train import facts as known
from examples.inference.train import phrasings, sources
from examples.inference.train.facts import Fact, hand_written, statuses, unknown_question
from examples.inference.train.phrasings import normal
from examples.inference.train.prose import first_sentence, plain

MODEL = Path(known.__file__).parent.parent / "miniasgi-1m"


@pytest.fixture(scope="module")
def facts() -> list[Fact]:
    return known.build()


def test_there_are_enough_facts_and_all_that_we_wrote(facts: list[Fact]) -> None:
    answers = {fact.answer for fact in facts}
    assert 1000 < len(facts) <= 2000
    assert {fact.answer for fact in [*hand_written(), *statuses()]} <= answers


def test_answers_are_short_clean_sentences(facts: list[Fact]) -> None:
    for fact in facts:
        assert fact.answer.isascii()
        assert fact.answer.endswith((".", "!", "?")), fact
        assert len(fact.answer) <= 240, fact
        assert not re.search(r":\w+:`|``|\n|  |(?<!\.)\.\. |::", fact.answer), fact


def test_nothing_held_out_is_trained(facts: list[Fact]) -> None:
    trained = {normal(question) for fact in facts for question in fact.trained}
    held_out = {normal(question) for fact in facts for question in fact.held_out}
    assert trained.isdisjoint(held_out)
    assert all(fact.trained and fact.held_out for fact in facts)


def test_a_question_has_one_answer(facts: list[Fact]) -> None:
    answers: dict[str, str] = {}
    for fact in facts:
        for question in fact.trained + fact.held_out:
            assert answers.setdefault(normal(question), fact.answer) == fact.answer


def test_what_the_page_suggests_is_trained(facts: list[Fact]) -> None:
    trained = {question for fact in facts for question in fact.trained}
    assert trained >= {
        "What is ASGI?",
        "Explain HTTP status 404.",
        "What is miniasgi?",
        "What is FastAPI?",
        "What is Pydantic?",
        "Hello",
    }


def test_the_same_facts_each_time(facts: list[Fact]) -> None:
    assert known.build() == facts
    assert known.examination(facts) == known.examination(facts)


def test_questions_without_an_answer_are_many_new_and_held_apart(facts: list[Fact]) -> None:
    rng = random.Random(7)
    trained = {normal(unknown_question(rng)) for _ in range(5000)}
    held_out = {normal(unknown_question(rng, held_out=True)) for _ in range(200)}
    known_questions = {normal(question) for fact in facts for question in fact.trained + fact.held_out}
    assert len(trained) > 1000
    assert trained.isdisjoint(held_out)
    assert known_questions.isdisjoint(trained | held_out)


def test_the_shipped_sample_was_not_trained(facts: list[Fact]) -> None:
    rows = [json.loads(line) for line in (MODEL / "held_out.jsonl").read_text(encoding="utf-8").splitlines()]
    trained = {normal(question) for fact in facts for question in fact.trained}
    assert 100 <= len(rows) <= 200
    assert {row["source"] for row in rows} >= {"hand", "status", "docs", "unknown"}
    for row in rows:
        assert normal(row["question"]) not in trained
        if row["source"] == "unknown":
            assert row["answer"] == known.UNKNOWN
            assert phrasings.checksum(normal(row["question"])) % 10 == 0


def test_markup_becomes_words() -> None:
    assert plain("See :func:`~os.path.join` and :ref:`the guide <guide>`, or *x* in ``a [b]``; :rfc:`9110`.") == (
        "See join and the guide, or x in a [b]; RFC 9110."
    )
    assert first_sentence("Return *x*, e.g. one.  Then more.") == "Return x, e.g. one."
    assert first_sentence("As described above, it does.") is None


def test_a_page_of_the_documentation(tmp_path: Path) -> None:
    page = tmp_path / "page.rst.txt"
    page.write_text(
        ".. module:: spam\n   :synopsis: All about spam.\n\n"
        ".. function:: fry(egg, *, \\\n              ham)\n              fry(egg)\n   :noindex:\n\n"
        "   Fry the *egg*\n   well.  With :class:`ham`.\n\n"
        ".. class:: Pan\n\n   What one fries in.\n\n   .. coroutinemethod:: heat()\n\n      Make it hot.\n"
    )
    assert [entry[1:] for entry in sources.documented(page)] == [
        ("spam", "All about spam."),
        ("spam.fry", "Fry the egg well."),
        ("spam.Pan", "What one fries in."),
        ("spam.Pan.heat", "Make it hot."),
    ]
