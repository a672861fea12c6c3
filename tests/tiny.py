"""Tiny checkpoints, written and read by a few lines that share nothing with smelt's own reader and writer."""

import hashlib
import json
import re
from pathlib import Path

import ml_dtypes
import numpy as np

BF16 = np.dtype(ml_dtypes.bfloat16)
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
E5M2 = np.dtype(ml_dtypes.float8_e5m2)
NAMES = {
    np.dtype("f8"): "F64",
    np.dtype("f4"): "F32",
    np.dtype("f2"): "F16",
    BF16: "BF16",
    E4M3: "F8_E4M3",
    E5M2: "F8_E5M2",
    np.dtype("i8"): "I64",
    np.dtype("i4"): "I32",
    np.dtype("u1"): "U8",
    np.dtype("?"): "BOOL",
}


def write_file(path, arrays):
    """Write one safetensors file."""
    table, position = {"__metadata__": {"format": "pt"}}, 0
    for name, array in arrays.items():
        end = position + array.nbytes
        table[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    data = b"".join(array.tobytes() for array in arrays.values())
    Path(path).write_bytes(len(header).to_bytes(8, "little") + header + data)


def save(folder, arrays, config=None, files=None, shards=1):
    """Write a checkpoint: a file or several with an index, ``config.json``, and files (text, bytes or JSON) beside."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if shards == 1:
        write_file(folder / "model.safetensors", arrays)
    else:
        weight_map = {}
        for number in range(shards):
            name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            part = {n: a for place, (n, a) in enumerate(arrays.items()) if place * shards // len(arrays) == number}
            write_file(folder / name, part)
            weight_map |= dict.fromkeys(part, name)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    everything = {**({"config.json": config} if config else {}), **(files or {})}
    for name, content in everything.items():
        if isinstance(content, dict):
            content = json.dumps(content)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def read(folder):
    """Return the tensors of a folder by name, as arrays."""
    tensors = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        table = json.loads(content[8:start])
        table.pop("__metadata__", None)
        for name, entry in table.items():
            low, high = entry["data_offsets"]
            dtype = next(d for d, text in NAMES.items() if text == entry["dtype"])
            tensors[name] = np.frombuffer(content[start + low : start + high], dtype).reshape(entry["shape"])
    return tensors


def contents(folder):
    """Return the bytes of every file of an output by name, without the times of its provenance, which may differ."""
    files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    files["provenance.json"] = re.sub(rb'"(started|finished)On": "[^"]*"', b"", files["provenance.json"])
    return files


def digest(tensors):
    """Return the sha256 of tensors, of their names, dtypes and shapes."""
    result = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        result.update(f"{name} {NAMES[array.dtype]} {array.shape}\n".encode())
        result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()


def config(layers=2, vocabulary=8, **others):
    """Return the configuration of a model that ``llama`` makes."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": layers,
        "vocab_size": vocabulary,
        "hidden_size": 4,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
        **others,
    }


def llama(seed, layers=2, vocabulary=8, dtype=BF16, head=True):
    """Return random arrays under the names of a Llama, few numbers each, the same on every machine."""
    shapes = {"model.embed_tokens.weight": (vocabulary, 4)}
    for layer in range(layers):
        shapes |= {
            f"model.layers.{layer}.input_layernorm.weight": (4,),
            f"model.layers.{layer}.self_attn.q_proj.weight": (4, 4),
            f"model.layers.{layer}.mlp.down_proj.weight": (4, 6),
        }
    shapes |= {"model.norm.weight": (4,)}
    shapes |= {"lm_head.weight": (vocabulary, 4)} if head else {}
    random = np.random.default_rng(seed)
    return {name: (random.integers(-4096, 4096, shape) / 2048).astype(dtype) for name, shape in shapes.items()}


def save_llama(folder, seed, layers=2, vocabulary=8, files=None, **others):
    """Write such a model with its configuration."""
    arrays = llama(seed, layers, vocabulary, **others)
    stated = {} if others.get("head", True) else {"tie_word_embeddings": True}
    return save(folder, arrays, config(layers, vocabulary, **stated), files)


def tokenizer(*tokens):
    """Return the bytes of a ``tokenizer.json`` whose tokens have the numbers 0, 1 and so on."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    numbers = {token: number for number, token in enumerate(tokens)}
    return Tokenizer(WordLevel(numbers, unk_token=tokens[0])).to_str().encode()
