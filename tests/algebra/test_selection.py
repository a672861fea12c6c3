"""Selection against a stable sort, on data that take each of its ways to the answer."""

import ml_dtypes
import numpy as np
import pytest
from evaluating import Evaluation, X, models

from smelt.algebra.expressions import slot, slots
from smelt.algebra.grid import BLOCK
from smelt.algebra.selection import Count, Selection, magnitude_keys
from smelt.algebra.vocabulary import keep_largest, kth_largest, selected, where

SIZE = 3 * BLOCK + 5


@pytest.fixture
def counted(monkeypatch):
    """How often keys were counted digit by digit."""
    calls = []
    original = Selection._count_digits

    def spy(self, count, keys):
        calls.append(len(keys))
        original(self, count, keys)

    monkeypatch.setattr(Selection, "_count_digits", spy)
    return calls


def expected_mask(x, count):
    magnitude = np.abs(x.reshape(-1).astype(np.float64))
    order = np.argsort(-np.where(np.isnan(magnitude), np.inf, magnitude), kind="stable")
    nan = np.isnan(magnitude)[order]
    order = np.concatenate([order[nan], order[~nan]])
    mask = np.zeros(x.size, bool)
    mask[order[:count]] = True
    return mask.reshape(x.shape)


def evaluation(x, count, **options):
    root = where(selected(X, kth_largest(X, slot(0))), 1.0, 0.0 * X)
    options.setdefault("precision", x.dtype)
    return Evaluation(root, [x], slots=[count], tile=1 << 15, **options)


def check(x, count, **options):
    run = evaluation(x, count, **options)
    np.testing.assert_array_equal(run.tensor() == 1, expected_mask(x, count))
    return run.passes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 5, 1000, BLOCK])
