"""Configs of stacked models: by hand, and loaded by transformers into a model of the right depth."""

import copy
import json

import pytest

from smelt.arch.config import layer_count, restack, tied, untied, with_dtype, without_origin
from smelt.arch.layers import Stack
from smelt.errors import InputError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
STACK = Stack("model.layers", 8, ("num_hidden_layers",))
CUTS = ((0, 6), (3, 8))  # 11 layers
ORDER = [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7]


def cut(config, stack=STACK, cuts=CUTS):
    """Restack a model with slices of itself; its config must not change."""
    before = copy.deepcopy(config)
    result = restack(config, stack, [(config, start, stop) for start, stop in cuts])
    assert config == before
    assert [key for key in result if key in config] == list(config)
    return result


def tiny(model_type, **settings):
    """Return what transformers writes as ``config.json`` for a tiny model."""
    return json.loads(transformers.CONFIG_MAPPING[model_type](**(TINY | settings)).to_json_string())


def build(config):
    loaded = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(loaded)


FAMILIES = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 4, "sliding_window": 16},
    "qwen3": {"max_window_layers": 28},
    "gemma2": {},
    "gemma3_text": {},
    "cohere2": {},
    "gpt_oss": {"num_local_experts": 4},
    "smollm3": {},
    "mistral": {},
    "deepseek_v3": {"first_k_dense_replace": 0, "n_routed_experts": 8, "n_group": 2, "topk_group": 1},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 16, "mlp_only_layers": [0, 4]},
    "lfm2": {"full_attn_idxs": [0, 4, 7]},
}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_stacked_model_loads(model_type):
    config = tiny(model_type, **FAMILIES[model_type])
    result = cut(config)
    model = build(result)
    assert len(model.model.layers) == 11
    original = build(config)
    kinds = [sorted(name for name, _ in layer.named_parameters()) for layer in original.model.layers]
    assert [sorted(name for name, _ in layer.named_parameters()) for layer in model.model.layers] == [
        kinds[layer] for layer in ORDER
    ]
    for key in ("layer_types", "no_rope_layers"):
        if key in config:
            assert getattr(model.config, key) == [config[key][layer] for layer in ORDER]


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neo", "bloom", "opt"])
def test_other_names_of_the_count(model_type):
    if model_type == "gpt_neo":
        config = json.loads(transformers.GPTNeoConfig(num_layers=8, attention_types=[[["global", "local"], 4]],
                                                      hidden_size=32, num_heads=4).to_json_string())  # fmt: skip
    else:
        config = tiny(model_type)
    key = next(key for key in ("n_layer", "num_layers", "num_hidden_layers") if config.get(key) == 8)
    result = cut(config, Stack("transformer.h", 8, (key,)))
    assert result[key] == 11
    loaded = build(result).config
    assert loaded.num_hidden_layers == 11
    if model_type == "gpt_neo":
        assert loaded.attention_layers == [("global", "local")[layer % 2] for layer in ORDER]


@pytest.mark.parametrize(("model_type", "period"), [("gemma2", 2), ("gemma3_text", 6), ("cohere2", 4), ("gpt_oss", 2)])
def test_files_that_leave_layer_types_to_a_rule(model_type, period):
    config = {key: value for key, value in tiny(model_type).items() if key != "layer_types"}
    config.pop("_sliding_window_pattern", None)
    expected = ["sliding_attention" if (layer + 1) % period else "full_attention" for layer in ORDER]
    assert cut(config)["layer_types"] == expected
    assert "layer_types" not in cut(config, cuts=((0, 6),))


def test_nested_section_owns_its_stack():
    config = {
        "text_config": {"num_hidden_layers": 4, "layer_types": list("abcd")},
        "vision_config": {"depth": 4, "fullatt_block_indexes": [1, 3]},
    }
    text = cut(config, Stack("model.language_model.layers", 4, ("text_config", "num_hidden_layers")), ((0, 2), (1, 4)))
    assert text["text_config"] == {"num_hidden_layers": 5, "layer_types": list("abbcd")}
    assert text["vision_config"] == config["vision_config"]
    vision = cut(config, Stack("visual.blocks", 4, ("vision_config", "depth")), ((3, 4), (0, 3)))
    assert vision["vision_config"] == {"depth": 4, "fullatt_block_indexes": [0, 2]}
    assert vision["text_config"] == config["text_config"]


def test_lists_come_from_each_source():
    base = {"num_hidden_layers": 3, "layer_types": list("abc"), "eos_token_id": [1, 2, 3], "architectures": ["A"] * 3}
    other = {"num_hidden_layers": 4, "layer_types": list("wxyz")}
    silent = {"num_hidden_layers": 3}
    stack = Stack("model.layers", 3, ("num_hidden_layers",))
    result = restack(base, stack, [(other, 2, 4), (base, 0, 1), (silent, 1, 3)])
    assert result == base | {"num_hidden_layers": 5, "layer_types": list("yzabc")}
    with pytest.raises(InputError, match=r"model with 4 layers has no list 'layer_types'"):
        restack(base, stack, [({"num_hidden_layers": 4}, 0, 1)])


