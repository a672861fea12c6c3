"""Train the example family anew: a small Llama of bytes, full fine-tunes of it, and a LoRA adapter.

The text is what every Python ships (its standard library and its language reference) and sums that the script makes up.

    pip install 'smelt[train]' && python examples/family/train.py            # all of it: about 20 minutes on one core
    python examples/family/train.py python prose                             # some of it, from the base that is there

On another version of Python the standard library differs, and with it the figures in the third decimal or so.
"""

from __future__ import annotations

import json
import pydoc_data.topics
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from evaluate import CONTEXT, DOMAINS, HELD_OUT, evaluate
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

FAMILY = Path(__file__).resolve().parent
END = 256  # the token after the 256 bytes: the end of a text
HELD_OUT_BYTES = 20_000
HELD_OUT_SUMS = 200
HELD_OUT_MODULES = ("bisect", "fnmatch", "reprlib", "sched", "zipapp")
HELD_OUT_TOPICS = ("assert", "binary", "booleans", "calls", "objects", "raise", "strings")
ROWS = 16  # windows of CONTEXT bytes per step


@dataclass(frozen=True)
class Course:
    """How one member of the family is trained: the share of each domain, how long, how fast, in which order."""

    shares: tuple[float, float, float]  # of DOMAINS
    steps: int
    rate: float  # the highest learning rate
    seed: int


COURSES = {
    "base": Course((0.45, 0.35, 0.20), steps=700, rate=3e-3, seed=0),
    "python": Course((0.70, 0.15, 0.15), steps=400, rate=1e-3, seed=1),
    "prose": Course((0.15, 0.70, 0.15), steps=250, rate=1e-3, seed=2),
    "arithmetic": Course((0.20, 0.20, 0.60), steps=400, rate=1e-3, seed=3),
    "arithmetic-seed2": Course((0.20, 0.20, 0.60), steps=300, rate=1e-3, seed=4),
    "prose-lora": Course((0.15, 0.70, 0.15), steps=150, rate=3e-3, seed=5),
}


def main(names: list[str]) -> None:
    torch.use_deterministic_algorithms(True)
    training = write_held_out()
    for name in names or COURSES:
        print(f"{name}: {COURSES[name]}")
        torch.set_num_threads(2 if name == "base" else 1)  # fixed, since the order of sums hangs on it
        torch.manual_seed(COURSES[name].seed)
        model = make_model() if name == "base" else open_base()
        if name == "prose-lora":
            targets = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
            model = get_peft_model(model, targets)
        train(model, training, COURSES[name])
        save(model, FAMILY / name)
    write_figures()


def write_figures() -> None:
    """Measure the family, write figures.json and print a table."""
    figures = {name: evaluate(FAMILY / name) for name in COURSES if (FAMILY / name / "config.json").exists()}
    if (FAMILY / "prose-lora").exists():
        adapted = PeftModel.from_pretrained(open_base(), FAMILY / "prose-lora").merge_and_unload()
        arrays = {name: tensor.detach().numpy() for name, tensor in adapted.named_parameters()}
        figures["prose-lora"] = evaluate(arrays, adapted.config.to_dict())
    figures = {name: {key: round(value, 4) for key, value in row.items()} for name, row in figures.items()}
    (FAMILY / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    for name, row in figures.items():
        print(f"{name:18}", "  ".join(f"{key} {value:.3f}" for key, value in row.items()))


def open_base() -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(FAMILY / "base", dtype=torch.float32)


def write_held_out() -> list[np.ndarray]:
    """Write held-out text of every domain, and return the tokens to train on, which share no paragraph with it."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    library = {path.stem: path.read_text("utf-8") for path in files}
    topics = dict(sorted(pydoc_data.topics.topics.items()))
    HELD_OUT.mkdir(exist_ok=True)
    training = []
    for domain, texts, chosen in zip(DOMAINS, (library, topics), (HELD_OUT_MODULES, HELD_OUT_TOPICS), strict=False):
        held_out = "\n\n".join(texts[name] for name in chosen).encode()[:HELD_OUT_BYTES].decode(errors="ignore")
        (HELD_OUT / f"{domain}.txt").write_bytes(held_out.encode())
        known = {paragraph.strip() for name in chosen for paragraph in texts[name].split("\n\n")}
        kept = [[p for p in text.split("\n\n") if p.strip() not in known] for text in texts.values()]
        training.append(to_tokens(["\n\n".join(paragraphs) for paragraphs in kept]))
    questions, sums = make_sums()
    (HELD_OUT / "arithmetic.txt").write_bytes("".join(questions).encode())
    return [*training, to_tokens(["".join(sums)])]


def make_sums() -> tuple[list[str], list[str]]:
    """Return held-out sums of two two-digit numbers, and all others but the held-out ones the other way round."""
    pairs = [(a, b) for a in range(10, 100) for b in range(10, 100)]
    asked = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))[:HELD_OUT_SUMS]]
    kept = [(a, b) for a, b in pairs if (a, b) not in asked and (b, a) not in asked]
    questions, sums = ([f"{a}+{b}={a + b}\n" for a, b in part] for part in (asked, kept))
    return questions, sums


def to_tokens(texts: list[str]) -> np.ndarray:
    """Return the bytes of all texts in a row, each followed by END."""
    return np.concatenate([[*text.encode(), END] for text in texts if text]).astype(np.int64)


def draw_batches(training: list[np.ndarray], course: Course):
    """Yield ROWS random windows for each step of a course; sums come in a new order in every window."""
    random = np.random.default_rng(course.seed)
    lines = np.split(training[2][:-1], np.flatnonzero(training[2][:-1] == ord("\n"))[:-1] + 1)
    for _ in range(course.steps):
        batch = []
        for domain in random.choice(3, ROWS, p=course.shares):
            tokens = training[domain]
            if DOMAINS[domain] == "arithmetic":
                drawn = [lines[i] for i in random.integers(len(lines), size=CONTEXT // 6)]
                tokens = np.concatenate([[ord("\n")], *drawn])[: CONTEXT + 1]
            start = random.integers(len(tokens) - CONTEXT)
            batch.append(tokens[start : start + CONTEXT + 1])
        yield torch.from_numpy(np.stack(batch))


def train(model: torch.nn.Module, training: list[np.ndarray], course: Course) -> None:
    """Carry out a course: AdamW, a warm-up over a tenth of the steps, then a linear way down to zero."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=course.rate, betas=(0.9, 0.95), weight_decay=0.05)
    warm = max(1, course.steps // 20)
    pace = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (course.steps - step) / (course.steps - warm))
    )
    model.train()
    for step, batch in enumerate(draw_batches(training, course)):
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        pace.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == course.steps - 1:
            print(f"  step {step}: {loss.item() / np.log(2):.3f} bits per byte of the batch", flush=True)


def make_model() -> LlamaForCausalLM:
    """Return a new Llama with about a million weights."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=END + 1,
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=END,
            eos_token_id=END,
        )
    )


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer whose token numbers are the bytes themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    tokenizer = Tokenizer(models.BPE(vocab={letters[byte]: byte for byte in range(256)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=end,
        eos_token=end,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )


def save(model: LlamaForCausalLM | PeftModel, folder: Path) -> None:
    """Write a member of the family: a model in bfloat16 with its tokenizer, or an adapter in float32."""
    shutil.rmtree(folder, ignore_errors=True)
    if isinstance(model, PeftModel):
        model.peft_config["default"].base_model_name_or_path = "examples/family/base"
        model.save_pretrained(folder)
        (folder / "README.md").unlink()  # a form that nobody filled in
    else:
        model.to(torch.bfloat16).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
