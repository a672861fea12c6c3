"""Carries out an expression as a run does, pass by pass and block by block, without files, plans or threads."""

import numpy as np

from smelt.algebra.expressions import Sort, input_tensor, stack
from smelt.algebra.grid import block_bounds, block_count, sizes_of
from smelt.algebra.interpreter import Tile, TileProgram, meet
from smelt.algebra.numbers import solve
from smelt.algebra.questions import ask
from smelt.algebra.templates import Template


class Evaluation:
    """One expression over given arrays; ``answers`` and ``passes`` stay for tests to look at."""

    def __init__(self, root, inputs, slots=(), keys=(), tile=1024, precision=np.float32, order=None):
        self.root, self.slots, self.tile = root, slots, tile
        self.keys = np.array(keys, np.uint64)[:, None]
        self.precision = np.dtype(precision)
        self.shape = np.shape(inputs[0])
        self.inputs = [np.asarray(x, self.precision).reshape(-1) for x in inputs]
        self.size = self.inputs[0].size
        self.sizes = sizes_of(self.shape)
        self.blocks = list(range(block_count(self.shape)))
        self.order = order or list
        self.answers = {}
        self.passes = 0

    def answer_all(self):
        """Answer every question that the root asks."""
        for nodes in Template(self.root, len(self.inputs), len(self.slots), len(self.keys)).stages():
            questions = [self._ask(node) for node in nodes]
            for question in questions:
                question.prepare(self, len(self.blocks) <= 1)
            while any(q.answer is None for q in questions):
                self.passes += 1
                for question in questions:
                    if question.answer is None:
                        self._measure(question)
            self.answers.update((q.node.key, q.answer) for q in questions)
        return self

    def number(self):
        """Return the root's value as a number."""
        self.answer_all()
        return solve([self.root], self.slots, self.sizes, self.answers)[self.root.key]

    def tensor(self):
        """Return the root's value as an array of the tensor's shape."""
        self.answer_all()
        flat = self.evaluate(self.root, 0, self.size)
        return flat.reshape((*flat.shape[:-1], *self.shape))

    def evaluate(self, node, start, stop):
        """Return elements [start, stop) of a node."""
        program = TileProgram([node], self.precision)
        values = solve(program.numbers, self.slots, self.sizes, self.answers)
        numbers = meet(program.numbers, values, self.precision)
        pieces = []
        for low in range(start, stop, self.tile) or [0]:
            high = min(low + self.tile, stop)
            tile = Tile(low, high - low, self.sizes["row"], [x[low:high] for x in self.inputs], numbers, self.keys)
            pieces.append(program(tile)[0])
        return np.concatenate(pieces, axis=-1)

    def block(self, node, start, stop):
        """Return elements [start, stop) of a node, as a question asks for them."""
        return self.evaluate(node, start, stop)

    def runs(self, node, starts, length):
        """Return runs of elements of a node, one after the other."""
        return np.concatenate([self.evaluate(node, s, s + length) for s in starts], axis=-1)

    def _ask(self, node):
        numbers = [a for a in node.args if a.sort is Sort.NUMBER]
        known = solve(numbers, self.slots, self.sizes, self.answers)
        value = known[numbers[0].key] if numbers else None
        return ask(node, value, self.shape, self.precision)

    def _measure(self, question):
        partials = [None] * len(self.blocks)
        for number in self.order(self.blocks):
            start, stop = block_bounds(self.shape, number)
            partial = question.open_block(start, stop)
            for low in range(start, stop, self.tile):
                high = min(low + self.tile, stop)
                question.measure(partial, [self.evaluate(e, low, high) for e in question.operands], low)
            partials[number] = question.close_block(partial)
        question.conclude(partials, self)


def tensor(root, *inputs, **options):
    """Return the value of ``root``, a tensor, over the inputs."""
    return Evaluation(root, inputs, **options).tensor()


def number(root, *inputs, **options):
    """Return the value of ``root``, a number, over the inputs."""
    return Evaluation(root, inputs, **options).number()


def models(count):
    """Return the first ``count`` inputs as one node with a model axis."""
    return stack([input_tensor(i) for i in range(count)])


X, Y = input_tensor(0), input_tensor(1)
