"""The models that `benchmarks.inference` has served."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

FULL_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


def endless(model: Path, folder: str) -> str:
    """A copy of a model of which no answer ends by itself: each has as many tokens as the others'."""
    target = Path(folder) / model.name
    shutil.copytree(model, target)
    for path in target.glob("*config.json"):
        found = json.loads(path.read_text())
        if "eos_token_id" in found:
            path.write_text(json.dumps(found | {"eos_token_id": None}))
    return str(target)


def random_model(folder: str, device: str, shape: dict[str, int]) -> str:
    """A Llama of random weights, and a tokenizer that has a text for each of its tokens. In a process of its own."""
    target = str(Path(folder) / "random")
    code = f"""
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
words = sorted(pre_tokenizers.ByteLevel.alphabet())
words += ["w%d" % number for number in range(len(words), {shape["vocab_size"]})]
tokenizer = Tokenizer(models.BPE({{word: number for number, word in enumerate(words)}}, []))
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
fast.chat_template = "{{% for message in messages %}}{{{{ message.content }}}}{{% endfor %}}"
fast.save_pretrained({target!r})
torch.set_default_dtype(torch.bfloat16)
config = LlamaConfig(max_position_embeddings=8192, bos_token_id=None, eos_token_id=None, **{shape!r})
with torch.device({device!r}):
    LlamaForCausalLM(config).save_pretrained({target!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    return target


def has_cuda() -> bool:
    command = [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]
    return b"True" in subprocess.check_output(command)
