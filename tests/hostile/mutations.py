"""Mutations of models and recipes, drawn from a generator: as bytes, as values and as structures."""

import json

import yaml
from refusals import RECIPE

import tiny

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"

SLICES = """\
merge_method: slerp
base_model: a
parameters: {t: [{filter: mlp, value: [0, 1]}, {value: 0.5}]}
slices:
  - sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [1, 2]}]
  - sources: [{model: a, layer_range: [1, 2]}, {model: b, layer_range: [0, 1]}]
tokenizer_source: base
dtype: float32
"""
TWO_STEPS = """\
name: first
merge_method: ties
base_model: a
models: [{model: b, parameters: {weight: 1, density: 0.5}}]
---
merge_method: dare_ties
base_model: a
models: [{model: first, parameters: {weight: 1, density: [0.5, 1]}}, {model: b, parameters: {weight: 0.1}}]
parameters: {normalize: true}
seed: 3
out_dtype: bfloat16
"""
ALONE = """\
merge_method: passthrough
slices:
  - sources: [{model: b, layer_range: [0, 1]}]
  - sources: [{model: b, layer_range: [0, 2]}]
"""
COPY = "merge_method: passthrough\nmodels: [{model: b}]\n"
RECIPES = (RECIPE, SLICES, TWO_STEPS, ALONE, COPY)
VALUES = (
    *(None, True, False, -1, 0, 1, 2, 7, 2**31, 2**40, 2**63 - 1, 2**64, 10**30, 1.5, -0.0, 1e300, float("inf")),
    *(float("nan"), "", "F32", "BF16", "I64", "x", "..", "../a/model.safetensors", "/etc/passwd", "C:\\x", "\u00e9"),
    *(
        "y" * 100_000,
        "9" * 5000,
        "\x1b[2J\n",
        "\ud800",
        "model.layers.0.x",
        "model.layers.999999999999.x",
        "layers.1.2.3.4",
        ".",
    ),
    *("lm_head.weight", "model.embed_tokens.weight", "__metadata__", "qwen2", "gemma2", "num_hidden_layers", *SHARDS),
    *([], {}, [[]], [0], [0] * 70, [2**40, 2**40], [1e3], {"a": {"b": {}}}, [0, 8], {"dtype": "U8"}),
)
KEYS = (
    *("a", "dtype", "shape", "layer_types", "sliding_window_pattern", "num_hidden_layers", "text_config", "model"),
    *("attention_types", "max_window_layers", "mlp_only_layers", "num_nextn_predict_layers", "first_k_dense_replace"),
    *("n_layer", "attn_layer_period", "num_kv_shared_layers", "tie_word_embeddings", "deepstack_visual_indexes"),
    *("models", "weight", "t", "density", "parameters", "filter", "value", "merge_method", "base_model", "layer_range"),
)
NAMES = (
    "0",
    "1",
    "2",
    "007",
    "-1",
    "99999999999",
    "9" * 200,
    "",
    ".",
    "..",
    "layers",
    "h",
    "mtp",
    "vision",
    "é",
    "x" * 200,
)
SPLINTERS = (
    *(": ", "- ", "[", "]", "{", "}", "&a ", "*a", "<<: ", "\n", "  ", "\t", "'", '"', "#", "|\n", "---\n", "!!int "),
    *("null", "true", "1e999", ".nan", "-1", "0x", "1:30", "9" * 500, "0x" + "f" * 4000, "\\e", "\x00", "\x1b", "?"),
    *("models: ", "slices: ", "modules: ", "name: x\n", "filter: ", "value: ", "layer_range: ", "layer_range: [0, 9]"),
    *("model: a", "model: first", "model: ../b", "model: /", "weight: 1e30", "t: -1", "density: 0", "lambda: 1e-320"),
)


