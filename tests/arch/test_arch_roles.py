"""Roles by rule: a table of real parameter names, and properties over whole models on the meta device."""

import re

import pytest

from smelt.arch.roles import Role, role

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TABLE = {
    Role.EMBEDDING: """model.embed_tokens.weight transformer.wte.weight transformer.wpe.weight gpt_neox.embed_in.weight
        transformer.word_embeddings.weight model.decoder.embed_positions.weight backbone.embeddings.weight shared.weight
        bert.embeddings.word_embeddings.weight bert.embeddings.token_type_embeddings.weight vit.embeddings.cls_token
        vision_model.embeddings.patch_embedding.weight vision_model.embeddings.class_embedding
        visual.patch_embed.proj.weight model.tok_embeddings.weight""",
    Role.NORM: """model.norm.weight model.layers.0.input_layernorm.weight model.layers.0.self_attn.q_norm.weight
        model.layers.0.self_attn.k_norm.weight model.layers.0.self_attn.kv_a_layernorm.weight transformer.ln_f.bias
        transformer.h.0.ln_1.weight transformer.h.0.ln_attn.weight transformer.blocks.0.norm_1.weight
        bert.encoder.layer.0.attention.output.LayerNorm.weight bert.embeddings.LayerNorm.bias
        model.layers.0.self_attn.q_layernorm.norms.3.weight transformer.word_embeddings_layernorm.weight
        encoder.block.0.layer.0.layer_norm.weight visual.blocks.0.norm2.weight vision_model.pre_layrnorm.weight
        model.layers.0.post_feedforward_layernorm.weight backbone.layers.0.norm.weight visual.merger.ln_q.weight
        model.layers.61.enorm.weight resnet.embedder.embedder.normalization.running_mean""",
    Role.ATTENTION: """model.layers.0.self_attn.q_proj.weight model.layers.0.self_attn.q_proj.bias
        model.layers.0.self_attn.qkv_proj.weight transformer.h.0.attn.c_attn.weight transformer.h.0.attn.c_proj.weight
        gpt_neox.layers.0.attention.query_key_value.weight gpt_neox.layers.0.attention.dense.bias
        transformer.h.0.self_attention.dense.weight transformer.blocks.0.attn.Wqkv.weight
        model.layers.0.self_attn.kv_a_proj_with_mqa.weight model.layers.0.self_attn.sinks
        encoder.block.0.layer.0.SelfAttention.q.weight decoder.block.0.layer.1.EncDecAttention.o.weight
        encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight
        bert.encoder.layer.0.attention.self.query.weight bert.encoder.layer.0.attention.output.dense.weight
        model.decoder.layers.0.encoder_attn.out_proj.bias visual.blocks.0.attn.proj.weight
        model.layers.0.self_attn.gate_proj.weight model.layers.0.attention.wqkv.weight
        model.layers.0.self_attn.q_proj.weight_scale_inv""",
    Role.MLP: """model.layers.0.mlp.gate_proj.weight model.layers.0.mlp.gate_up_proj.weight
        transformer.h.0.mlp.c_proj.weight transformer.h.0.mlp.dense_4h_to_h.bias transformer.blocks.0.ffn.up_proj.weight
        model.decoder.layers.0.fc1.weight model.decoder.layers.0.fc2.bias model.layers.0.feed_forward.w1.weight
        encoder.block.0.layer.1.DenseReluDense.wi_0.weight bert.encoder.layer.0.intermediate.dense.weight
        bert.encoder.layer.0.output.dense.bias visual.blocks.0.mlp.fc1.weight model.layers.0.mlp.act_fn.alpha_p""",
    Role.HEAD: """lm_head.weight lm_head.bias embed_out.weight proj_out.weight score.weight classifier.weight
        bert.pooler.dense.weight cls.predictions.decoder.weight cls.predictions.transform.dense.weight output.weight
        decoder.weight final_logits_bias qa_outputs.weight""",
    Role.EXPERT: """model.layers.0.block_sparse_moe.experts.7.w1.weight model.layers.0.mlp.experts.gate_up_proj
        model.layers.0.mlp.experts.3.down_proj.weight model.layers.0.mlp.shared_experts.up_proj.weight
        model.layers.0.mlp.shared_expert.gate_proj.weight model.layers.0.mlp.experts.gate_up_proj_bias
        model.layers.0.mlp.experts.down_proj_blocks transformer.blocks.0.ffn.experts.mlp.w1""",
    Role.ROUTER: """model.layers.0.block_sparse_moe.gate.weight model.layers.0.mlp.gate.weight
        model.layers.0.mlp.gate.e_score_correction_bias model.layers.0.mlp.router.weight
        model.layers.0.mlp.router.bias model.layers.0.feed_forward.router.weight model.layers.0.mlp.router.gate.weight
        model.layers.0.mlp.shared_expert_gate.weight model.layers.0.mlp.gate.wg.weight""",
    Role.OTHER: """backbone.layers.0.mixer.A_log backbone.layers.0.mixer.in_proj.weight backbone.layers.0.mixer.D
        backbone.layers.0.mixer.out_proj.weight backbone.layers.0.mixer.conv1d.weight logit_scale
        model.layers.0.mamba.dt_bias encoder.layer.0.layer_scale1.lambda1 model.multi_modal_projector.linear_1.weight
        model.layers.0.post_attention_residual""",
}
CASES = [(name, expected) for expected, names in TABLE.items() for name in names.split()]


