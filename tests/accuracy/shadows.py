"""A merge's trace once more in float64, beside float32: what comes out, and how far rounding may have moved it.

The oracle: every operation in float64, from the inputs on. Wherever float32 decided (a comparison, a selection, a rank)
it takes float32's side. What a whole-tensor question answered is a float64 number, and is taken as it is.

The bound: count · 2⁻²⁴ · terms. ``count`` is the number of roundings to float32 on the way to a value, those in both
factors of a product included; ``terms`` is Σ|terms|, what the value would be if nothing in it cancelled. No term counts
for less than the smallest normal number, below which the steps of float32 do not get finer.
"""

from dataclasses import dataclass

import numpy as np
from evaluating import Evaluation

from smelt.algebra.expressions import PER_ELEMENT, Sort
from smelt.algebra.interpreter import Tile, TileProgram, meet
from smelt.algebra.numbers import solve, walk_elements

UNIT = 2.0**-24
SMALLEST_NORMAL = 2.0**-126
COMPARE = {
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
}


@dataclass(frozen=True)
class Shadow:
    value: np.ndarray  # float64: (elements,), or (models, elements)
    terms: np.ndarray
    count: int

    @property
    def bound(self):
        return self.count * UNIT * self.terms

    def at(self, model):
        return Shadow(self.value[model], self.terms[model], self.count)


@dataclass(frozen=True)
class Decision:
    """Where float64 would decide otherwise, by which margin, and the margin that rounding explains."""

    op: str
    differs: np.ndarray
    margin: np.ndarray
    bound: np.ndarray


