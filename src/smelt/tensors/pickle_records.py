"""What a file of torch must look like before torch opens it, so that a small one cannot take the machine's memory.

torch's ``weights_only`` reader runs no foreign code, but it sets no bounds: it inflates compressed records, makes
buffers of any size, and carries out as many steps as a pickle has. What torch itself saves needs none of this.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

from smelt.errors import InputError

_PICKLE_NAME = "data.pkl"
_LARGEST_PICKLE_BYTES = 4_000_000  # a tensor takes about 150
_MOST_STEPS = 500_000  # of the pickle; a tensor takes about 35
_COSTLY = ("__builtin__ bytearray", "builtins bytearray", "_codecs encode")  # a few bytes of text become gigabytes


def check_records(path: Path, where: str) -> None:
    """Check that a file is an archive as torch saves it: uncompressed, with one pickle of tensors and no more.

    Args:
        path: the file.
        where: its name for messages.

    Raises:
        InputError: when it is no such archive, or its pickle is too large or makes what is no tensor.
    """
    try:
        fault = _find_fault(path)
    except Exception as error:  # a broken archive or pickle makes the standard library raise nearly everything
        raise InputError(f"{where}: is damaged, or no file that torch.save has written since torch 1.6") from error
    if fault:
        raise InputError(f"{where}: {fault}; torch.save does not write such files")


def _find_fault(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if any(r.compress_type != zipfile.ZIP_STORED or r.compress_size != r.file_size for r in records):
            return "its records are compressed"
        # Python takes a directory that is not where the archive says it is, and torch does not: they would read
        # different records. torch finds names in any case.
        if min(record.header_offset for record in records) != 0:
            return "it does not begin with its first record"
        pickles = [record for record in records if record.filename.lower().endswith(_PICKLE_NAME)]
        if len(pickles) != 1:
            return f"it holds {len(pickles)} records named {_PICKLE_NAME} and not one"
        if pickles[0].file_size > _LARGEST_PICKLE_BYTES:
            return f"its {_PICKLE_NAME} has more than {_LARGEST_PICKLE_BYTES // 1_000_000} MB"
        return _find_costly_step(archive.read(pickles[0]))


def _find_costly_step(pickle: bytes) -> str | None:
    for number, (code, argument, _) in enumerate(pickletools.genops(pickle)):
        if number >= _MOST_STEPS:
            return f"its pickle has more than {_MOST_STEPS:,} steps"
        if code.name == "GLOBAL" and argument in _COSTLY:
            return f"its pickle calls '{str(argument).split()[1]}'"
    return None