@pytest.mark.parametrize(("name", "expected"), CASES, ids=[name for name, _ in CASES])
def test_role_of_real_names(name, expected):
    assert role(name, (8, 8)) is expected


def test_experts_stacked_in_one_tensor_are_told_by_shape():
    assert role("model.layers.0.block_sparse_moe.input_linear.weight", (4, 8, 8)) is Role.EXPERT
    assert role("model.layers.0.mlp.input_linear.weight", (4, 8, 8)) is Role.EXPERT
    assert role("rwkv.blocks.0.feed_forward.time_mix_key", (1, 1, 8)) is Role.MLP
    assert role("backbone.layers.0.mixer.conv1d.weight", (8, 1, 4)) is Role.OTHER


def test_a_config_without_experts_has_no_routers():
    name = "model.layers.0.mlp.gate.weight"
    assert role(name, (48, 32), {"hidden_size": 32}) is Role.MLP
    assert role(name, (4, 32), {"text_config": {"num_experts": 4}}) is Role.ROUTER
    assert role(name, (4, 32), {"moe_intermediate_size": 4}) is Role.ROUTER


TINY = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
PLAIN = """llama mistral qwen2 qwen3 gemma2 gemma3_text phi3 olmo2 opt gpt2 gpt_neox falcon bloom mpt cohere2 smollm3
    starcoder2"""
SETTINGS = {model_type: {} for model_type in PLAIN.split()} | {
    "phi": {"qk_layernorm": True},
    "stablelm": {"qk_layernorm": True},
    "cohere": {"use_qk_norm": True},
    "mixtral": {"num_local_experts": 4},
    "gpt_oss": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 16},
    "deepseek_v3": {"n_routed_experts": 8, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1},
}


@pytest.mark.parametrize("model_type", SETTINGS)
def test_every_tensor_of_a_language_model_has_a_role(model_type):
    config = transformers.CONFIG_MAPPING[model_type](**TINY, **SETTINGS[model_type])
    with torch.device("meta"):
        tensors = transformers.AutoModelForCausalLM.from_config(config).state_dict()
    roles = {name: role(name, tensor.shape, config.to_dict()) for name, tensor in tensors.items()}
    assert [name for name, found in roles.items() if found is Role.OTHER] == []
    norms = [name for name in roles if re.search(r"norm|\bln_", ".".join(name.split(".")[-3:]))]
    assert {roles[name] for name in norms} <= {Role.NORM}
    for name, found in roles.items():
        assert roles.get(name.removesuffix("bias") + "weight", found) is found
    assert roles["lm_head.weight"] is Role.HEAD
    assert Role.ROUTER in roles.values() or "moe" not in model_type
