"""Trains the model that is shipped, and writes it where transformers can load it.

    python -m examples.inference.train.train               # about 17 minutes on one core
    python -m examples.inference.train.train --help        # a larger one, on a GPU

Goes on from the checkpoint when it was interrupted. The same machine and seed give the same weights.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from examples.inference.train import facts as known
from examples.inference.train.data import IGNORED, batches, epoch, train_tokenizer

HERE = Path(__file__).parent
POSITIONS = 512
Rows = list[list[int]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "miniasgi-1m")
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoint.pt")
    parser.add_argument("--facts", type=int, default=2000)
    parser.add_argument("--tokens", type=float, default=5.5e6, help="to train on, in all")
    parser.add_argument("--batch", type=int, default=1024, help="tokens in a batch")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--ffn", type=int, default=384)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def new_model(options: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(options.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=options.hidden,
        intermediate_size=options.ffn,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,  # a quarter of the size
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=128
    )
    return model


def rate(done: float) -> float:
    """The share of the learning rate: a short rise, a hold, and then down to nothing in a line."""
    return min(1.0, done / 0.01 + 0.01, max(0.0, (1 - done) / 0.5))


def endless(options: argparse.Namespace, tokenizer: PreTrainedTokenizerFast, skip: int) -> Iterator[tuple[Rows, Rows]]:
    """Batch after batch, from the one after `skip`: each epoch depends only on its number, so it can be found again."""
    facts = known.build(options.facts)
    number = 0
    while True:
        for batch in batches(epoch(tokenizer, facts, number, options.seed), options.batch, number):
            if skip:
                skip -= 1
            else:
                yield batch
        number += 1


def loss_of(model: LlamaForCausalLM, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Only for the places that have a label: the head is a quarter of the work."""
    hidden = model.model(input_ids=rows, use_cache=False).last_hidden_state
    told = labels != IGNORED
    return cross_entropy(model.lm_head(hidden[told]).float(), labels[told])


def save(options: argparse.Namespace, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    model.to(torch.bfloat16).save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    with (options.out / "held_out.jsonl").open("w", encoding="utf-8") as file:
        for source, question, answer in known.sample(known.build(options.facts)):
            file.write(json.dumps({"source": source, "question": question, "answer": answer}) + "\n")


def train(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    facts = known.build(options.facts)
    tokenizer = train_tokenizer(facts, options.vocabulary, POSITIONS)
    model = new_model(options, tokenizer).to(options.device)
    print(f"{len(facts)} facts, {model.num_parameters():,} parameters, {options.device}", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.99), weight_decay=0.01)
    state: dict[str, Any] = {"steps": 0, "tokens": 0, "seconds": 0.0}
    if options.checkpoint.exists():
        saved = torch.load(options.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        state = saved["state"]
        print(f"going on after {state['tokens']:,} tokens of {options.checkpoint}", flush=True)
    began, recent = time.monotonic() - state["seconds"], 0.0
    for rows, labels in endless(options, tokenizer, state["steps"]):
        done = state["tokens"] / options.tokens
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = options.rate * rate(done)
        # On a CPU bfloat16 gains nothing at this size: 139 ms a step, and 131 in float32, on an EPYC that knows both.
        with torch.autocast(options.device, torch.bfloat16, enabled=options.device != "cpu"):
            loss = loss_of(
                model, torch.tensor(rows, device=options.device), torch.tensor(labels, device=options.device)
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state["steps"] += 1
        state["tokens"] += sum(map(len, rows))
        state["seconds"] = time.monotonic() - began
        recent += loss.item()
        if state["steps"] % 100 == 0:
            left = state["seconds"] * (options.tokens / state["tokens"] - 1)
            print(
                f"{state['tokens'] / options.tokens:4.0%}  step {state['steps']}  loss {recent / 100:.4f}  "
                f"{state['seconds']:.0f} s, {left:.0f} s to go",
                flush=True,
            )
            recent = 0.0
        if state["steps"] % 500 == 0:
            fresh = options.checkpoint.with_suffix(".new")  # so that the old one stays until this one is whole
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state}, fresh)
            fresh.replace(options.checkpoint)
    save(options, model, tokenizer)
    options.checkpoint.unlink(missing_ok=True)
    print(f"{options.out}: {state['tokens']:,} tokens in {state['seconds'] / 60:.1f} minutes")


if __name__ == "__main__":
    train(arguments())
