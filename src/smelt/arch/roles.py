"""What a tensor does, told from its name: rules on path components, the first that matches wins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any


class Role(str, Enum):
    """What a tensor does in its model; ``.value`` is the word that recipes and reports use."""

    EMBEDDING = "embedding"
    NORM = "norm"
    ATTENTION = "attention"
    MLP = "mlp"
    HEAD = "head"
    EXPERT = "expert"
    ROUTER = "router"
    OTHER = "other"


# The last component of most names says which parameter of a module it is; the module decides the role.
_PARAMETER = re.compile(
    r"^(weight|bias|linear|weight_scale(_inv)?|running_(mean|var)|num_batches_tracked|qweight|qzeros|scales|g_idx)$"
)
_NORM = re.compile(r"norm|layrnorm|(^|_)ln(\d*$|\d*_)")
_ROUTER = re.compile(r"^(router|shared_expert_gate|e_score_correction_bias|expert_bias)$")
_EXPERT = re.compile(r"(^|_)experts?$")
_MIXTURE = re.compile(r"(^|_)(moe|mlp|ffn|feed_forward|mixer)$")
_EMBEDDING = re.compile(r"embed|(^|_)emb$|^(wte|wpe|shared|cls_token|mask_token|class_token|dist_token)$")
_HEAD = re.compile(
    r"^(lm_head|embed_out|unembed|proj_out|score|\w*classifier|cls|predictions|head|\w+_head|pooler|output_layer"
    r"|qa_outputs|final_logits_bias|(visual|text)_projection)$"
)
_OUTERMOST_HEAD = frozenset(("output", "decoder"))  # heads only where nothing but a prefix stands before them
_ATTENTION = re.compile(r"(attn|attention)$")
_MLP = re.compile(r"(^|_)(mlps?|ffn|ff|feed_?forward|densereludense|mlp_block|intermediate)(_output|\d)?$")
_ATTENTION_OWNER = re.compile(
    r"^((q|k|v|o|kv|qkv)_(proj|lin)|w?qkv(_proj)?|w[qkvo]|query(_proj)?|key(_proj)?|value(_proj)?|query_key_value|c_attn)$"
)
_MLP_OWNER = re.compile(
    r"^((up|down|gate|gate_up)_proj|(linear_)?fc\d|fc_(in|out)|c_fc|w[123i]|wi_[01]|lin[12]|dense_(4?h)_to_(4?h))$"
)


def role(name: str, shape: Sequence[int], config: Mapping[str, Any] | None = None) -> Role:
    """Return what the tensor ``name`` does.

    Args:
        name: the tensor's full name, such as ``model.layers.3.mlp.up_proj.weight``.
        shape: its shape; a mixture's stacked experts have three dimensions.
        config: the parsed ``config.json``; without any key about experts, ``mlp.gate`` is a dense projection.
    """
    parts = name.lower().split(".")
    path = [part for part in parts if not part.isdigit()]
    while len(path) > 1 and _PARAMETER.search(path[-1]):
        path.pop()
    if any(_NORM.search(part) for part in path[-2:]):
        return Role.NORM
    if _is_router(path, config):
        return Role.ROUTER
    if any(_EXPERT.search(part) for part in path):
        return Role.EXPERT
    if len(shape) == 3 and shape[0] > 1 and len(path) > 1 and _MIXTURE.search(path[-2]) and "conv" not in path[-1]:
        return Role.EXPERT
    return _role_of_dense(path, any(part.isdigit() for part in parts))


def is_embedding_path(name: str) -> bool:
    """Say whether ``name`` lies in an embedding module, its norm included; a final ``embedding_norm`` does not."""
    path = name.lower().split(".")
    if any(_HEAD.search(part) or part == "embedding_norm" for part in path):
        return False
    return any(_EMBEDDING.search(part) for part in path)


def _is_router(path: Sequence[str], config: Mapping[str, Any] | None) -> bool:
    if any(_ROUTER.search(part) for part in path):
        return True
    gates = [at for at, part in enumerate(path) if part == "gate" and at > 0 and at >= len(path) - 2]
    return any(_MIXTURE.search(path[at - 1]) for at in gates) and _may_have_experts(config)


def _may_have_experts(config: Mapping[str, Any] | None) -> bool:
    """Whether a key of the config, at any depth, is about experts; unknown counts as yes."""
    if config is None:
        return True
    sections = [value for value in config.values() if isinstance(value, Mapping)]
    return any("expert" in key or "moe" in key for key in config) or any(map(_may_have_experts, sections))


def _role_of_dense(path: Sequence[str], numbered: bool) -> Role:
    owner = path[-1]
    if any(_HEAD.search(part) for part in path) or (owner in _OUTERMOST_HEAD and len(path) <= 2 and not numbered):
        return Role.HEAD
    if any(_EMBEDDING.search(part) for part in path):
        return Role.EMBEDDING
    if any(_ATTENTION.search(part) for part in path):
        return Role.ATTENTION
    if any(_MLP.search(part) for part in path) or path[-2:] == ["output", "dense"]:
        return Role.MLP
    if _ATTENTION_OWNER.search(owner):
        return Role.ATTENTION
    return Role.MLP if _MLP_OWNER.search(owner) else Role.OTHER
