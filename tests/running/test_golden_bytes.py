"""Small merges give the bytes that they gave before, on every machine."""

import json

import pytest

import golden
from released import released_methods
from smelt.algebra.declare import catalogue

EXPECTED = json.loads(golden.DIGESTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", golden.MERGES)
def test_a_small_merge_gives_the_same_bytes(here, name):
    found = {f"{name} as {dtype}": golden.merge_digest(name, dtype) for dtype in golden.OUT_DTYPES}
    assert found == {key: EXPECTED.get(key) for key in found}, golden.REFRESH


def test_every_method_that_is_exact_everywhere_has_a_golden_merge():
    methods = [name for name in released_methods() if catalogue()[name].exact == "everywhere"]
    assert sorted({name.partition("-")[0] for name in golden.MERGES}) == methods
    assert len(EXPECTED) == len(golden.MERGES) * len(golden.OUT_DTYPES)