def list_places(value, path=()):
    """Return the paths of all values inside a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in pairs for place in list_places(item, (*path, key)))]


def mutate_json(value, draw):
    """Return a JSON value with one thing about it changed."""
    value = json.loads(json.dumps(value))
    places = list_places(value)
    place = draw.choice(places)
    if not place:
        if isinstance(value, dict):
            value[draw.choice(KEYS)] = draw.choice(VALUES)
            return value
        return draw.choice(VALUES) if draw.random() < 0.1 else value
    owner = value
    for key in place[:-1]:
        owner = owner[key]
    key, chance = place[-1], draw.random()
    if chance < 0.15:
        del owner[key]
    elif chance < 0.3 and isinstance(owner, dict):
        owner[str(draw.choice(VALUES + KEYS))] = owner.pop(key) if draw.random() < 0.5 else owner[key]
    elif chance < 0.45 and isinstance(owner[key], int):
        owner[key] += draw.choice((-8, -1, 1, 2, 8, 2**33))
    elif chance < 0.55:
        other = value
        for part in draw.choice(places):
            other = other[part]
        owner[key] = json.loads(json.dumps(other))
    elif chance < 0.6:
        owner[key] = [owner[key]]
    elif chance < 0.7 and isinstance(owner, dict):
        owner[draw.choice(KEYS)] = draw.choice(VALUES)
    else:
        owner[key] = draw.choice(VALUES)
    return value


def mutate_bytes(content, draw):
    """Return bytes of which a few are other ones, absent, doubled or new."""
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(content) + 1)
        stop = min(len(content), at + draw.randrange(12))
        new = draw.choice((b"", b"\0", b"\xff", b'"', b"\\", b"[", b"{", b"}", b"-", b"9", b"e9", b",", b"[" * 3000))
        content = draw.choice((content[:at] + new + content[stop:], content[:stop] + content[at:], content[:at]))
    return content


def mutate_document(content, draw):
    """Return the bytes of a JSON document that has been changed as a value, as bytes, or as both."""
    value = json.loads(content)
    for _ in range(draw.randrange(4)):
        value = mutate_json(value, draw)
    content = json.dumps(value).encode()
    return mutate_bytes(content, draw) if draw.random() < 0.3 else content


def mutate_tensors(folder, draw):
    """Replace the second model by a sound file whose names, shapes and dtypes are other ones."""
    arrays = dict(tiny.read(folder / "b"))
    for _ in range(draw.randrange(1, 5)):
        name = draw.choice(list(arrays))
        array, chance = arrays[name], draw.random()
        if chance < 0.2:
            del arrays[name]
        elif chance < 0.4:
            arrays[name] = array.reshape(draw.choice((array.shape[::-1], (-1,), (1, *array.shape), (*array.shape, 1))))
        elif chance < 0.55:
            arrays[name] = array[: draw.randrange(3)]
        elif chance < 0.7:
            arrays[name] = array.reshape(-1).view(draw.choice(("u1", "?", tiny.E4M3, tiny.E5M2)))
        else:
            part = draw.choice(("model", "layers", "0", "1", "weight", "q_proj", "embed_tokens", "norm"))
            arrays[name.replace(part, draw.choice(NAMES))] = arrays[draw.choice(list(arrays))]
        if not arrays:
            arrays["x"] = array
    for path in (folder / "b").glob("model*"):
        path.unlink()
    tiny.write_file(folder / "b" / "model.safetensors", arrays)
    return draw.choice(RECIPES)


def mutate_header(folder, draw):
    if draw.random() < 0.5:
        return mutate_tensors(folder, draw)
    path = folder / "b" / draw.choice(SHARDS)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = mutate_document(content[8:start], draw)
    length = len(header) if draw.random() < 0.9 else draw.choice((0, 1, len(header) - 1, 2**24, 2**63, 2**64 - 1))
    data = content[start:] if draw.random() < 0.8 else mutate_bytes(content[start:], draw)
    path.write_bytes(length.to_bytes(8, "little") + header + data)
    return draw.choice(RECIPES)


def mutate_index(folder, draw):
    path = folder / "b" / INDEX
    path.write_bytes(mutate_document(path.read_bytes(), draw))
    return RECIPE


def mutate_files(folder, draw):
    names = ("config.json", "config.json", "config.json", "tokenizer.json", "tokenizer_config.json")
    path = folder / draw.choice("ab") / draw.choice(names)
    path.write_bytes(mutate_document(path.read_bytes(), draw))
    return draw.choice((RECIPE, SLICES, ALONE))


def mutate_recipe(folder, draw):
    text = draw.choice(RECIPES)
    if draw.random() < 0.5:
        documents = list(yaml.safe_load_all(text))
        for _ in range(draw.randrange(1, 4)):
            documents = mutate_json(documents, draw)
        return yaml.safe_dump_all(documents if isinstance(documents, list) else [documents]) + "\n"
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(text) + 1)
        stop = min(len(text), at + draw.randrange(30))
        text = draw.choice(
            (
                text[:at] + draw.choice(SPLINTERS) + text[stop:],
                text[:at] + text[stop:],
                text.replace(draw.choice(text.split() or ["a"]), draw.choice(SPLINTERS), 1),
                text + draw.choice(text.splitlines(keepends=True) or [""]),
            )
        )
    return text + "\n"


KINDS = {"header": mutate_header, "index": mutate_index, "files": mutate_files, "recipe": mutate_recipe}
