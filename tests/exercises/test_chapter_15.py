"""Exercises of chapter 15. No process, and no clock."""

from dataclasses import dataclass, field
from multiprocessing import Pipe
from types import ModuleType
from typing import Any

import pytest


class Talk:
    """The parent's end of a pipe. Words come so many seconds after the word before."""

    def __init__(self, *words: tuple[float, bytes]) -> None:
        self.words = list(words)

    def poll(self, timeout: float | None = 0.0) -> bool:
        after, word = self.words[0] if self.words else (1e9, b"")
        if timeout is None or timeout >= after:
            self.words[:1] = [(0.0, word)]
            return True
        self.words[:1] = [(after - timeout, word)]
        return False

    def recv_bytes(self) -> bytes:
        (after, word), *self.words = self.words
        assert after == 0, "it waits without looking first"
        if not word:
            raise EOFError
        return word


ALIVE, WORN, END = b"alive", b"worn", b""


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], "silent"),
        ([(4.9, END)], "gone"),
        ([(4.9, WORN)], "worn"),
        ([(5.1, WORN)], "silent"),
        ([(4.9, ALIVE), (4.9, b"ready"), (4.9, ALIVE), (4.9, END)], "gone"),
        ([(4.9, ALIVE), (4.9, ALIVE), (5.1, ALIVE)], "silent"),
        ([(0.0, ALIVE), (0.0, WORN), (0.0, END)], "worn"),
    ],
)
def test_a_worker_has_a_fate(chapter: ModuleType, words: list[tuple[float, bytes]], expected: str) -> None:
    assert chapter.fate(Talk(*words), 5.0) == expected


def test_the_fate_of_a_real_pipe(chapter: ModuleType) -> None:
    ours, theirs = Pipe()
    with ours:
        theirs.send_bytes(ALIVE)
        assert chapter.fate(ours, 0.01) == "silent"
        theirs.close()
        assert chapter.fate(ours, 9.0) == "gone"


@dataclass(eq=False)
class Worker:
    number: int
    state: str = "starting"
    worn: bool = False
    replaces: Any = field(default=None, repr=False)


class World:
    """Does as it is told; a worker takes a turn to start, and one to stop."""

    def __init__(self, chapter: ModuleType, count: int) -> None:
        self.step, self.count = chapter.step, count
        self.workers: list[Worker] = []
        self.started = 0
        self.fewest = count  # that served at one time
        self.most = 0  # that were there at one time

    @property
    def serving(self) -> list[int]:
        return [worker.number for worker in self.workers if worker.state == "running"]

    def act(self) -> bool:
        """Takes steps until nothing is left to do; False if that was nothing."""
        for number in range(100):
            match self.step(list(self.workers), self.count):
                case None:
                    return number > 0
                case "start", replaced:
                    self.started += 1
                    self.workers.append(Worker(self.started, replaces=replaced))
                case "stop", worker:
                    assert worker in self.workers
                    assert worker.state != "stopping", "it is told twice"
                    worker.state = "stopping"
                case other:
                    pytest.fail(f"{other!r} is no step")
            self.most = max(self.most, len(self.workers))
            self.fewest = min(self.fewest, len(self.serving))
        pytest.fail("there is no end of steps")

    def settle(self) -> "World":
        """Lets time pass until all is well."""
        while self.act() or any(worker.state != "running" for worker in self.workers):
            self.workers = [worker for worker in self.workers if worker.state != "stopping"]
            for worker in self.workers:
                worker.state = "running"
        return self

    def watch(self) -> None:
        self.fewest, self.most = len(self.serving), len(self.workers)


def test_as_many_start_as_there_should_be(chapter: ModuleType) -> None:
    world = World(chapter, 3).settle()
    assert world.serving == [1, 2, 3]
    assert world.step(world.workers, 3) is None


def test_who_died_is_started_anew(chapter: ModuleType) -> None:
    world = World(chapter, 3).settle()
    del world.workers[1]
    assert world.settle().serving == [1, 3, 4]


def test_there_may_be_too_many(chapter: ModuleType) -> None:
    world = World(chapter, 3).settle()
    world.count = 1
    assert len(world.settle().serving) == 1
    assert world.started == 3


def test_all_are_replaced_one_by_one_and_enough_serve_all_the_time(chapter: ModuleType) -> None:
    world = World(chapter, 3).settle()
    world.watch()
    for worker in world.workers:
        worker.worn = True
    assert world.settle().serving == [4, 5, 6]
    assert world.fewest == 3, "there was a gap"
    assert world.most <= 5, "more than one was replaced at a time"


def test_a_replacement_that_dies_is_replaced(chapter: ModuleType) -> None:
    world = World(chapter, 2).settle()
    world.workers[0].worn = True
    world.act()
    assert world.workers.pop().replaces is world.workers[0]
    assert world.settle().serving == [2, 4]


def test_a_replacement_takes_the_place_of_who_died_meanwhile(chapter: ModuleType) -> None:
    world = World(chapter, 2).settle()
    world.workers[0].worn = True
    world.act()
    del world.workers[0]
    assert world.settle().serving == [2, 3], "one too many was started"


def test_who_starts_is_not_replaced_yet(chapter: ModuleType) -> None:
    world = World(chapter, 1)
    world.act()
    world.workers[0].worn = True
    assert world.step(world.workers, 1) is None
