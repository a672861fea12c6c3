"""What is known of a tensor without its data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smelt.tensors.dtypes import DType


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and storage dtype of a tensor; no data."""

    name: str
    shape: tuple[int, ...]
    dtype: DType

    @property
    def elements(self) -> int:
        """How many numbers it holds; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """How many bytes its data take in a file."""
        return self.elements * self.dtype.size_bytes
