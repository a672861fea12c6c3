"""300 random recipes of the linear family: what ``simplify`` writes gives the same values, to 2 float32 roundings.

A rounding is 2⁻²³, the spacing of float32, of Σ |coefficient·value| over the terms of a recipe as it is written, before
any of them cancel: that is the size of the numbers that are rounded on the way. Of the sums of the two recipes the
larger counts.
"""

import numpy as np
import pytest
import yaml

import smelt
import tiny

ROUNDING = 2.0**-23
ORIGINALS = ["A", "B", "C", "D"]
SHAPES = {"model.embed_tokens.weight": (5, 3), "model.layers.0.mlp.up_proj.weight": (4, 6), "model.norm.weight": (3,)}


def random_document(random, name, earlier):
    """Return a document, as a tree, that uses the document before it and up to three other models."""
    others = [str(x) for x in random.choice([*ORIGINALS, *earlier[:-1]], 3, replace=False)]
    models = [*earlier[-1:], *others][: int(random.integers(2, 5))]
    random.shuffle(models)
    methods = ["linear", "task_arithmetic", "slerp", "passthrough"]
    method = str(random.choice(methods, p=[0.3, 0.5, 0.1, 0.1]))
    tree = {"name": name, "merge_method": method}
    if method == "passthrough":
        models = earlier[-1:] or models[:1]
        return tree | {"models": [{"model": models[0]}], "parameters": {"scale": weight(random)}}
    if method == "slerp":
        models = sorted(models[:2] if not earlier or earlier[-1] in models[:2] else [earlier[-1], models[0]])
        tree |= {"base_model": models[0], "models": [{"model": m} for m in models[:2]]}
        return tree | {"parameters": {"t": int(random.integers(0, 2))}}
    components = [{"model": m, "parameters": {"weight": weight(random)}} for m in models]
    parameters = {"normalize": bool(random.integers(0, 2))}
    if method == "task_arithmetic":
        # Half the time the base is a component as well.
        tree["base_model"] = models[0]
        components = components[int(random.integers(0, 2)) :]
        parameters["lambda"] = weight(random)
    mass = sum(c["parameters"]["weight"] for c in components if c["model"] != tree.get("base_model"))
    parameters["normalize"] = parameters["normalize"] and abs(mass) > 0.1
    return tree | {"models": components, "parameters": parameters}


def weight(random):
    """Return a weight as people write them, a third of them negative."""
    return float(random.choice([0.1, 0.25, 0.3, 0.5, 0.7, 1.0, 1.2, 2.0, 1 / 3]) * random.choice([1, 1, -1]))


def random_recipe(seed):
    random = np.random.default_rng(seed)
    names = ["first", "second", "third"][: int(random.integers(1, 4))]
    documents = [random_document(random, name, names[:place]) for place, name in enumerate(names)]
    del documents[-1]["name"]
    return documents


def evaluate(documents, originals):
    """Return values and Σ |coefficient·value| of a recipe's result, in float64 and from the definitions alone."""
    known = {name: (tensor.astype("f8"), np.abs(tensor.astype("f8"))) for name, tensor in originals.items()}
    for tree in documents:
        settings = {"lambda": 1.0, "normalize": False, "scale": 1.0} | tree.get("parameters", {})
        terms = [(known[m["model"]], m["parameters"]["weight"]) for m in tree["models"] if "parameters" in m]
        if tree["merge_method"] == "passthrough":
            terms = [(known[tree["models"][0]["model"]], settings["scale"])]
        elif tree["merge_method"] == "slerp":
            other = next(m["model"] for m in tree["models"] if m["model"] != tree["base_model"])
            terms = [(known[tree["base_model"] if settings["t"] == 0 else other], 1.0)]
        elif tree["merge_method"] == "task_arithmetic":
            base = known[tree["base_model"]]
            components = [(m["model"], m["parameters"]["weight"]) for m in tree["models"]]
            kept = [(known[m], w) for m, w in components if m != tree["base_model"]]
            mass = settings["lambda"] / (sum(w for _, w in kept) if settings["normalize"] else 1.0)
            terms = [(base, 1.0)]
            for model, w in kept:
                terms += [(model, w * mass), (base, -w * mass)]
        elif settings["normalize"]:
            terms = [(model, w / sum(w for _, w in terms)) for model, w in terms]
        known[tree.get("name")] = sum(w * v for (v, _), w in terms), sum(abs(w) * s for (_, s), w in terms)
    return known[None]


def check(seeds):
    """Simplify and run the recipes of ``seeds``; return how many have a simpler form."""
    found = 0
    originals = {name: tiny.read(name) for name in ORIGINALS}
    for seed in seeds:
        documents = random_recipe(seed)
        recipe = smelt.read(yaml.safe_dump_all(documents))
        text = smelt.explain(recipe).simpler
        if text is None:
            continue
        found += 1
        before, after = smelt.merge(recipe), smelt.merge(smelt.read(text))
        for name in SHAPES:
            tensors = {model: tensors[name] for model, tensors in originals.items()}
            exact, scale = evaluate(documents, tensors)
            same, other_scale = evaluate([yaml.safe_load(text)], tensors)
            slack = 2 * ROUNDING * np.maximum(scale, other_scale)
            np.testing.assert_allclose(same, exact, rtol=0, atol=1e-12 * scale.max(), err_msg=f"{seed}: {text}")
            assert np.all(np.abs(after[name].astype("f8") - before[name]) <= slack), (seed, text)
    return found


@pytest.fixture
def models(tmp_path, monkeypatch):
    for seed, name in enumerate(ORIGINALS):
        random = np.random.default_rng(seed)
        tiny.save(tmp_path / name, {n: random.standard_normal(shape).astype("f4") for n, shape in SHAPES.items()})
    monkeypatch.chdir(tmp_path)


def test_30_random_recipes_come_out_the_same(models):
    assert check(range(30)) >= 15


@pytest.mark.full
def test_300_random_recipes_come_out_the_same(models):
    assert check(range(300)) >= 200
