"""Every function is held against mpmath with 50 digits; the errors are counted in units of the last place."""

import inspect
import warnings

import mpmath
import numpy as np
import pytest

from smelt.algebra import elementary

NAMES = ["exp", "log", "sin", "cos", "acos", "tanh"]
# What the docstrings promise.
LIMIT = {"exp": 1.0, "log": 2.0, "sin": 1.0, "cos": 1.0, "acos": 2.0, "tanh": 2.0}
QUARTER = float(mpmath.pi / 2)


@pytest.fixture(autouse=True)
def _silence_is_expected():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def spread(low, high, count, seed):
    return np.random.default_rng(seed).uniform(low, high, count)


def around(points):
    points = np.asarray(points, np.float64)
    return np.concatenate([points, np.nextafter(points, np.inf), np.nextafter(points, -np.inf)])


def magnitudes(low, high, count, seed):
    """Evenly spread over the exponents of two from ``low`` to ``high``."""
    values = np.ldexp(
        spread(1, 2, count, seed), np.random.default_rng(seed).integers(low, high, count).astype(np.int32)
    )
    return values[np.isfinite(values)]


def signed(values):
    return np.concatenate([values, -values])


def hard_points(name, count):
    """Where rounding is hardest: borders between branches, cancellations, the ends of the range."""
    halves = np.arange(-1074, 1024) * float(mpmath.log(2)) + float(mpmath.log(2)) / 2
    turns = np.unique(np.rint(2 ** spread(0, 19.3, count, 3))) * QUARTER
    ends = np.ldexp(1.0, -np.arange(1, 54, dtype=np.int32))
    return {
        "exp": np.concatenate([around(halves[::7]), around([-708.3964185322641, -745.13, 0, 1])]),
        "log": np.concatenate([1 + signed(ends[:-1]), magnitudes(-1074, -1020, 200, 1), around([0.5**0.5, 2**0.5])]),
        "sin": np.concatenate([around(signed(turns)), signed(magnitudes(-1074, -1, 200, 2)), [2.0**20, -(2.0**20)]]),
        "cos": np.concatenate([around(signed(turns)), signed(magnitudes(-1074, -1, 200, 2)), [2.0**20, -(2.0**20)]]),
        "acos": np.concatenate([signed(1 - ends), signed(magnitudes(-1074, -1, 200, 4)), around([0.5, -0.5])]),
        "tanh": np.concatenate([signed(magnitudes(-1074, 4, 400, 5)), around([0.75, -0.75, 19.06, 22])]),
    }[name]


