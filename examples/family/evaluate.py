"""Measure a model of the example family: bits per byte on held-out text, and how many sums it gets right.

NumPy only. The forward pass is that of Hugging Face's ``LlamaForCausalLM``; one token is one byte.

    python examples/family/evaluate.py [FOLDER ...]
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HELD_OUT = Path(__file__).resolve().parent / "held-out"
DOMAINS = ("python", "prose", "arithmetic")
CONTEXT = 256  # bytes that a prediction may look back, the length that the family was trained with
BATCH = 2  # windows at a time: their attention scores stay in the cache

Arrays = Mapping[str, np.ndarray]


def evaluate(model: str | Path | Arrays, config: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Return bits per byte of each domain (lower is better) and ``exact_match``, the share of sums that are right.

    Args:
        model: a folder with config.json and model.safetensors, or the tensors by name.
        config: the config of tensors given by name.
    """
    if isinstance(model, str | Path):
        config, model = json.loads((Path(model) / "config.json").read_text()), read_safetensors(Path(model))
    assert config is not None, "tensors given by name need a config"
    texts = {domain: (HELD_OUT / f"{domain}.txt").read_bytes() for domain in DOMAINS}
    figures = {domain: bits_per_byte(model, config, text) for domain, text in texts.items()}
    return figures | {"exact_match": exact_match(model, config, texts["arithmetic"])}


def read_safetensors(folder: Path) -> dict[str, np.ndarray]:
    """Return every tensor of a folder's bfloat16 or float32 safetensors files, in float32."""
    arrays = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            first, stop = (start + offset for offset in entry["data_offsets"])
            array = np.frombuffer(data[first:stop], {"BF16": "<u2", "F32": "<f4"}[entry["dtype"]])
            if entry["dtype"] == "BF16":  # the upper half of a float32
                array = (array.astype(np.uint32) << 16).view(np.float32)
            arrays[name] = array.reshape(entry["shape"])
    return arrays


def bits_per_byte(model: Arrays, config: Mapping[str, Any], text: bytes) -> float:
    """Return the mean of −log2 p over the bytes of ``text`` but the first, read in windows of ``CONTEXT`` bytes."""
    tokens = np.frombuffer(text, np.uint8).astype(np.int64)
    count = (len(tokens) - 1) // CONTEXT * CONTEXT
    inputs, targets = (tokens[i : i + count].reshape(-1, CONTEXT) for i in (0, 1))
    nats = 0.0
    for rows, logits in predict(model, config, inputs):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        right = np.take_along_axis(shifted, targets[rows, :, None], axis=-1)[..., 0]
        nats += float((np.log(np.exp(shifted).sum(axis=-1)) - right).sum(dtype=np.float64))
    return nats / math.log(2) / count


def exact_match(model: Arrays, config: Mapping[str, Any], text: bytes) -> float:
    """Return the share of lines like ``37+48=85`` whose answer greedy decoding finds.

    Greedy decoding finds an answer exactly when the likeliest byte after each right prefix is the right one, so one
    pass over the right answers tells, and nothing needs to be decoded.
    """
    lines = [b"\n" + line + b"\n" for line in text.splitlines()]
    width = max(map(len, lines))
    tokens = np.array([list(line.ljust(width, b"\n")) for line in lines])
    asked = np.array([[line.index(b"=") < at < len(line) for at in range(1, width)] for line in lines])
    found = [
        ((logits.argmax(axis=-1) == tokens[rows, 1:]) | ~asked[rows]).all(axis=-1)
        for rows, logits in predict(model, config, tokens[:, :-1])
    ]
    return float(np.concatenate(found).mean())


def predict(model: Arrays, config: Mapping[str, Any], tokens: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield a slice of the rows of ``tokens`` and the logits that follow each of their tokens, until all are done."""
    size = BATCH * max(1, CONTEXT // tokens.shape[1])
    for start in range(0, len(tokens), size):
        rows = slice(start, start + size)
        yield rows, forward(model, config, tokens[rows])


@np.errstate(over="ignore")  # a broken merge may drive exp(-gate) to infinity, and the gate then to its limit, 0
def forward(model: Arrays, config: Mapping[str, Any], tokens: np.ndarray) -> np.ndarray:
    """Return the logits (rows, length, vocabulary) of ``tokens`` (rows, length)."""
    epsilon = config["rms_norm_eps"]
    embedding = model["model.embed_tokens.weight"]
    x = embedding[tokens]
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}."
        x = x + attend(
            model, config, layer + "self_attn.", rms_norm(x, model[layer + "input_layernorm.weight"], epsilon)
        )
        h = rms_norm(x, model[layer + "post_attention_layernorm.weight"], epsilon)
        gate, up = (h @ model[f"{layer}mlp.{part}_proj.weight"].T for part in ("gate", "up"))
        up *= gate / (1 + np.exp(-gate))
        x = x + up @ model[layer + "mlp.down_proj.weight"].T
    return rms_norm(x, model["model.norm.weight"], epsilon) @ model.get("lm_head.weight", embedding).T


def attend(model: Arrays, config: Mapping[str, Any], prefix: str, x: np.ndarray) -> np.ndarray:
    """Return causal self-attention of ``x`` (rows, length, width), with rotary positions and shared key heads."""
    rows, length, _ = x.shape
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    query, key, value = (
        (x @ model[f"{prefix}{part}_proj.weight"].T).reshape(rows, length, count, -1).transpose(0, 2, 1, 3)
        for part, count in (("q", heads), ("k", key_heads), ("v", key_heads))
    )
    key, value = (np.repeat(part, heads // key_heads, axis=1) for part in (rotate(key, config), value))
    scores = rotate(query, config) @ key.swapaxes(-1, -2)
    scores *= np.float32(query.shape[-1] ** -0.5)  # in place: memory that is asked for anew costs more than the sums
    np.copyto(scores, np.float32(-np.inf), where=~np.tri(length, dtype=bool))
    scores -= scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores, out=scores)
    mixed = weights @ value / weights.sum(axis=-1, keepdims=True)
    return mixed.transpose(0, 2, 1, 3).reshape(rows, length, -1) @ model[f"{prefix}o_proj.weight"].T


def rotate(x: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """Turn the pairs (i, i + half) of each head by an angle that grows with the position."""
    half = x.shape[-1] // 2
    theta = config.get("rope_parameters", config).get("rope_theta", 10000.0)
    angles = np.arange(x.shape[-2])[:, None] * theta ** (-np.arange(half) / half)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    left, right = x[..., :half], x[..., half:]
    return np.concatenate((left * cos - right * sin, right * cos + left * sin), axis=-1)


def rms_norm(x: np.ndarray, weight: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(epsilon)) * weight


if __name__ == "__main__":
    for folder in sys.argv[1:] or sorted(path.parent for path in HELD_OUT.parent.glob("*/config.json")):
        print(f"{Path(folder).name:20}", "  ".join(f"{key} {value:.3f}" for key, value in evaluate(folder).items()))
