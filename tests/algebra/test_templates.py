"""Tracing: slots and streams, what a method may return, and one template for tensors that are merged alike."""

import subprocess
import sys

import numpy as np
import pytest

import smelt
from smelt.algebra import declare
from smelt.algebra.declare import PerModel, catalogue, find
from smelt.algebra.expressions import input_tensor, slot, slots, stack
from smelt.algebra.templates import COPY, slot_count, trace
from smelt.algebra.vocabulary import dot, gram, nonzero, norm, scalar_function, square_root, sum_models, total, where
from smelt.errors import SmeltError

A, B, C = (input_tensor(i) for i in range(3))
OF_TENSORS = {"scope": "tensor", "equalize": False}


@pytest.fixture
def method(monkeypatch):
    catalogue()
    monkeypatch.setattr(declare, "_registry", dict(declare._registry))
    return lambda function: declare.method(function.__name__, title="Trial", paper="none")(function)


def trace_named(name, tensors, structure=None, first_slot=0, first_key=0):
    return trace(find(name), tensors, structure or {}, first_slot, first_key)


def test_slots_are_numbered_in_the_order_of_the_declaration():
    template = trace_named("task_arithmetic", [A, B, C], {"normalize": False, "equalize": False}, first_slot=4)
    assert (template.inputs, template.slots, template.keys) == (3, 4 + 3, 0)
    used = {n.key for n in [slots(4, 2), slot(6)]}
    assert used <= {node.key for node in _nodes(template)}
    arithmetic, passthrough = find("task_arithmetic"), find("passthrough")
    assert slot_count(arithmetic, arithmetic.setting["weight"], 2) == 2
    assert slot_count(arithmetic, arithmetic.setting["lambda"], 2) == 1
    assert slot_count(passthrough, passthrough.setting["scale"], 1) == 1


def _nodes(template):
    from smelt.algebra.expressions import walk

    return walk(template.root)


def test_streams_are_counted_per_model_from_the_first():
    template = trace_named(
        "dare_linear", [A, B, C], {"rescale": True, "normalize": False, "equalize": False}, first_key=3
    )
    assert template.keys == 3 + 2
    assert [n.attributes for n in _nodes(template) if n.op == "uniform"] == [(3, 0)]


@pytest.mark.parametrize(
    ("name", "count", "structure", "passes"),
    [
        ("linear", 2, {"normalize": True}, 1),
        ("slerp", 2, {}, 2),
        ("nuslerp", 3, {"nuslerp_flatten": True, "nuslerp_row_wise": False}, 2),
        ("multislerp", 3, {"normalize_weights": True}, 2),
        ("karcher", 3, {"max_iter": 10}, 2),
        ("geometric_median", 3, {"max_iter": 100}, 2),
        ("model_stock", 3, {"filter_wise": False}, 2),
        ("task_arithmetic", 3, {"normalize": True, "equalize": False}, 1),
        ("task_arithmetic", 3, {"normalize": True, "equalize": "l2"}, 2),
        ("ties", 3, {"normalize": True, "rescale": False, **OF_TENSORS}, 2),
        ("ties", 3, {"normalize": True, "rescale": "l1", **OF_TENSORS}, 3),
        ("ties", 3, {"normalize": True, "rescale": False, "equalize": "l2", "scope": "tensor"}, 3),
        ("breadcrumbs", 3, {"normalize": False, "rescale": False, **OF_TENSORS}, 2),
        ("breadcrumbs_ties", 3, {"normalize": False, "rescale": "l1", **OF_TENSORS}, 3),
        ("dare_linear", 3, {"normalize": False, "rescale": True, "equalize": False}, 1),
        ("dare_ties", 3, {"normalize": False, "rescale": "l1", "equalize": False}, 2),
        ("della", 3, {"normalize": True, "rescale": True, "equalize": False}, 1),
        ("della_linear", 3, {"normalize": False, "rescale": "l1", "equalize": False}, 2),
        ("nearswap", 2, {}, 1),
        ("ram", 3, {}, 1),
        ("ramplus_tl", 3, {}, 2),
        ("magmax", 3, {}, 1),
        ("passthrough", 1, {}, 1),
    ],
)
def test_passes_are_known_from_the_trace(name, count, structure, passes):
    template = trace_named(name, [input_tensor(i) for i in range(count)], structure)
    assert template.passes == passes
    assert len(template.stages()) == passes - 1


@pytest.mark.parametrize(("name", "structure"), [("nuslerp", {}), ("multislerp", {"normalize_weights": True})])
def test_a_base_that_may_be_left_out_is_the_first_input_where_it_is_there(name, structure):
    structure = structure or {"nuslerp_flatten": True, "nuslerp_row_wise": False}
    based = trace(find(name), [A, B, C], structure, 0, 0)
    free = trace(find(name), [A, B], structure, 0, 0, based=False)
    assert (based.inputs, free.inputs) == (3, 2)
    assert {n.key for n in _nodes(based)} >= {(stack([B, C]) - A).key, A.key}
    assert not any(n.op == "subtract" and A in n.args for n in _nodes(free))


def test_an_unset_factor_leaves_a_copy():
    assert trace_named("passthrough", [A], {"scale": None}).root == COPY.root
    assert trace_named("passthrough", [A], {"scale": None}).is_copy
    assert not trace_named("passthrough", [A]).is_copy


def test_a_method_returns_one_tensor_that_is_no_difference(method):
    @method
    def difference(base, models, *, weight: PerModel[float]):
        return sum_models(weight * (models - base))

    @method
    def several(models):
        return models * 2

    @method
    def nothing(models):
        return None

    @method
    def figure(models):
        return total(models[0])

    with pytest.raises(SmeltError, match="difference returns a difference of models; add it to the base"):
        trace(difference, [A, B], {}, 0, 0)
    for wrong in (several, nothing, figure):
        with pytest.raises(SmeltError, match=f"{wrong.name} must return one tensor without a model axis"):
            trace(wrong, [A, B], {}, 0, 0)


