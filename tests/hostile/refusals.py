"""Models and recipes for hostile input, and what every refusal has in common."""

import json
from pathlib import Path

import pytest

import smelt
import tiny
from smelt.errors import InputError

RECIPE = """\
merge_method: linear
models:
  - model: a
    parameters: {weight: 0.5}
  - model: b
    parameters: {weight: 0.5}
"""
LONGEST_MESSAGE = 700  # characters


def write_models(folder):
    """Write two models that ``RECIPE`` merges."""
    for seed, name in enumerate("ab"):
        tiny.save_llama(Path(folder) / name, seed)


def write_weights(path, table, data=b""):
    """Write a safetensors file with any header: bytes as they are, anything else as JSON."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + data)


def check_message(error):
    """Check that an error can be shown as one short line, whatever the input held."""
    message = str(error)
    assert message.isprintable(), message
    assert 0 < len(message) <= LONGEST_MESSAGE, message


def refuse(recipe=RECIPE):
    """Plan a recipe that must be refused, and return the line that says why."""
    with pytest.raises(InputError) as caught:
        smelt.plan(recipe)
    check_message(caught.value)
    return str(caught.value)
