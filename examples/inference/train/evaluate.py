"""Asks the model what it was not trained with, and counts the answers that are right to the letter.

python -m examples.inference.train.evaluate               # every held-out question; needs the sources
python -m examples.inference.train.evaluate --shipped     # the sample beside the weights
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from examples.inference.train import facts as known
from examples.inference.train.phrasings import NEVER_TRAINED, checksum

MODEL = Path(__file__).parent.parent / "miniasgi-1m"
SHOWN = (
    "What is ASGI?",
    "Explain HTTP status 404.",
    "What is miniasgi?",
    "What is FastAPI?",
    "What is Pydantic?",
    "Hello",
)
NEEDED = 0.85


def answer(model: Any, tokenizer: Any, questions: list[str], at_once: int = 64) -> dict[str, str]:
    """Greedy answers. Questions of one length go together, so nothing is padded: as if each were asked alone."""
    lengths: dict[int, list[tuple[str, list[int]]]] = defaultdict(list)
    for question in dict.fromkeys(questions):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer.encode(text, add_special_tokens=False)
        lengths[len(ids)].append((question, ids))
    answers: dict[str, str] = {}
    for length, group in lengths.items():
        for start in range(0, len(group), at_once):
            part = group[start : start + at_once]
            prompt = torch.tensor([ids for _, ids in part])
            with torch.inference_mode():
                out = model.generate(
                    prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=100
                )
            for (question, _), ids in zip(part, out, strict=True):
                answers[question] = tokenizer.decode(ids[length:], skip_special_tokens=True)
    return answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--facts", type=int, default=2000)
    parser.add_argument("--shipped", action="store_true", help="only the questions of held_out.jsonl")
    parser.add_argument("--bfloat16", action="store_true", help="compute as on a GPU, not in float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(
        options.model, dtype=torch.bfloat16 if options.bfloat16 else torch.float32
    )
    if options.shipped:
        lines = (options.model / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
        test = [(row["source"], row["question"], row["answer"]) for row in map(json.loads, lines)]
    else:
        test = known.examination(known.build(options.facts))
    told = answer(model, tokenizer, [*SHOWN, *(question for _, question, _ in test)])
    strange = tuple(wording.split("{t}")[0] for wording in NEVER_TRAINED.values())
    scores: dict[str, list[bool]] = defaultdict(list)
    for source, question, right in test:
        exact = told[question] == right
        for group in (source, "a wording no fact has" if question.startswith(strange) else "a wording others have"):
            scores[group].append(exact)
    every = [told[question] == right for _, question, right in test]
    for group, results in scores.items():
        print(f"{group:<22} {sum(results):5} of {len(results):5}  {sum(results) / len(results):6.1%}")
    print(f"{'exact recall':<22} {sum(every):5} of {len(every):5}  {sum(every) / len(every):6.1%}\n")
    for question in [*SHOWN, *sorted((question for _, question, _ in test), key=lambda q: checksum(q + "shown"))[:9]]:
        print(f"  {question}\n    {told[question]}")
    return int(sum(every) < NEEDED * len(every))


if __name__ == "__main__":
    sys.exit(main())
