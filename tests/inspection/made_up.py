"""Results of ``smelt diff`` as nobody measured them: any number of models, layers and experts, under any names."""

import math

from smelt.inspection.differences import (
    Advice,
    Differences,
    Measure,
    Mismatch,
    Pair,
    Section,
    Shares,
    TensorDifference,
)

MODULES = {
    "input_layernorm.weight": "norm",
    "self_attn.q_proj.weight": "attention",
    "self_attn.k_proj.weight": "attention",
    "self_attn.o_proj.weight": "attention",
    "mlp.up_proj.weight": "mlp",
    "mlp.down_proj.weight": "mlp",
}


def measure(model, elements, norm, grouped=True):
    """A difference of a given norm, with round numbers for everything else."""
    rms = norm / math.sqrt(elements)
    top = math.floor(math.log2(rms)) if rms else 0
    octaves = tuple((top + step, elements // 2 ** (1 + abs(step))) for step in (-4, -3, -2, -1, 0, 1))
    return Measure(
        model=model,
        zeros=elements // 4 if norm else elements,
        nonfinite=0,
        norm=norm,
        rms=rms,
        largest=4 * rms,
        mean_magnitude=0.8 * rms,
        relative=norm / 100,
        quantiles=tuple(rms * level for level in (0.0, 0.1, 0.3, 0.7, 1.1, 2.0, 2.6, 3.3)),
        kurtosis=3.25 if norm else None,
        top_energy=0.625 if norm else None,
        rounding_rms=rms / 50,
        octaves=octaves if grouped and norm else (),
    )


def section(label, tensors, elements, norms, models, grouped=True):
    """One section; ``norms`` by model or result."""
    compared = tuple(norms)
    results = compared[len(models) :]
    return Section(
        label,
        tensors,
        elements,
        100.0,
        tuple(measure(name, elements, norm, grouped) for name, norm in norms.items()),
        tuple(Pair(a, b, 0.25, 0.5, 0.3, 0.2) for j, b in enumerate(compared) for a in compared[:j]),
        tuple(Shares(name, (1 / len(models),) * len(models), 0.0, 0.125, len(models)) for name in results),
    )


def differences(models=("math", "code"), results=("merged",), layers=3, modules=MODULES, outside=("lm_head.weight",)):
    """A whole result; sizes grow from layer to layer, and the first tensor of the first model is that of the base."""
    compared = (*models, *results)
    tensors = []
    for layer in range(layers):
        for place, (module, role) in enumerate(modules.items()):
            norms = {name: (layer + 1) * (place + at) / 10 for at, name in enumerate(compared)}
            where = f"model.layers.{layer}"
            found = section(f"{where}.{module}", 1, 1024, norms, models, grouped=False)
            tensors.append(TensorDifference(f"{where}.{module}", (32, 32), role, where, module, "float32", found))
    for name in outside:
        found = section(name, 1, 1024, dict.fromkeys(compared, 0.5), models, grouped=False)
        tensors.append(TensorDifference(name, (32, 32), "head", None, name, "float32", found))
    everywhere = {name: 1.0 + at for at, name in enumerate(compared)}
    labels = [f"model.layers.{layer}" for layer in range(layers)] + ["outside the layers"] * bool(outside)
    return Differences(
        "base",
        tuple(models),
        tuple(results),
        tuple(tensors),
        tuple(section(label, len(modules), 8192, everywhere, models) for label in labels),
        tuple(section(role, 4, 8192, everywhere, models) for role in dict.fromkeys(t.role for t in tensors)),
        section("all", len(tensors), 65536, everywhere, models),
        (Mismatch("extra.weight", models[0], "not in the base"),),
        (Advice("dare", "Dropping nine tenths of the differences would be felt.", "expected error 3.0 at drop 0.9"),),
    )
