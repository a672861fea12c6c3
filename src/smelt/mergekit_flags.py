"""What the options of mergekit's commands become here; ``smelt merge … --cuda`` is answered from this table."""

from __future__ import annotations

MERGEKIT_FLAGS: dict[str, str] = {
    "--allow-crimes": "models are merged whenever their tensors fit; leave it out",
    "--async-write": "writing always overlaps with computing; leave it out",
    "--clone-tensors": "tensors are never kept whole in memory; leave it out",
    "--copy-tokenizer": "the tokenizer of the base is always copied; leave it out",
    "--cuda": "a merge runs on the processor at the speed of the disk; leave it out",
    "--device": "a merge runs on the processor; leave it out",
    "--gpu-rich": "a merge runs on the processor; leave it out",
    "--lazy-unpickle": "pickled checkpoints are always read piece by piece (with the extra 'torch'); leave it out",
    "--lora-merge-cache": "adapters are not supported yet; merge them into their model first",
    "--lora-merge-dtype": "adapters are not supported yet; merge them into their model first",
    "--low-cpu-memory": "memory is bounded by threads, not by the model; leave it out",
    "--multi-gpu": "a merge runs on the processor; leave it out",
    "--no-copy-tokenizer": "delete the tokenizer files from the output afterwards",
    "--no-write-model-card": "delete README.md from the output afterwards",
    "--num-threads": "write --threads N",
    "--out-shard-size": "write --max-shard-size, in bytes: 5GB",
    "--quiet": "without a terminal there is no progress display; leave it out",
    "--random-seed": "write --seed N, or 'seed: N' in the recipe",
    "--read-to-gpu": "a merge runs on the processor; leave it out",
    "--safe-serialization": "the output is always safetensors; leave it out",
    "--transformers-cache": "set HF_HUB_CACHE, which all hub tools share",
    "--trust-remote-code": "no code of a model is ever run; leave it out",
    "--verbose": "'smelt plan' says what a merge will do; leave it out",
    "--write-model-card": "a model card is always written; leave it out",
    "--write-threads": "write --threads N, which covers reading, computing and writing",
    "-j": "write --threads N",
    "-v": "'smelt plan' says what a merge will do; leave it out",
}
