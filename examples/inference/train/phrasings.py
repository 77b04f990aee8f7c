"""How people ask: the wordings of a question, and which of them are kept for the test.

Two kinds of question are held out. Of each fact, one of the usual wordings (which one depends on a checksum of its
topic, so it stays the same on every machine); and `NEVER_TRAINED`, a wording that no fact is trained with at all.
"""

import re
import zlib

# The first is what the page suggests and people type most: always trained.
CONCEPT = (
    "What is {t}?",
    "Explain {t}.",
    "What does {t} mean?",
    "Tell me about {t}.",
    "What's {t}?",
    "Can you explain {t}?",
    "Describe {t}.",
    "{bare}",
    "What do you know about {t}?",
    "Do you know what {t} is?",
    "Could you explain {t}?",
    "Say what {t} means.",
    "Can you tell me what {t} is?",
    "I want to understand {t}.",
    "Please tell me what {t} is.",
    "What exactly is {t}?",
    "What is meant by {t}?",
    "I wonder what {t} is.",
    "I need to know about {t}.",
)
API = (
    "What does {t} do?",
    "What is {t}?",
    "Explain {t}.",
    "What is {t} for?",
    "Tell me about {t}.",
    "Describe {t}.",
    "What does {t}() do?",
    "{bare}",
    "What's {t}?",
    "Can you explain {t}?",
    "Do you know what {t} does?",
    "Tell me what {t} does.",
    "Can you tell me what {t} is for?",
    "I want to know about {t}.",
    "What exactly does {t} do?",
)
MODULE = (
    "What is the {t} module?",
    "What does the {t} module do?",
    "What is {t}?",
    "Explain the {t} module.",
    "What is the {t} module for?",
    "Tell me about the {t} module.",
    "Describe the {t} module.",
    "Can you explain the {t} module?",
    "Do you know the {t} module?",
    "Tell me what the {t} module is for.",
    "Can you tell me what the {t} module does?",
    "Please tell me what the {t} module is.",
    "I want to know about the {t} module.",
    "I wonder what the {t} module is.",
)
STATUS = (
    "Explain HTTP status {t}.",
    "What does HTTP status {t} mean?",
    "What is HTTP status {t}?",
    "What is HTTP {t}?",
    "What does status {t} mean?",
    "What does {t} mean?",
    "Tell me about HTTP status {t}.",
    "{t}",
    "HTTP {t}",
    "Why do I get an HTTP {t}?",
    "What's HTTP {t}?",
    "What does a {t} mean?",
    "Can you explain status {t}?",
    "The server answered {t}.",
    "Explain {t}.",
    "My browser says {t}, why?",
    "I see an HTTP {t}.",
    "What kind of status is {t}?",
    "Which HTTP status means {phrase}?",
    "What is the HTTP status for {phrase}?",
)
NEVER_TRAINED = {
    CONCEPT: "I would like to know what {t} is.",
    API: "Could you say what {t} does?",
    MODULE: "I would like to know what the {t} module is.",
    STATUS: "I got an HTTP {t}, what is that?",
}
# Said around a question, some of the time, so that the model minds the subject and not what stands around it.
BEFORE = ("Please ", "Hey, ", "So, ", "Can you tell me: ", "I have a question: ", "OK, ", "Quick question: ", "And ")
AFTER = (" please", " in short", " in a few words", " for a beginner", " exactly", " then", " thanks")


def normal(question: str) -> str:
    """Questions that differ only in case, blanks or the last mark are the same one."""
    return " ".join(question.lower().split()).rstrip("?.! ")


def checksum(text: str) -> int:
    """A number that is the same in every process, unlike hash()."""
    return zlib.crc32(text.encode())


def ask(wording: str, topic: str, phrase: str = "") -> str:
    bare = re.sub(r"^(a|an|the) ", "", topic)
    return wording.format(t=topic, bare=bare, phrase=phrase)


def questions(wordings: tuple[str, ...], topic: str, phrase: str = "") -> tuple[list[str], list[str]]:
    """The questions to train with, and the two that are held out."""
    kept = 1 + checksum(topic.lower()) % (len(wordings) - 1)
    held_out = [wordings[kept], NEVER_TRAINED[wordings]]
    trained = [ask(wording, topic, phrase) for wording in wordings if wording not in held_out]
    return trained, [ask(wording, topic, phrase) for wording in held_out]
