"""The example family is what its README says, and the NumPy forward pass agrees with transformers'."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FAMILY = EXAMPLES / "family"
sys.path.insert(0, str(FAMILY))

import evaluate  # noqa: E402

FIGURES = json.loads((FAMILY / "figures.json").read_text())
CHECKPOINTS = sorted(path.parent.name for path in FAMILY.glob("*/config.json"))


def test_the_family_is_complete():
    assert CHECKPOINTS == ["arithmetic", "arithmetic-seed2", "base", "prose", "python"]
    assert set(FIGURES) == {*CHECKPOINTS, "prose-lora"}


REFERENCE = """
import sys
import numpy as np
import torch
from transformers import LlamaForCausalLM
folder, text, out = sys.argv[1:]
tokens = np.fromfile(text, np.uint8, 3 * 256).reshape(3, 256)
model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
with torch.no_grad():
    np.save(out, model(input_ids=torch.from_numpy(tokens.astype(np.int64))).logits.numpy())
"""


def test_logits_agree_with_transformers(tmp_path):
    """In a process of its own: beside other tests it was once 2e-3 apart, alone it is 2e-5 each time."""
    pytest.importorskip("torch")
    folder, text, out = FAMILY / "base", FAMILY / "held-out" / "python.txt", tmp_path / "logits.npy"
    subprocess.run([sys.executable, "-c", REFERENCE, str(folder), str(text), str(out)], check=True, capture_output=True)
    tokens = np.fromfile(text, np.uint8, 3 * 256).reshape(3, 256)
    actual = evaluate.forward(
        evaluate.read_safetensors(folder), json.loads((folder / "config.json").read_text()), tokens
    )
    np.testing.assert_allclose(actual, np.load(out), rtol=0, atol=1e-4)


def test_untied_head_more_layers_and_full_attention_agree_with_transformers():
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    reference = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=6,
            num_attention_heads=4,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
            initializer_range=0.3,
        )
    )
    tokens = np.random.default_rng(0).integers(50, size=(2, 40))
    with torch.no_grad():
        expected = reference(input_ids=torch.from_numpy(tokens)).logits.numpy()
    arrays = {name: tensor.detach().numpy() for name, tensor in reference.named_parameters()}
    actual = evaluate.forward(arrays, reference.config.to_dict(), tokens)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["base", *(pytest.param(n, marks=pytest.mark.full) for n in CHECKPOINTS if n != "base")]
)
def test_committed_figures_are_reproduced(name):
    # One answer in 200 may hang on the last bit of a logit, and so on the machine's matrix library.
    assert evaluate.evaluate(FAMILY / name) == pytest.approx(FIGURES[name], abs=0.0051)


def test_exact_match_is_what_greedy_decoding_finds():
    torch = pytest.importorskip("torch")
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(FAMILY / "arithmetic", dtype=torch.float32)
    lines = (FAMILY / "held-out" / "arithmetic.txt").read_bytes().splitlines()[:40]
    right = 0
    for line in lines:
        question, answer = line.split(b"=")
        prompt = torch.tensor([list(b"\n" + question + b"=")])
        attention = torch.ones_like(prompt)
        found = model.generate(prompt, attention_mask=attention, max_new_tokens=len(answer) + 1, do_sample=False)
        right += found[0, prompt.shape[1] :].tolist() == list(answer + b"\n")
    config = json.loads((FAMILY / "arithmetic" / "config.json").read_text())
    arrays = evaluate.read_safetensors(FAMILY / "arithmetic")
    assert evaluate.exact_match(arrays, config, b"\n".join(lines)) == pytest.approx(right / len(lines), abs=0.026)


@pytest.mark.full
def test_adapter_has_its_committed_figures():
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import LlamaForCausalLM

    base = LlamaForCausalLM.from_pretrained(FAMILY / "base", dtype=torch.float32)
    merged = peft.PeftModel.from_pretrained(base, FAMILY / "prose-lora").merge_and_unload()
    arrays = {name: tensor.detach().numpy() for name, tensor in merged.named_parameters()}
    assert evaluate.evaluate(arrays, merged.config.to_dict()) == pytest.approx(FIGURES["prose-lora"], abs=0.0051)
    settings = json.loads((FAMILY / "prose-lora" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "examples/family/base"


def test_fine_tunes_gain_clearly():
    for skill in ("python", "prose"):
        assert FIGURES["base"][skill] - FIGURES[skill][skill] > 0.1
    for name in ("arithmetic", "arithmetic-seed2"):
        assert FIGURES[name]["exact_match"] - FIGURES["base"]["exact_match"] > 0.5


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_open_and_their_tokenizer_returns_every_byte(name):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(FAMILY / name)
    assert model.dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(FAMILY / name)
    text = "".join(map(chr, range(32, 0x250))) + "\n\t  two  spaces .\r\n€ 漢字 😀 Ā"
    assert tokenizer.encode(text) == list(text.encode())
    assert tokenizer.decode(list(text.encode())) == text
    assert tokenizer.convert_tokens_to_ids(tokenizer.eos_token) == 256


def test_the_family_is_small_and_knows_no_machine():
    files = [path for path in FAMILY.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 14_000_000
    for path in files:
        if path.suffix == ".json":
            assert '": "/' not in path.read_text(), path
        assert b"/root/" not in path.read_bytes(), path


def test_held_out_text_is_small_and_right():
    for domain in evaluate.DOMAINS:
        assert (FAMILY / "held-out" / f"{domain}.txt").stat().st_size <= 40_000
    lines = (FAMILY / "held-out" / "arithmetic.txt").read_text().splitlines()
    assert len(set(lines)) == 200
    for line in lines:
        left, right, answer = map(int, line.replace("=", "+").split("+"))
        assert left + right == answer