def dense_points(name, count):
    ranges = {
        "exp": [(-745, 709.7), (-1, 1)],
        "log": [(0, 3), (0.5, 2)],
        "sin": [(-(2.0**20), 2.0**20), (-4, 4)],
        "cos": [(-(2.0**20), 2.0**20), (-4, 4)],
        "acos": [(-1, 1), (0.9, 1)],
        "tanh": [(-20, 20), (-1, 1)],
    }[name]
    return np.concatenate([spread(low, high, count // 2, seed) for seed, (low, high) in enumerate(ranges)])


def worst_error(name, points):
    """Return the largest error in units of the last place of the exact value, and where it is."""
    with mpmath.workdps(50):
        worst = (0.0, 0.0)
        for x, y in zip(points.tolist(), getattr(elementary, name)(points).tolist(), strict=True):
            exact = getattr(mpmath, name)(mpmath.mpf(x))
            place = mpmath.mpf(2) ** max(mpmath.frexp(exact)[1] - 53, -1074) if exact else mpmath.mpf(2) ** -1074
            worst = max(worst, (float(abs(mpmath.mpf(y) - exact) / place), x))
    return worst


@pytest.mark.parametrize("name", NAMES)
def test_error_is_within_the_stated_units_of_the_last_place(name):
    points = np.concatenate([hard_points(name, 300), dense_points(name, 6_000)])
    error, where = worst_error(name, points)
    assert error <= LIMIT[name], (error, where)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_error_is_within_the_stated_units_at_many_points(name):
    points = np.concatenate([hard_points(name, 20_000), dense_points(name, 200_000)])
    error, where = worst_error(name, points)
    assert error <= LIMIT[name], (error, where)


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_states_the_limit(name):
    assert f"to within {LIMIT[name]:.0f} ulp" in inspect.getdoc(getattr(elementary, name))


def test_reduction_at_the_float64_nearest_to_a_multiple_of_a_quarter_turn():
    with mpmath.workdps(50):
        turns = np.arange(1, 660_000, 331)
        points = np.array([float(int(k) * mpmath.pi / 2) for k in turns])
    for name in ("sin", "cos"):
        assert worst_error(name, points)[0] <= LIMIT[name]


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", 0.0, 1.0),
        ("exp", -0.0, 1.0),
        ("exp", np.inf, np.inf),
        ("exp", -np.inf, 0.0),
        ("exp", 709.782712893384, 1.7976931348622732e308),
        ("exp", 709.7827128933841, np.inf),
        ("exp", -745.1332191019411, 5e-324),
        ("exp", -745.1332191019412, 0.0),
        ("exp", 5e-324, 1.0),
        ("exp", 1e308, np.inf),
        ("exp", -1e308, 0.0),
        ("log", 1.0, 0.0),
        ("log", 0.0, -np.inf),
        ("log", -0.0, -np.inf),
        ("log", np.inf, np.inf),
        ("log", -1.0, np.nan),
        ("log", -5e-324, np.nan),
        ("log", -np.inf, np.nan),
        ("log", 5e-324, -744.4400719213812),
        ("sin", 0.0, 0.0),
        ("sin", -0.0, -0.0),
        ("sin", 5e-324, 5e-324),
        ("sin", -5e-324, -5e-324),
        ("sin", np.inf, np.nan),
        ("sin", -np.inf, np.nan),
        ("sin", 1048577.0, np.nan),
        ("sin", 1e300, np.nan),
        ("sin", QUARTER, 1.0),
        ("sin", -QUARTER, -1.0),
        ("cos", 0.0, 1.0),
        ("cos", -0.0, 1.0),
        ("cos", 5e-324, 1.0),
        ("cos", np.inf, np.nan),
        ("cos", 1e300, np.nan),
        ("cos", 2 * QUARTER, -1.0),
        ("acos", 1.0, 0.0),
        ("acos", -1.0, 3.141592653589793),
        ("acos", 0.0, 1.5707963267948966),
        ("acos", -0.0, 1.5707963267948966),
        ("acos", 5e-324, 1.5707963267948966),
        ("acos", 1.0000000000000002, np.nan),
        ("acos", -1.0000000000000002, np.nan),
        ("acos", np.inf, np.nan),
        ("acos", -np.inf, np.nan),
        ("tanh", 0.0, 0.0),
        ("tanh", -0.0, -0.0),
        ("tanh", 5e-324, 5e-324),
        ("tanh", np.inf, 1.0),
        ("tanh", -np.inf, -1.0),
        ("tanh", 1e308, 1.0),
        *[(name, np.nan, np.nan) for name in NAMES],
    ],
)
def test_special_values(name, x, expected):
    function = getattr(elementary, name)
    for result in (function(x), function(np.array([x]))[0]):
        np.testing.assert_equal(result, expected)
        assert np.isnan(expected) or np.signbit(result) == np.signbit(expected)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_and_arrays_of_any_shape_give_the_same_bits(name):
    points = dense_points(name, 60)
    function = getattr(elementary, name)
    whole = function(points)
    np.testing.assert_array_equal(function(points.reshape(3, 4, 5)), whole.reshape(3, 4, 5))
    np.testing.assert_array_equal(function(points[::2]), whole[::2])
    for x, expected in zip(points, whole, strict=True):
        for number in (x, float(x)):
            result = function(number)
            assert isinstance(result, float)
            assert result == expected
    assert function(np.float32(0.5)).dtype == np.float64
    assert function(1) == function(1.0)