def test_a_tensor_of_one_block(dtype, size):
    x = np.random.default_rng(size).standard_normal(size).astype(dtype)
    for count in {0: 0, 1: 1, size // 3: 0, size - 1: 0, size: 0}:
        assert check(x, count) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, SIZE // 5, SIZE - 1, SIZE])
def test_several_blocks_take_one_pass(counted, dtype, count):
    x = np.random.default_rng(1).standard_normal(SIZE).astype(dtype)
    passes = check(x, count)
    assert passes == (0 if count in (0, SIZE) else 1)
    assert not counted


@pytest.mark.parametrize("shape", [(BLOCK + 1, 1), (4, 200_003), (2, BLOCK + 3)], ids=str)
def test_blocks_of_rows_and_of_pieces(shape):
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    assert check(x, x.size // 3) == 1


def test_blocks_may_be_measured_in_any_order():
    x = np.random.default_rng(3).integers(-9, 9, SIZE).astype(np.float32)
    for order in (lambda blocks: blocks[::-1], lambda blocks: [2, 0, 3, 1]):
        check(x, SIZE // 7, order=order)


def test_differences_in_bfloat16_tie_heavily(counted):
    rng = np.random.default_rng(4)
    base = (0.02 * rng.standard_normal(SIZE)).astype(ml_dtypes.bfloat16)
    tuned = (base.astype(np.float32) + 1e-4 * rng.standard_normal(SIZE)).astype(ml_dtypes.bfloat16)
    delta = tuned.astype(np.float32) - base.astype(np.float32)
    for density in (0.1, 0.2, 0.5, 0.9):
        count = int(density * SIZE)
        threshold = np.sort(np.abs(delta))[-count]
        assert np.mean(np.abs(delta) == threshold) > 0.01
        check(delta, count)
    assert not counted


@pytest.mark.parametrize("value", [0.0, -3.5, np.inf, np.nan])
def test_constants_are_kept_from_the_front(value):
    x = np.full(SIZE, value, np.float32)
    x[::2] *= -1
    for count in (1, BLOCK, BLOCK + 1, SIZE - 1):
        check(x, count)


@pytest.mark.parametrize("share", [0.001, 0.4, 0.999])
def test_one_value_at_the_threshold_in_every_block(share):
    rng = np.random.default_rng(5)
    x = rng.choice(np.float32([0, 1, -1, 2, -2, 7]), SIZE, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
    check(x, int(share * SIZE))


def test_nan_ranks_above_infinity_whatever_its_sign_and_payload():
    x = np.random.default_rng(6).standard_normal(SIZE).astype(np.float32)
    x[[5, BLOCK + 1]] = [np.inf, -np.inf]
    bits = x.view(np.uint32)
    bits[[7, 2 * BLOCK, 2 * BLOCK + 9]] = [0x7FC00000, 0xFF800001, 0xFFFFFFFF]
    with np.errstate(invalid="ignore"):
        for count in (1, 2, 3, 5, 6):
            check(x, count)
            check(x[:BLOCK].copy(), count)


def hidden_from_the_sample(rng, size):
    """Small values, but for large ones everywhere that the sample of 128 runs of 1024 does not look."""
    x = rng.uniform(10, 20, size).astype(np.float32)
    for run in range(128):
        start = run * (size - 1024) // 127
        x[start : start + 1024] = rng.uniform(0, 1, 1024)
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_sample_that_misses_falls_back_to_counting(counted, dtype, share):
    x = hidden_from_the_sample(np.random.default_rng(7), SIZE).astype(dtype)
    # One pass for the bracket, one for every 16 bits, one to find the cut.
    assert check(x, int(share * SIZE)) == 2 + x.itemsize * 8 // 16
    assert counted


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_fallback_stops_at_a_digit_that_holds_exactly_what_is_missing(counted, dtype):
    x = hidden_from_the_sample(np.random.default_rng(15), SIZE).astype(dtype)
    large = np.count_nonzero(x > 5)
    for count in (large - 1, large, large + 1):
        check(x, count)
    assert counted


def test_the_fallback_cuts_ties_at_the_lowest_index(counted):
    x = hidden_from_the_sample(np.random.default_rng(8), SIZE)
    x = np.where(x > 5, np.round(x), x)  # the large ones are eleven values
    check(x, int(0.5 * SIZE))
    assert counted


def test_the_fallback_knows_nan(counted):
    x = hidden_from_the_sample(np.random.default_rng(9), SIZE)
    x[x > 15] = np.nan
    check(x, int(0.2 * SIZE))
    check(x, int(0.6 * SIZE))
    assert counted


def test_a_bracket_that_holds_too_much_falls_back(counted):
    # Runs differ so much that the bracket is wide, and much of the tensor lies in it.
    rng = np.random.default_rng(10)
    x = np.concatenate([rng.uniform(9, 10, BLOCK), rng.uniform(0, 1, BLOCK * 6), rng.uniform(4, 5, BLOCK * 5)])
    x = x.astype(np.float32)
    check(x, BLOCK * 3 + BLOCK // 4)
    assert counted


def test_rows_of_unlike_scale():
    rng = np.random.default_rng(11)
    x = (rng.standard_normal((900, 1000)) * np.exp(4 * rng.standard_normal((900, 1)))).astype(np.float32)
    for share in (0.01, 0.3, 0.8):
        check(x, int(share * x.size))


def test_a_short_last_block_does_not_overflow(counted):
    x = np.random.default_rng(12).standard_normal(BLOCK + 3).astype(np.float32)
    x[-3:] = np.sort(np.abs(x))[BLOCK // 2 - 1 : BLOCK // 2 + 2]  # right at the threshold
    assert check(x, BLOCK // 2) == 1
    assert not counted


def test_every_model_has_its_own_count_and_threshold():
    rng = np.random.default_rng(13)
    stacked = [rng.standard_normal((3, 100_001)).astype(np.float32) * scale for scale in (1, 100, 1)]
    stacked[2] = hidden_from_the_sample(rng, 300_003).reshape(3, -1)  # falls back while the others are done
    densities = [0.3, 0.0, 0.5]
    root = keep_largest(models(3), slots(0, 3))
    result = Evaluation(root, stacked, slots=densities, tile=1 << 15).tensor()
    for kept, x, density in zip(result, stacked, densities, strict=True):
        mask = expected_mask(x, int(density * x.size))
        np.testing.assert_array_equal(kept, np.where(mask, x, 0))


@pytest.mark.parametrize(("count", "kept"), [(-3, 0), (2.9, 2), (1e30, 10), (np.inf, 10), (np.nan, 0), (-np.inf, 0)])
def test_counts_are_rounded_down_and_clipped(count, kept):
    x = np.arange(10, dtype=np.float32)
    assert evaluation(x, count).tensor().sum() == kept


@pytest.mark.parametrize("density", [0.0, 0.29, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("size", [1, 10, 100, 2000])
def test_keep_largest_keeps_the_floor_of_its_share(density, size):
    x = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    result = Evaluation(keep_largest(X, slot(0)), [x], slots=[density]).tensor()
    assert np.count_nonzero(result) == int(density * size)


def test_the_threshold_may_be_asked_of_a_computed_expression():
    rng = np.random.default_rng(14)
    a, b = (rng.standard_normal(SIZE).astype(np.float32) for _ in range(2))
    m = models(2)
    kept = Evaluation(keep_largest(m[0] - m[1], 0.25), [a, b], tile=1 << 15).tensor()
    np.testing.assert_array_equal(kept, np.where(expected_mask(a - b, SIZE // 4), a - b, 0))


def test_keys_order_like_magnitudes():
    x = np.float32([0, -0.0, 1e-45, -1e-40, 1, -1.5, 3e38, -np.inf, np.nan])
    keys = magnitude_keys(x)
    assert keys[0] == keys[1] == 0
    assert np.ptp(magnitude_keys(np.uint32([0x7FC00000, 0x7F800001, 0xFFFFFFFF]).view(np.float32))) == 0
    assert (np.diff(keys[1:].astype(np.int64)) > 0).all()
    assert (np.diff(magnitude_keys(x.astype(np.float64))[1:].astype(np.int64)) > 0).all()


@pytest.mark.parametrize("count", [np.nan, -np.inf, -3.0])
def test_a_count_that_is_none_keeps_nothing(count):
    search = Selection(100, count, 32)
    search.answer_trivial()
    assert search.answer == (0x7FFFFFFF, 0)


def test_a_count_beyond_the_size_keeps_everything():
    search = Selection(100, np.inf, 32)
    search.answer_trivial()
    assert search.answer == (0, 100)


def test_short_reads_make_no_more_pieces_than_long_ones():
    x = np.random.default_rng(16).standard_normal(BLOCK).astype(np.float32)
    search, count = Selection(BLOCK, BLOCK // 3, 32), Count()
    search.set_bracket(x[: 1 << 14])
    for start in range(0, BLOCK, 256):
        search.measure(count, x[start : start + 256], start)
    assert len(count.parts) == 4  # of 2^16 elements
    search.conclude([count])
    start, stop = search.wanted
    search.finish(x[start:stop])
    threshold, cut = search.answer
    keys = magnitude_keys(x)
    assert np.count_nonzero(keys > threshold) + np.count_nonzero(keys[:cut] == threshold) == BLOCK // 3
