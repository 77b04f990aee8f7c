"""Turns facts into what the model reads: the tokenizer, the chat format, and batches of token numbers.

Knows the format `<|user|>question<|assistant|>answer<|end|>`, and that only the answer counts.
"""

import random
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from examples.inference.train.facts import UNKNOWN, Fact, unknown_question
from examples.inference.train.phrasings import AFTER, BEFORE, normal

USER, ASSISTANT, END, PAD = "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"
# The last question alone: the model was taught questions that stand for themselves, so what was said before
# would only confuse it. System messages are accepted and ignored.
CHAT_TEMPLATE = """\
{%- set asked = messages | selectattr("role", "equalto", "user") | list -%}
{%- if asked -%}{{ "<|user|>" + (asked | last).content | trim }}{%- endif -%}
{%- if messages and messages[-1].role == "assistant" -%}
{{ "<|assistant|>" + messages[-1].content | trim + "<|end|>" }}
{%- elif add_generation_prompt -%}{{ "<|assistant|>" }}{%- endif -%}"""
IGNORED = -100  # what torch's cross entropy leaves out
UNKNOWN_SHARE = 0.15
REPEATS = {"hand": 3, "status": 3, "glossary": 2}  # what people ask first is seen more often

Sample = tuple[list[int], int]  # token numbers, and where the answer begins


def train_tokenizer(facts: list[Fact], vocabulary: int, longest: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE. Each digit is a token, so that no status is a word of its own that hides the others."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random(0)
    texts = [text for fact in facts for text in (fact.answer, *fact.trained[:2])]
    texts += [unknown_question(rng) for _ in range(len(facts) // 2)]
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=longest,
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer: PreTrainedTokenizerFast, question: str, answer: str | None = None) -> list[int]:
    text = f"{USER}{question.strip()}{ASSISTANT}" + ("" if answer is None else f"{answer}{END}")
    return list(tokenizer.encode(text, add_special_tokens=False))


def vary(rng: random.Random, question: str, held_out: set[str]) -> str:
    """The same question as a hurried or a polite person types it, unless that one is for the test."""
    varied = question
    if rng.random() < 0.15:
        varied = varied.rstrip("?.!")
    if rng.random() < 0.15:
        varied = rng.choice(BEFORE) + varied[0].lower() + varied[1:]
    if rng.random() < 0.08:
        varied = varied.rstrip("?.!") + rng.choice(AFTER) + varied[-1:] * (varied[-1:] in "?.!")
    if rng.random() < 0.18:
        varied = varied.lower() if rng.random() < 0.85 else varied.upper()
    return question if normal(varied) in held_out else varied


def epoch(tokenizer: PreTrainedTokenizerFast, facts: list[Fact], number: int, seed: int) -> list[Sample]:
    """Each fact at least once, in a wording drawn anew, and a share of what is not known. Depends on nothing else."""
    rng = random.Random(f"{seed} {number}")
    held_out = {normal(question) for fact in facts for question in fact.held_out}
    pairs = [(rng.choice(fact.trained), fact.answer) for fact in facts for _ in range(REPEATS.get(fact.source, 1))]
    pairs += [(unknown_question(rng), UNKNOWN) for _ in range(int(len(pairs) * UNKNOWN_SHARE))]
    rng.shuffle(pairs)
    samples = []
    for question, answer in pairs:
        asked = encode(tokenizer, vary(rng, question, held_out))
        # A special token parts the two, so they give the same tokens as one text.
        told = tokenizer.encode(answer + END, add_special_tokens=False)
        samples.append(([*asked, *told], len(asked)))
    return samples


def batches(samples: list[Sample], tokens: int, seed: int) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
    """Input and label rows of like length, about so many tokens in each batch; every row begins at position 0, as
    a question to the server does."""
    rng = random.Random(seed)
    groups: list[list[Sample]] = [[]]
    for sample in sorted(samples, key=lambda sample: (len(sample[0]), rng.random())):
        if groups[-1] and len(sample[0]) * (len(groups[-1]) + 1) > tokens:
            groups.append([])
        groups[-1].append(sample)
    rng.shuffle(groups)
    for group in groups:
        width = max(len(ids) for ids, _ in group)
        rows = [ids + [0] * (width - len(ids)) for ids, _ in group]
        labels = [
            [IGNORED] * (begin - 1) + ids[begin:] + [IGNORED] * (width - len(ids) + 1)  # each predicts the next
            for ids, begin in group
        ]
        yield rows, labels
