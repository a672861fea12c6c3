"""The models that benchmarks merge: Llamas of random weights, the same on every machine, made once in a scratch folder.

    python -m benchmarks.models SCRATCH SIZE COUNT DTYPE

A family is a base and fine-tunes of it. Base weights have a standard deviation near 0.02, differences of 0.001. In
bfloat16 a difference is a few steps of the weight's own spacing, so its magnitudes tie by the thousand, as real ones
do; in float32 there are hardly any ties. The numbers come from a pool of a few million, taken up at a random place with
a random scale block by block.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype("<f4")}
STORED = {"bfloat16": "BF16", "float32": "F32"}  # what safetensors calls them
BLOCK = 1 << 18  # elements that share a place in the pool
POOL = 1 << 22
SHARDS = 2
WORKERS = 2
SCRATCH_BYTES = 20_000_000_000  # the most that families and outputs may take on the disk

Tensors = Mapping[str, tuple[int, ...]]
Blocks = Callable[[str, int], Iterable[NDArray[Any]]]


@dataclass(frozen=True)
class Shape:
    """The shape of a Llama with an output head of its own; with experts, each layer has so many in place of one."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    experts: int = 0

    @property
    def tensors(self) -> Tensors:
        """The shape of each tensor by name, in the order of the layers."""
        grouped = self.hidden * self.kv_heads // self.heads
        square, narrow = (self.hidden, self.hidden), (grouped, self.hidden)
        wide, tall = (self.intermediate, self.hidden), (self.hidden, self.intermediate)
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, self.hidden)}
        parts = {"self_attn.q_proj": square, "self_attn.k_proj": narrow, "self_attn.v_proj": narrow}
        parts |= {"self_attn.o_proj": square}
        for mlp in [f"mlp.experts.{n}" for n in range(self.experts)] or ["mlp"]:
            parts |= {f"{mlp}.gate_proj": wide, f"{mlp}.up_proj": wide, f"{mlp}.down_proj": tall}
        parts |= {"mlp.gate": (self.experts, self.hidden)} if self.experts else {}
        norms = {"input_layernorm": (self.hidden,), "post_attention_layernorm": (self.hidden,)}
        for layer in range(self.layers):
            shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in (parts | norms).items()}
        return shapes | {"model.norm.weight": (self.hidden,), "lm_head.weight": (self.vocabulary, self.hidden)}

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return sum(count_of(shape) for shape in self.tensors.values())

    @property
    def config(self) -> dict[str, Any]:
        """The content of ``config.json``."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": False,
            **({"num_experts": self.experts} if self.experts else {}),
        }


SHAPES = {
    "1m": Shape(128, 352, 4, 4, 2, 1000),
    "7m": Shape(256, 704, 8, 4, 2, 2100),
    "35m": Shape(512, 1408, 8, 8, 2, 12000),
    "100m": Shape(768, 2112, 12, 12, 4, 15000),
    "275m": Shape(1024, 2816, 19, 32, 4, 32000),
    "1100m": Shape(2048, 5632, 22, 32, 4, 32000),
    "2200m": Shape(2816, 7744, 24, 32, 4, 32000),
    "experts": Shape(64, 64, 52, 4, 2, 1000, experts=128),  # 20,000 tensors
}


@dataclass(frozen=True)
class Family:
    """A base and its fine-tunes: folders in the scratch folder."""

    size: str
    dtype: str
    base: Path
    models: tuple[Path, ...]


@dataclass(frozen=True)
class Pool:
    """Random numbers of mean 0 and variance 1, for weights and with heavier tails for differences."""

    weights: NDArray[np.float32]
    changes: NDArray[np.float32]


def count_of(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a tensor."""
    return int(np.prod(shape, dtype=np.int64))


def family_of(scratch: Path, size: str, count: int, dtype: str = "bfloat16") -> Family:
    """Return where the base and ``count`` fine-tunes of a size lie, whether they are there or not."""
    home = scratch / "models" / f"{size}-{dtype}"
    return Family(size, dtype, home / "base", tuple(home / f"tuned-{number:02d}" for number in range(1, count + 1)))