def test_one_count_under_two_names():
    both = cut({"n_layer": 8, "num_hidden_layers": 8, "num_experts": 8}, cuts=((0, 2),))
    assert both == {"n_layer": 2, "num_hidden_layers": 2, "num_experts": 8}
    speech = {"encoder_layers": 8, "decoder_layers": 8, "num_hidden_layers": 8}
    assert cut(speech, Stack("model.encoder.layers", 8, ("encoder_layers",)), ((0, 2),)) == {
        "encoder_layers": 2, "decoder_layers": 8, "num_hidden_layers": 2,
    }  # fmt: skip
    assert cut(speech, Stack("model.decoder.layers", 8, ("decoder_layers",)), ((0, 2),)) == {
        "encoder_layers": 8, "decoder_layers": 2, "num_hidden_layers": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "before", "cuts", "after"),
    [
        ("first_k_dense_replace", 3, ((0, 4), (3, 8)), 3),
        ("first_k_dense_replace", 3, ((0, 2), (0, 1), (4, 8)), 3),
        ("first_k_dense_replace", 3, ((4, 8),), 0),
        ("first_k_dense_replace", 3, ((0, 4), (2, 8)), None),
        ("num_dense_layers", 1, ((0, 1), (0, 1), (1, 2)), 2),
        ("num_kv_shared_layers", 2, ((0, 8), (6, 8)), 4),
        ("num_kv_shared_layers", 2, ((0, 6),), 0),
        ("num_kv_shared_layers", 2, ((0, 8), (3, 8)), None),
        ("max_window_layers", 28, ((0, 8), (0, 8)), 16),
        ("max_window_layers", 4, ((0, 8), (0, 8)), 4),
        ("max_window_layers", 4, ((0, 2),), 2),
        ("num_nextn_predict_layers", 1, ((0, 2),), 1),
        ("attn_layer_period", 4, ((0, 4), (0, 8)), 4),
        ("attn_layer_period", 4, ((0, 6), (3, 8)), None),
        ("decoder_sparse_step", 1, ((0, 6), (3, 8)), 1),
        ("block_types", ["r", "r", "a"], ((0, 3), (3, 6)), ["r", "r", "a"]),
        ("block_types", ["r", "r", "a"], ((0, 3), (1, 6)), None),
        ("mlp_only_layers", [0, 7], ((0, 2), (0, 1), (6, 8)), [0, 2, 4]),
        ("mlp_only_layers", [], ((0, 2),), []),
        ("deepstack_visual_indexes", [1, 5], ((1, 6),), [0, 4]),
        ("deepstack_visual_indexes", [1, 5], ((0, 6), (4, 8)), None),
    ],
)
def test_rules_about_layers(key, before, cuts, after):
    config = {"num_hidden_layers": 8, key: before}
    if after is None:
        with pytest.raises(InputError, match=f"'{key}'"):
            cut(config, cuts=cuts)
    else:
        assert cut(config, cuts=cuts)[key] == after


def test_a_list_overrides_the_period():
    config = {"num_hidden_layers": 8, "no_rope_layer_interval": 4, "no_rope_layers": [1, 1, 1, 0, 1, 1, 1, 0]}
    assert cut(config)["no_rope_layers"] == [1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0]


def test_counts_that_cannot_be_written():
    unknown = Stack("model.layers", 8, None)
    assert cut({"a": 1}, unknown, ((0, 4), (0, 4))) == {"a": 1}
    assert cut({"kinds": list("abcdefgh")}, unknown, ((0, 2),)) == {"kinds": ["a", "b"]}
    with pytest.raises(InputError, match=r"no layer count for 'model.layers', which has 8 blocks; a stack of 2"):
        cut({"a": 1}, unknown, ((0, 2),))
    for start, stop in ((0, 9), (-1, 2), (2, 2), (3, 1)):
        with pytest.raises(InputError, match=r"outside 'model.layers', which has blocks 0 to 7"):
            cut({"num_hidden_layers": 8}, cuts=((start, stop),))
    assert layer_count({}, STACK) == 8
    assert layer_count({"num_hidden_layers": 5}, STACK) == 5


def test_dtype_goes_where_it_stood():
    old = {"torch_dtype": "float16", "text_config": {"torch_dtype": "float16"}, "quantization_config": {"dtype": "x"}}
    assert with_dtype(old, "bfloat16") == {
        "torch_dtype": "bfloat16", "text_config": {"torch_dtype": "bfloat16"}, "quantization_config": {"dtype": "x"},
    }  # fmt: skip
    assert with_dtype({"dtype": None}, "float32") == {"dtype": "float32"}
    assert with_dtype({}, "float32") == {"torch_dtype": "float32"}
    assert old["torch_dtype"] == "float16"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, True),
        ({"tie_word_embeddings": False}, False),
        ({"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": False}}, True),
        ({"text_config": {"tie_word_embeddings": False}}, False),
        ({"vision_config": {"tie_word_embeddings": False}}, True),
    ],
)
def test_tied_and_untied(config, expected):
    assert tied(config) is expected
    assert tied(untied(config)) is False
    assert untied({"text_config": {"vocab_size": 3}})["text_config"]["tie_word_embeddings"] is False


def test_the_origin_is_dropped_at_every_level():
    config = {"_name_or_path": "/home/me/x", "text_config": {"_name_or_path": "y", "a": [1]}, "_commit_hash": "z"}
    assert without_origin(config) == {"text_config": {"a": [1]}}
