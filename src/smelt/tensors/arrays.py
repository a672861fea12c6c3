"""A checkpoint in memory: a mapping of names to arrays of NumPy, or of any library that speaks DLPack."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smelt.errors import InputError
from smelt.tensors.dtypes import dtype_of_array
from smelt.tensors.platform import Buffer
from smelt.tensors.spec import TensorSpec


class Arrays:
    """Weights in memory. Arrays are used where they are; only those with gaps or foreign byte order are copied."""

    files: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    repository: str | None = None
    commit: str | None = None

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.identity: Hashable = ("memory", id(arrays))
        self.specs: dict[str, TensorSpec] = {}
        self._bytes: dict[str, np.ndarray] = {}
        for name, value in arrays.items():
            if not isinstance(name, str):
                raise InputError(f"arrays in memory: the name of a tensor must be text, not {name!r}")
            array = _to_numpy(name, value)
            try:
                dtype = dtype_of_array(array.dtype)
            except InputError as error:
                raise InputError(f"arrays in memory: tensor {name!r}: {error}") from error
            self.specs[name] = TensorSpec(name, array.shape, dtype)
            self._bytes[name] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def read_file(self, name: str) -> bytes:
        """Never called: there are no files."""
        raise KeyError(name)

    def read(self, name: str, start_byte: int, buffer: Buffer) -> None:
        """Fill ``buffer`` from the tensor's bytes from ``start_byte`` on."""
        view = np.frombuffer(buffer, np.uint8)
        view[:] = self._bytes[name][start_byte : start_byte + view.size]

    def follows(self, name: str, other: str) -> bool:
        """Say no: each is somewhere else."""
        return False

    def fetch(self, progress: bool) -> Arrays:
        """Return itself: everything is here."""
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Return nothing: there are no files."""
        return {}

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _to_numpy(name: str, value: Any) -> np.ndarray:
    torch = sys.modules.get("torch")  # whoever made a tensor has imported it
    try:
        if torch is not None and isinstance(value, torch.Tensor):
            array = _torch_to_numpy(torch, value)
        elif isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
        elif hasattr(value, "__dlpack__") or hasattr(value, "__array__"):
            array = _foreign_to_numpy(value)
        else:
            raise TypeError(f"{type(value).__name__} is not an array")
    except (TypeError, ValueError, RuntimeError, BufferError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"arrays in memory: tensor {name!r}: {reason}; allowed: NumPy arrays, torch tensors with data, DLPack"
        ) from error
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _torch_to_numpy(torch: Any, tensor: Any) -> np.ndarray:
    # NumPy's DLPack knows neither bfloat16 nor float8, and refuses tensors that want gradients; bytes always pass.
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return np.asarray(flat.view(np.dtype(str(tensor.dtype).removeprefix("torch."))).reshape(tuple(tensor.shape)))


def _foreign_to_numpy(value: Any) -> np.ndarray:
    if hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (TypeError, ValueError, RuntimeError, BufferError):
            if not hasattr(value, "__array__"):
                raise
    return np.asarray(value)
