import math

import pytest

from smelt.tensors.json_text import MOST_VALUES, check_depth, load_json


def test_a_configuration_may_say_what_a_header_may_not():
    assert load_json('{"a": 1, "a": [Infinity]}') == {"a": [math.inf]}
    with pytest.raises(ValueError, match="'a' stands in it twice"):
        load_json('{"a": 1, "a": 2}', strict=True)
    with pytest.raises(ValueError, match="Infinity is no number of JSON"):
        load_json('{"a": [Infinity]}', strict=True)


def test_pairs_of_surrogates_are_text_and_halves_are_not():
    assert load_json(r'"\ud83d\uDE00"') == "😀"
    for half in (r'"\ud83d"', r'"\uDE00"', r'{"\ud83d": 1}'):
        with pytest.raises(ValueError, match="surrogates not allowed"):
            load_json(half)


def test_the_number_of_values_is_bounded():
    assert len(load_json("[" + "0," * (MOST_VALUES - 2) + "0]")) == MOST_VALUES - 1
    with pytest.raises(ValueError, match="more than 3,000,000 values"):
        load_json("[" + "0," * MOST_VALUES + "0]")


def test_the_depth_is_bounded():
    for text in ("[" * 60 + "1" + "]" * 60, '{"a":' * 60 + "1" + "}" * 60, "1"):
        check_depth(load_json(text))
    for text in ("[" * 61 + "1" + "]" * 61, '{"a":' * 61 + "1" + "}" * 61):
        with pytest.raises(ValueError, match="nested deeper than 60 levels"):
            check_depth(load_json(text))
    with pytest.raises(ValueError, match="nested too deeply"):
        load_json("[" * 1_000_000)