def test_a_branch_on_a_traced_value_says_what_to_use_instead(method):
    @method
    def branching(a, b, *, t: float):
        return a if t > 0.5 else b

    with pytest.raises(TypeError, match="no truth value: use where"):
        trace(branching, [A, B], {}, 0, 0)


def test_structure_may_be_branched_on(method):
    @method
    def repeated(models, *, steps: int = 2, flag: bool = False):
        result = models[0]
        for _ in range(steps):
            result = result * 2
        return -result if flag else result

    assert trace(repeated, [A], {"steps": 3, "flag": True}, 0, 0).root == -(A * 2 * 2 * 2)


@scalar_function(returns="models")
def closest_to_mean(matrix):
    """Weigh every model by how much it agrees with the others."""
    rows = [sum(row) for row in matrix]
    return [row / sum(rows) for row in rows]


def test_methods_of_others_run_from_start_to_end(method):
    @method
    def agreeing(models):
        """Weigh by the Gram matrix."""
        return sum_models(closest_to_mean(gram(models)) * models)

    @method
    def relay(base, models, *, weight: PerModel[float]):
        """Add one model after the other, each orthogonal to what is already there."""
        edit = 0.0 * base
        for model, w in zip(models, weight, strict=True):
            delta = model - base
            edit = edit + w * (delta - dot(delta, edit) / (dot(edit, edit) + 1e-30) * edit)
        return base + edit

    @method
    def guarded(a, b, *, t: float):
        """Refuse t = 0."""
        return a + b / nonzero(t, "t must not be 0")

    a, b, c = (smelt.Checkpoint({"w": np.float32(x)}) for x in ([1, 1], [3, 1], [1, 3]))
    result = smelt.run(smelt.plan(smelt.methods.agreeing([b, c])))["w"]
    np.testing.assert_allclose(result, [2, 2], rtol=2.0**-22)  # ⟨b,b⟩ = ⟨c,c⟩: equal shares
    # δ_b = [2, 0]; δ_c = [0, 2] is orthogonal to it already.
    result = smelt.run(smelt.plan(smelt.methods.relay(a, [b, c], weight=[0.5, 1.0])))["w"]
    assert result.tolist() == [2, 3]
    assert smelt.plan(smelt.methods.relay(a, [b, c], weight=1.0)).templates[0].passes > 1
    with pytest.raises(smelt.InputError, match="t must not be 0"):
        smelt.plan(smelt.methods.guarded(a, b, t=0))
    assert smelt.run(smelt.plan(smelt.methods.guarded(a, b, t=2)))["w"].tolist() == [2.5, 1.5]


def test_a_method_may_normalize_by_answers(method):
    @method
    def same_length(a, b):
        """Give b the length of a."""
        return where(norm(b) > 0, b * (norm(a) / norm(b)), square_root(b))

    a, b = smelt.Checkpoint({"w": np.float32([3, 4])}), smelt.Checkpoint({"w": np.float32([0, 2])})
    assert smelt.run(smelt.plan(smelt.methods.same_length(a, b)))["w"].tolist() == [0, 5]


def layered(layers, seed):
    rng = np.random.default_rng(seed)
    return {f"model.layers.{i}.mlp.w.weight": rng.standard_normal((2, 3)).astype(np.float32) for i in range(layers)}


def test_fifty_tensors_of_a_gradient_share_one_template():
    a, b = (smelt.Checkpoint(layered(50, seed)) for seed in (1, 2))
    plan = smelt.plan(smelt.methods.slerp(a, b, t=[0.0, 1.0]))
    assert len(plan.outputs) == 50
    assert len(plan.templates) == 1
    assert len({output.slots for output in plan.outputs}) == 50
    assert plan.outputs[0].slots == (0.0,)
    assert plan.outputs[-1].slots == (1.0,)


def test_equal_settings_are_not_merged_by_value():
    plans = []
    for weight in ([0.5, 0.5], [0.5, 0.25]):
        base, *models = (smelt.Checkpoint(layered(1, seed)) for seed in range(3))
        plans.append(smelt.plan(smelt.methods.ties(base, models, weight=weight)))
    assert plans[0].templates[0].to_json() == plans[1].templates[0].to_json()
    assert plans[0].digest != plans[1].digest


PROGRAM = """
import numpy as np, smelt
x, y = np.ones((2, 3), np.float32), np.ones(4, np.float32)
base, a, b = (smelt.Checkpoint({"w": scale * x, "v": scale * y}) for scale in (1, 2, 3))
stage = smelt.methods.dare_ties(base, [a, b], weight=[0.3, 0.7], density=0.5, name="stage", seed=4)
print(smelt.plan(smelt.methods.ties(base, [stage, b], weight=0.5, density=[0.3, 0.9], rescale="l1")).digest)
"""


def test_a_plan_has_the_same_digest_in_every_process():
    digests = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        ).stdout
        for seed in ("0", "1", "2")
    ]
    assert len(digests[0].strip()) == 64
    assert digests[0] == digests[1] == digests[2]


def test_json_names_arguments_by_position():
    template = trace_named("linear", [A, B], {"normalize": False})
    nodes = template.to_json()["nodes"]
    assert [n[0] for n in nodes] == ["slots", "input", "input", "stack", "multiply", "sum_models"]
    assert all(argument < place for place, node in enumerate(nodes) for argument in node[1])
    assert stack([A, B]).models == nodes[3][3] == 2
