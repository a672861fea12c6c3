"""Questions about the whole model in recipes of several documents: as if each had been merged on its own."""

import numpy as np
import pytest

import smelt

RECIPE = """
name: one
merge_method: ties
base_model: B
slices:
  - sources:
      - {{model: B, layer_range: [0, 2]}}
      - {{model: M, layer_range: [0, 2], parameters: {{weight: 1}}}}
  - sources:
      - {{model: B, layer_range: [2, 4]}}{more}
parameters: {{scope: {scope}, density: 0.5}}
---
merge_method: ties
base_model: B
models:
  - model: one
    parameters: {{weight: 1}}
  - model: N
    parameters: {{weight: 1}}
parameters: {{scope: model, density: 0.3, normalize: false}}
dtype: float32
"""
MORE = "\n      - {model: M, layer_range: [2, 4], parameters: {weight: 1}}"


def write_models(folder):
    from safetensors.numpy import save_file

    draws = np.random.default_rng(7)
    for name in "BMN":
        tensors = {f"model.layers.{i}.w": draws.standard_normal((4, 4)).astype(np.float32) for i in range(4)}
        tensors["model.embed.weight"] = draws.standard_normal((6, 4)).astype(np.float32)
        (folder / name).mkdir()
        save_file(tensors, folder / name / "model.safetensors")
        (folder / name / "config.json").write_text('{"num_hidden_layers": 4, "model_type": "llama"}')


@pytest.mark.parametrize(
    ("more", "scope"),
    [("", "model"), (MORE, "model"), (MORE, "[{filter: layers.3, value: tensor}, {value: model}]")],
    ids=["a slice of the base alone", "every tensor asks", "one tensor asks for itself"],
)
def test_documents_that_both_ask_the_model_give_what_two_runs_give(tmp_path, monkeypatch, more, scope):
    monkeypatch.chdir(tmp_path)
    write_models(tmp_path)
    text = RECIPE.format(more=more, scope=scope)
    at_once = smelt.merge(text)
    first, second = text.split("---\n")
    smelt.merge(first + "out_dtype: float32\n", "first")
    in_turn = smelt.merge(second.replace("model: one", "model: first"))
    assert {n: a.tobytes() for n, a in at_once.items()} == {n: a.tobytes() for n, a in in_turn.items()}
