"""Blocks found from tensor names: against real models on the meta device and hand-written name lists."""

import pytest

from smelt.arch.layers import check_stack, find_stacks, is_before_blocks, module_of, place, renumber
from smelt.errors import InputError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SEQ2SEQ = {"vocab_size": 64, "d_model": 32, "pad_token_id": 0}
AUDIO = SEQ2SEQ | {"encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
IMAGES = {"image_size": 32, "patch_size": 16}
QWEN_VISION = {"depth": 2, "hidden_size": 32, "embed_dim": 32, "num_heads": 4}


def build(model_type, settings, architecture=None):
    """Instantiate a tiny model without memory; return its tensor names and its config as plain data."""
    config = transformers.CONFIG_MAPPING[model_type](**settings)
    with torch.device("meta"):
        if architecture:
            model = getattr(transformers, architecture)(config)
        else:
            model = transformers.AutoModelForCausalLM.from_config(config)
    return list(model.state_dict()), config.to_dict()


CAUSAL = {
    "llama": "model.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "bloom": "transformer.h",
    "mpt": "transformer.blocks",
    "opt": "model.decoder.layers",
    "mamba": "backbone.layers",
    "qwen3": "model.layers",
    "deepseek_v3": "model.layers",
    "rwkv": "rwkv.blocks",
}


@pytest.mark.parametrize(("model_type", "prefix"), CAUSAL.items())
def test_causal_language_models_have_one_confirmed_stack(model_type, prefix):
    names, config = build(model_type, TEXT)
    (stack,) = find_stacks(names, config)
    assert (stack.prefix, stack.count, stack.missing) == (prefix, 3, "")
    assert config[stack.config_key[0]] == 3
    check_stack(stack, config, "model")
    assert {module_of(name, (stack,)) for name in names} == {"default"}


MANY = [
    ("t5", SEQ2SEQ | {"num_layers": 3, "num_decoder_layers": 2, "d_ff": 48, "d_kv": 8, "num_heads": 4},
     "T5ForConditionalGeneration",
     [("encoder.block", 3, "num_layers", "encoder"), ("decoder.block", 2, "num_decoder_layers", "decoder")]),
    ("whisper", AUDIO, "WhisperForConditionalGeneration",
     [("model.encoder.layers", 3, "encoder_layers", "encoder"),
      ("model.decoder.layers", 2, "decoder_layers", "decoder")]),
    ("clip", {"text_config": TEXT, "vision_config": VISION | IMAGES}, "CLIPModel",
     [("text_model.encoder.layers", 3, "text_config.num_hidden_layers", "text_model"),
      ("vision_model.encoder.layers", 2, "vision_config.num_hidden_layers", "vision_model")]),
    ("llava", {"text_config": TEXT | {"model_type": "llama"},
               "vision_config": VISION | IMAGES | {"model_type": "clip_vision_model"}},
     "LlavaForConditionalGeneration",
     [("model.language_model.layers", 3, "text_config.num_hidden_layers", "language_model"),
      ("model.vision_tower.encoder.layers", 2, "vision_config.num_hidden_layers", "vision_tower")]),
    ("qwen2_vl", {"text_config": TEXT, "vision_config": QWEN_VISION}, "Qwen2VLForConditionalGeneration",
     [("model.language_model.layers", 3, "text_config.num_hidden_layers", "language_model"),
      ("model.visual.blocks", 2, "vision_config.depth", "visual")]),
    ("bert", TEXT, "BertForSequenceClassification",
     [("bert.encoder.layer", 3, "num_hidden_layers", "default")]),
    ("vit", VISION | IMAGES, "ViTForImageClassification", [("vit.layers", 2, "num_hidden_layers", "default")]),
]  # fmt: skip


@pytest.mark.parametrize(("model_type", "settings", "architecture", "expected"), MANY, ids=[case[0] for case in MANY])
def test_stacks_and_modules_of_other_models(model_type, settings, architecture, expected):
    names, config = build(model_type, settings, architecture)
    stacks = find_stacks(reversed(names), config)
    found = [(s.prefix, s.count, ".".join(s.config_key), module_of(f"{s.prefix}.0.x", stacks)) for s in stacks]
    assert found == expected
    for stack in stacks:
        check_stack(stack, config, "model")


def llama(count, prefix="model.layers"):
    parts = ("self_attn.q_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight")
    return [f"{prefix}.{layer}.{part}" for layer in range(count) for part in parts]


def test_place_and_renumber():
    names = [f"h.{layer}.{part}" for layer in range(12) for part in ("ln_1.weight", "attn.c_attn.weight")]
    stacks = find_stacks([*names, "wte.weight", "ln_f.weight"], {"n_layer": 12})
    found = place("h.11.ln_1.weight", stacks)
    assert (found.stack.prefix, found.layer, found.is_extra) == ("h", 11, False)
    assert renumber("h.11.ln_1.weight", found.stack, 3) == "h.3.ln_1.weight"
    assert place("wte.weight", stacks) is None
    assert place("h.x.weight", stacks) is None


def test_numbers_inside_a_block_stay_there():
    names = [f"model.layers.{layer}.mlp.experts.{e}.up_proj.weight" for layer in range(2) for e in range(64)]
    (stack,) = find_stacks(names, {"num_hidden_layers": 2})
    assert (stack.prefix, stack.count) == ("model.layers", 2)
    moved = renumber("model.layers.1.mlp.experts.7.up_proj.weight", stack, 5)
    assert moved == "model.layers.5.mlp.experts.7.up_proj.weight"


def test_numbered_modules_that_are_no_blocks():
    loose = ["mm_projector.0.weight", "mm_projector.0.bias", "mm_projector.1.weight", "mm_projector.1.bias"]
    loose += ["classifier.1.weight", "downsample.1.weight", "feature_extractor.conv_layers.6.conv.weight"]
    assert [s.prefix for s in find_stacks(loose + llama(2), {"num_hidden_layers": 2})] == ["model.layers"]
    assert find_stacks(loose, None) == ()
    assert find_stacks(["a.weight", "0.weight", "a.0"], {}) == ()


def test_unfamiliar_block_words_need_confirmation_or_likeness():
    names = llama(4, "net.units")
    assert [(s.prefix, s.config_key) for s in find_stacks(names, {"num_layers": 4})] == [("net.units", ("num_layers",))]
    assert [(s.prefix, s.config_key) for s in find_stacks(names, None)] == [("net.units", None)]


def test_the_language_model_leads_even_when_its_count_is_left_out():
    names = llama(2, "language_model.model.layers") + llama(24, "vision_tower.vision_model.encoder.layers")
    config = {"text_config": {"model_type": "llama"}, "vision_config": {"num_hidden_layers": 24}}
    stacks = find_stacks(names, config)
    assert [s.prefix for s in stacks] == ["language_model.model.layers", "vision_tower.vision_model.encoder.layers"]
    assert stacks[0].config_key is None
    check_stack(stacks[0], config, "model")


def test_flat_and_nested_counts_together():
    config = {"num_hidden_layers": 28, "vision_config": {"depth": 32}}
    stacks = find_stacks(llama(28) + llama(32, "visual.blocks"), config)
    assert [(s.prefix, s.config_key) for s in stacks] == [
        ("model.layers", ("num_hidden_layers",)),
        ("visual.blocks", ("vision_config", "depth")),
    ]
    outside = ("lm_head.weight", "model.norm.weight", "visual.merger.ln_q.weight", "visual.patch_embed.proj.weight")
    assert [module_of(name, stacks) for name in outside] == ["model", "model", "visual", "visual"]


def test_modules_that_share_a_tower():
    prefixes = (
        "model.language_model.layers",
        "model.vision_model.transformer.layers",
        "model.vision_model.global.layers",
    )
    stacks = find_stacks([name for prefix in prefixes for name in llama(4, prefix)], None)
    modules = [module_of(f"{prefix}.0.x", stacks) for prefix in prefixes]
    assert modules == ["language_model", "vision_model.transformer", "vision_model.global"]
    assert module_of("model.multi_modal_projector.weight", stacks) == "language_model"


def test_prediction_blocks_lie_beyond_the_count():
    config = {"num_hidden_layers": 61, "num_nextn_predict_layers": 1}
    (stack,) = stacks = find_stacks(llama(62), config)
    assert (stack.count, stack.config_key, stack.missing) == (61, ("num_hidden_layers",), "")
    check_stack(stack, config, "model")
    assert place("model.layers.61.eh_proj.weight", stacks).is_extra
    assert not place("model.layers.60.mlp.up_proj.weight", stacks).is_extra
    assert [s.prefix for s in find_stacks(llama(2) + llama(1, "mtp.layers"), {"num_hidden_layers": 2})] == [
        "model.layers"
    ]


def test_gaps_are_found_and_reported_when_a_stack_is_checked():
    names = [name for name in llama(10) if name.split(".")[2] not in ("0", "4", "5", "6", "9")]
    (stack,) = find_stacks(names, {"num_hidden_layers": 10, "num_nextn_predict_layers": 0})
    assert (stack.count, stack.missing) == (9, "0, 4-6")
    with pytest.raises(InputError, match=r"tiny: blocks 0, 4-6 of 'model.layers' have no tensors"):
        check_stack(stack, {}, "tiny")
    (huge,) = find_stacks([*llama(2), "model.layers.999999999999.w.weight"], None)
    assert huge.missing == "2-999999999998"


def test_disagreement_with_the_config_is_an_error():
    config = {"num_hidden_layers": 32}
    (stack,) = find_stacks(llama(28), config)
    assert (stack.count, stack.config_key) == (28, None)
    with pytest.raises(InputError, match=r"give 28 blocks under 'model.layers', .* num_hidden_layers = 32"):
        check_stack(stack, config, "tiny")


BEFORE = """
model.embed_tokens.weight transformer.wte.weight transformer.wpe.weight gpt_neox.embed_in.weight shared.weight
transformer.word_embeddings_layernorm.weight bert.embeddings.LayerNorm.bias vit.embeddings.cls_token
model.encoder.conv1.weight model.encoder.embed_positions.weight model.encoder.layernorm_embedding.weight
backbone.embeddings.weight model.visual.patch_embed.proj.weight vision_model.pre_layrnorm.weight
encoder.embed_tokens.weight model.embed_tokens_per_layer.weight
"""
AFTER = """
model.norm.weight lm_head.weight lm_head.bias transformer.ln_f.weight embed_out.weight model.embedding_norm.weight
gpt_neox.final_layer_norm.bias bert.pooler.dense.weight classifier.weight score.weight proj_out.weight
cls.predictions.transform.LayerNorm.weight visual_projection.weight backbone.norm_f.weight
encoder.final_layer_norm.weight model.multi_modal_projector.linear_1.weight
"""


def test_which_tensors_come_before_the_blocks():
    assert [name for name in BEFORE.split() if not is_before_blocks(name)] == []
    assert [name for name in AFTER.split() if is_before_blocks(name)] == []