def make_family(scratch: Path, size: str, count: int, dtype: str = "bfloat16") -> Family:
    """Make what is missing of a family.

    Args:
        scratch: folder for everything that benchmarks write.
        size: a key of ``SHAPES``.
        count: number of fine-tunes.
        dtype: ``bfloat16`` or ``float32``.

    Raises:
        OSError: when the disk has no room for it.
    """
    family = family_of(scratch, size, count, dtype)
    missing = [n for n, folder in enumerate((family.base, *family.models)) if not folder.exists()]
    shape = SHAPES[size]
    outputs = 2  # smelt's and another tool's
    make_room(family.base.parent, DTYPES[dtype].itemsize * shape.parameters * (len(missing) + outputs))
    if missing:
        pool = make_pool()
        folders = (family.base, *family.models)
        with ThreadPoolExecutor(WORKERS) as workers:
            list(workers.map(lambda n: write_model(folders[n], shape, pool, n, dtype), missing))
    return family


def make_room(home: Path, needed_bytes: int) -> None:
    """Delete the families beside ``home`` where they and what is needed pass the limit, and check the disk.

    Raises:
        OSError: when there is too little room.
    """
    home.mkdir(parents=True, exist_ok=True)
    homes = sorted(home.parent.iterdir())
    used = {h: sum(path.stat().st_size for path in h.rglob("*") if path.is_file()) for h in homes}
    for other in (h for h in homes if h != home):
        if sum(used.values()) + needed_bytes > SCRATCH_BYTES:
            shutil.rmtree(other)
            used.pop(other)
    free = shutil.disk_usage(home).free
    if sum(used.values()) + needed_bytes > SCRATCH_BYTES or free < needed_bytes:
        raise OSError(f"{home}: {needed_bytes / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")


def make_pool() -> Pool:
    """Return the pool; the same on every machine."""
    random = np.random.default_rng(2026)
    weights = random.standard_normal(POOL, dtype=np.float32)
    changes = random.standard_normal(POOL, dtype=np.float32)
    changes *= np.exp(0.5 * random.standard_normal(POOL, dtype=np.float32) - 0.25)
    return Pool(weights, changes)


def write_model(folder: Path, shape: Shape, pool: Pool, number: int, dtype: str) -> None:
    """Write a checkpoint in two files with an index; number 0 is the base."""
    partial_folder = folder.with_suffix(".partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    tensors, total = shape.tensors, shape.parameters
    names = list(tensors)
    sizes = np.cumsum([count_of(shape) for shape in tensors.values()])
    index: dict[str, str] = {}
    for shard in range(SHARDS):
        file_name = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        members = [n for n, end in zip(names, sizes, strict=True) if (int(end) - 1) * SHARDS // total == shard]
        with (partial_folder / file_name).open("wb") as file:
            write_shard(file, tensors, members, dtype, partial(blocks_of, pool, number, dtype))
        index |= dict.fromkeys(members, file_name)
    contents: dict[str, Any] = {"config.json": shape.config | {"torch_dtype": dtype}}
    contents["model.safetensors.index.json"] = {
        "metadata": {"total_size": DTYPES[dtype].itemsize * total},
        "weight_map": index,
    }
    for file_name, content in contents.items():
        (partial_folder / file_name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.rename(partial_folder, folder)


def write_shard(file: BinaryIO, tensors: Tensors, names: Sequence[str], dtype: str, blocks: Blocks) -> None:
    """Write one safetensors file, its tensors given by name and number of elements as blocks."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in names:
        end = position + DTYPES[dtype].itemsize * count_of(tensors[name])
        table[name] = {"dtype": STORED[dtype], "shape": list(tensors[name]), "data_offsets": [position, end]}
        position = end
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    file.write(len(header).to_bytes(8, "little") + header)
    for name in names:
        for block in blocks(name, count_of(tensors[name])):
            file.write(block.view(np.uint8).data)


def blocks_of(pool: Pool, number: int, dtype: str, name: str, count: int) -> Iterator[NDArray[Any]]:
    """Yield the blocks of a tensor of a model."""
    is_norm = "norm" in name
    for start in range(0, count, BLOCK):
        length = min(BLOCK, count - start)
        place = [*name.encode(), start]
        weights = drawn(pool.weights, [*place, 0], length) * np.float32(0.1 if is_norm else 0.02)
        block = (weights + np.float32(is_norm)).astype(DTYPES[dtype])
        if number:
            change = drawn(pool.changes, [*place, number], length) * np.float32(0.01 if is_norm else 0.001)
            block = (block.astype(np.float32) + change).astype(DTYPES[dtype])
        yield block


def drawn(pool: NDArray[np.float32], place: Sequence[int], length: int) -> NDArray[np.float32]:
    """Return a stretch of the pool, its start and its scale decided by ``place``."""
    random = np.random.default_rng(place)
    start = int(random.integers(POOL - length))
    stretch: NDArray[np.float32] = pool[start : start + length] * np.float32(random.uniform(0.8, 1.25))
    return stretch


if __name__ == "__main__":
    make_family(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
