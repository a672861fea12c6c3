import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import torch

from smelt.errors import InputError
from smelt.tensors.arrays import Arrays
from smelt.tensors.dtypes import DTYPES


def read(arrays, name):
    buffer = np.zeros(arrays.specs[name].size_bytes, np.uint8)
    arrays.read(name, 0, buffer)
    return buffer.tobytes()


def test_numpy_arrays_of_every_dtype():
    given = {d.name: np.arange(6).astype(d.array).reshape(2, 3) for d in DTYPES}
    given.update(scalar=np.float32(3), empty=np.zeros((0, 2), ml_dtypes.bfloat16), zero_d=np.array(2.0))
    arrays = Arrays(given)
    assert list(arrays.specs) == list(given)
    for name, array in given.items():
        assert arrays.specs[name].shape == array.shape
        assert arrays.specs[name].dtype.array == array.dtype
        assert read(arrays, name) == array.tobytes()


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "int64", "uint8", "bool"]
)
def test_torch_tensors_of_every_dtype(dtype):
    tensor = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    given = {"t": tensor, "transposed": tensor.T, "scalar": tensor[0, 1], "empty": tensor[:0]}
    arrays = Arrays(given)
    assert {n: s.shape for n, s in arrays.specs.items()} == {n: tuple(t.shape) for n, t in given.items()}
    assert arrays.specs["t"].dtype.recipe_name == dtype
    expected = np.array([[0, 1, 2], [3, 4, 5]]).astype(arrays.specs["t"].dtype.array)
    assert read(arrays, "t") == expected.tobytes()
    assert read(arrays, "transposed") == expected.T.tobytes()
    assert read(arrays, "scalar") == expected[0, 1].tobytes()


def test_a_parameter_that_wants_gradients_is_read():
    assert read(Arrays({"p": torch.nn.Parameter(torch.ones(2))}), "p") == np.ones(2, np.float32).tobytes()


def test_sound_arrays_are_not_copied():
    array, tensor = np.zeros(3, np.float32), torch.zeros(3, dtype=torch.bfloat16)
    arrays = Arrays({"a": array, "t": tensor})
    array[1] = 1
    tensor[1] = 1
    assert read(arrays, "a") == array.tobytes()
    assert read(arrays, "t") == np.array([0, 1, 0], ml_dtypes.bfloat16).tobytes()


def test_gaps_and_foreign_byte_order_are_removed():
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    arrays = Arrays({"gap": grid[:, ::2], "big": grid.astype(">f4"), "backwards": grid[::-1]})
    assert read(arrays, "gap") == np.array([0, 2, 4, 6, 8, 10], np.float32).tobytes()
    assert read(arrays, "big") == grid.tobytes()
    assert arrays.specs["big"].dtype.name == "F32"
    assert read(arrays, "backwards") == grid[::-1].tobytes()


def test_a_part_is_read():
    arrays = Arrays({"a": np.arange(5, dtype=np.uint8)})
    buffer = np.zeros(2, np.uint8)
    arrays.read("a", 2, buffer)
    assert buffer.tolist() == [2, 3]
    view = bytearray(1)
    arrays.read("a", 4, view)
    assert view == b"\4"


class Foreign:
    """An array of another library: DLPack alone, ``__array__`` alone, or a DLPack that NumPy cannot take."""

    def __init__(self, array, speaks):
        self.array, self.speaks = array, speaks
        if "array" in speaks:
            self.__class__ = type("ForeignArray", (Foreign,), {"__array__": lambda s, *a, **k: s.array})

    def __dlpack__(self, **kwargs):
        if "dlpack" not in self.speaks:
            raise BufferError("no such thing")
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_other_libraries_give_dlpack_or_an_array():
    ones = np.ones(2, np.float32)
    bf16 = np.ones(2, ml_dtypes.bfloat16)
    arrays = Arrays({"d": Foreign(ones, ["dlpack"]), "a": Foreign(bf16, ["array"])})
    assert read(arrays, "d") == ones.tobytes()
    assert arrays.specs["a"].dtype.name == "BF16"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0], "list is not an array"),
        (np.zeros(2, complex), "complex128"),
        (np.array(["a"]), "cannot be stored"),
        (np.array([None]), "object"),
        (torch.zeros(2, device="meta"), "meta"),
        (torch.zeros(2, dtype=torch.complex64), "complex64"),
        (torch.zeros(2).to_sparse(), "allowed: NumPy arrays"),
        (Foreign(np.ones(2), []), "no such thing"),
    ],
)
def test_what_is_no_array_with_data_is_refused_by_name(value, message):
    with pytest.raises(InputError, match=f"^arrays in memory: tensor 'x': .*{message}") as caught:
        Arrays({"x": value})
    assert "\n" not in str(caught.value)


def test_names_must_be_text():
    with pytest.raises(InputError, match="must be text, not 3"):
        Arrays({3: np.zeros(1)})


def test_torch_is_not_imported():
    code = "import sys, smelt.tensors.checkpoint; sys.exit(any(m in sys.modules for m in ('torch', 'huggingface_hub')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