class Trace:
    """The shadow of one tensor of a plan of float32 arrays: ``root`` is the result, ``decisions`` what was decided."""

    def __init__(self, plan, output):
        template = plan.templates[output.template]
        inputs = [_stored(plan.checkpoints[extent.checkpoint], extent) for (extent,) in output.inputs]
        run = Evaluation(template.root, [x.reshape(output.spec.shape) for x in inputs], output.slots, output.keys)
        run.answer_all()
        self._nodes = walk_elements([template.root])
        program = TileProgram(self._nodes, np.dtype(np.float32))
        numbers = solve(program.numbers, run.slots, run.sizes, run.answers)
        met = meet(program.numbers, numbers, np.dtype(np.float32))
        self._tile = Tile(0, run.size, run.sizes["row"], inputs, met, run.keys)
        self._inputs = inputs
        found = program(self._tile)
        self._float32 = {node.key: value for node, value in zip(self._nodes, found, strict=True)}
        self._shadows = {node.key: self._number(node, numbers[node.key]) for node in program.numbers}
        self.decisions = []
        with np.errstate(all="ignore"):
            for node in self._nodes:
                self._shadows[node.key] = self._step(node)
        self.root = self._shadows[template.root.key]
        self.in_float32 = self._float32[template.root.key]

    def _number(self, node, value):
        if node.sort is not Sort.NUMBER:
            return value
        value = np.asarray(value, np.float64)
        value = value[..., self._tile.places(node.along)] if node.along else value[..., None]
        is_exact = bool(np.all(value == value.astype(np.float32)))
        return Shadow(value, np.maximum(abs(value), 0.0 if is_exact else SMALLEST_NORMAL), 0 if is_exact else 1)

    def _step(self, node):
        args = [self._shadows[a.key] for a in node.args]
        made = self._float32[node.key]
        if node.op in COMPARE:
            self._decide(node.op, args[0], args[1], made)
        if node.sort is Sort.MASK:
            if node.op == "selected":
                self._decide_selection(node, args[0], made)
            return made
        if node.op == "rank":
            self._decide_ranks(args[0], made)
        if node.op in ("uniform", "rank"):
            return _exact(made)
        return getattr(self, f"_{node.op}")(node, *args)

    def _input(self, node):
        return _exact(self._inputs[node.attributes[0]])

    def _stack(self, node, *parts):
        shape = self._tile.length
        values, terms = (np.stack([np.broadcast_to(x, shape) for x in y]) for y in _columns(parts))
        return Shadow(values, terms, max(p.count for p in parts))

    def _pick(self, node, models):
        return models.at(node.attributes[0])

    def _add(self, node, a, b):
        return Shadow(a.value + b.value, a.terms + b.terms, max(a.count, b.count) + 1)

    def _subtract(self, node, a, b):
        return Shadow(a.value - b.value, a.terms + b.terms, max(a.count, b.count) + 1)

    def _multiply(self, node, a, b):
        return Shadow(a.value * b.value, _normal(a.terms * b.terms), a.count + b.count + 1)

    def _divide(self, node, a, b):
        terms = a.terms / abs(b.value) * (b.terms / abs(b.value))
        return Shadow(a.value / b.value, _normal(terms), a.count + b.count + 1)

    def _absolute(self, node, a):
        return Shadow(abs(a.value), a.terms, a.count)

    def _exponential(self, node, a):
        value = np.exp(a.value)
        return Shadow(value, _normal(value * np.maximum(a.terms, 1.0)), a.count + 1)

    def _logarithm(self, node, a):
        value = np.log(a.value)
        return Shadow(value, _normal(abs(value) + a.terms / abs(a.value)), a.count + 1)

    def _sign(self, node, a):
        zero = _exact(np.zeros(1))
        for op in ("less", "greater"):
            self._decide(op, a, zero, COMPARE[op](self._float32[node.args[0].key], 0))
        return _exact(self._float32[node.key])

    def _minimum(self, node, a, b):
        return self._either(node, "less", a, b)

    def _maximum(self, node, a, b):
        return self._either(node, "greater", a, b)

    def _either(self, node, op, a, b):
        x, y = (self._in_float32(arg) for arg in node.args)
        side = COMPARE[op](x, y)
        self._decide(op, a, b, side)
        return _choose(side, a, b)

    def _where(self, node, condition, a, b):
        if node.args[0].sort not in PER_ELEMENT:
            condition = self._in_float32(node.args[0])
        return _choose(condition, a, b)

    def _sum_models(self, node, models):
        value, terms = (np.array(np.broadcast_to(x, (len(x), self._tile.length))) for x in (models.value, models.terms))
        return Shadow(value.sum(axis=0), terms.sum(axis=0), models.count + len(value) - 1)

    def _max_models(self, node, models):
        values = self._in_float32(node.args[0])
        best, most = models.at(0), values[0]
        for place in range(1, len(values)):
            side = values[place] > most
            self._decide("greater", models.at(place), best, side)
            best, most = _choose(side, models.at(place), best), np.where(side, values[place], most)
        return best

    def _in_float32(self, node):
        """A node's value in float32; that of a number with its model axis first and elements last."""
        if node.sort in PER_ELEMENT:
            return self._float32[node.key]
        value = np.asarray(self._tile.numbers[node.key])
        return value[..., self._tile.places(node.along)] if node.along else value

    def _decide(self, op, a, b, side):
        differs = COMPARE[op](a.value, b.value) != side
        self.decisions.append(Decision(op, differs, abs(a.value - b.value) + 0.0 * differs, a.bound + b.bound))

    def _rows(self, values, by_row):
        return values.reshape(-1, self._tile.columns if by_row else self._tile.length)

    def _decide_selection(self, node, x, chosen):
        """Magnitudes in order move by no more than the magnitudes did, so neither does the threshold."""
        x, by_row = _spread(x, chosen.shape), node.args[1].along == "row"
        chosen, size, bound = (self._rows(v, by_row) for v in (chosen, abs(x.value), x.bound))
        for mask, row, moved in zip(chosen, size, bound, strict=True):
            kept = np.count_nonzero(mask)
            if 0 < kept < len(row):
                threshold = np.sort(row)[-kept]
                differs = np.where(mask, row < threshold, row > threshold)
                self.decisions.append(Decision("selected", differs, abs(row - threshold), moved + moved.max()))

    def _decide_ranks(self, x, ranks):
        x = _spread(x, ranks.shape)
        ranks, size, bound = (self._rows(v, True) for v in (ranks, abs(x.value), x.bound))
        for places, row, moved in zip(ranks.astype(int), size, bound, strict=True):
            margin = abs(row - np.sort(row)[places])
            self.decisions.append(Decision("rank", margin > 0, margin, moved + moved.max()))


def _stored(checkpoint, extent):
    raw = np.empty(4 * extent.count, np.uint8)
    assert checkpoint.specs[extent.tensor].dtype.name == "F32"
    checkpoint.read(extent.tensor, 4 * extent.start, raw)
    return raw.view(np.float32)


def _exact(values):
    values = np.asarray(values, np.float64)
    return Shadow(values, abs(values), 0)


def _spread(x, shape):
    return Shadow(np.broadcast_to(x.value, shape), np.broadcast_to(x.terms, shape), x.count)


def _normal(terms):
    return np.maximum(terms, SMALLEST_NORMAL)


def _columns(shadows):
    return [s.value for s in shadows], [s.terms for s in shadows]


def _choose(side, a, b):
    return Shadow(np.where(side, a.value, b.value), np.where(side, a.terms, b.terms), max(a.count, b.count))
