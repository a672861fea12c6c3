import pytest

from smelt.errors import InputError
from smelt.tensors.quoting import quote


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.norm.weight", "'model.norm.weight'"),
        ("é θ 中", "'é θ 中'"),
        ("C:\\x", "'C:\\x'"),
        ("a\nb\x1b[2J\x00", r"'a\nb\x1b[2J\x00'"),
        ("\u202e\u2028\ud800", r"'\u202e\u2028\ud800'"),
        ("a" * 80, f"'{'a' * 80}'"),
        ("a" * 80 + "z", f"'{'a' * 40}…{'a' * 38}z'"),
    ],
)
def test_a_name_is_shown_on_one_line(name, expected):
    assert quote(name) == expected


def test_a_long_message_keeps_its_place_and_its_end():
    message = str(InputError(f"recipe.yml:3: {'x' * 1_000_000}; did you mean 'y'?"))
    assert len(message) == 600
    assert message.startswith("recipe.yml:3: xxx")
    assert message.endswith("xxx; did you mean 'y'?")
    assert str(InputError("m: \x1b\n")) == r"m: \x1b\n"
