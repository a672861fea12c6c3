"""What a file of torch must look like before torch opens it: as ``torch.save`` writes tensors.

torch's ``weights_only`` reader runs no foreign code, but it sets no bounds: it inflates compressed records, makes
buffers and tensors of any size whose numbers are whatever was in memory, and carries out as many steps as a pickle has.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path

from smelt.errors import InputError
from smelt.tensors.quoting import quote

_PICKLE_NAME = "data.pkl"
_LARGEST_PICKLE_BYTES = 4_000_000  # a tensor takes about 150
_MOST_STEPS = 500_000  # of the pickle; a tensor takes about 35
# What ``torch.save`` names to write tensors by name; each takes its numbers from the records of the file.
_TENSORS = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch (Float|Double|Half|BFloat16|Byte|Char|Short|Int|Long|Bool|ComplexFloat|ComplexDouble)Storage"
    r"|torch\.storage UntypedStorage"
    r"|torch (bool|bfloat16|float\d\w*|u?int\d+|complex\d+)"
)


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
        raise InputError(f"{where}: {fault}; only what torch.save writes for plain tensors is read")


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
        return _find_foreign_step(archive.read(pickles[0]))


def _find_foreign_step(pickle: bytes) -> str | None:
    for number, (code, argument, _) in enumerate(pickletools.genops(pickle)):
        if number >= _MOST_STEPS:
            return f"its pickle has more than {_MOST_STEPS:,} steps"
        if code.name == "GLOBAL" and not _TENSORS.fullmatch(str(argument)):
            return f"its pickle names {quote(str(argument))}"
    return None
