"""What a model's folder may lead to: links that stay where they belong, and files that are small enough to be read.

In a folder of the user's own, weights may be links to anywhere: people keep them on another disk, and what is no sound
safetensors file is refused. The files beside them may not lead out of the folder, because they are copied into the
output, which gets published: a folder that came from somebody else could hold ``LICENSE`` as a link to a private key.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from smelt.errors import InputError
from smelt.tensors.quoting import quote

MOST_BYTES = 200_000_000  # of a file that is read whole; tokenizers reach 40 MB
# The hub's cache: models--OWNER--NAME/snapshots/COMMIT, whose files are links into models--OWNER--NAME/blobs.
_SNAPSHOT = re.compile(r"models--[^/]+/snapshots/[0-9a-f]{40}")


def check_readable(path: Path, where: str) -> None:
    """Check that a file beside the weights may be read as a whole; one that is not there is left to the reader.

    Args:
        path: the file in its folder.
        where: its name for messages.

    Raises:
        InputError: when it is a link that leads out of its folder (for a snapshot of the hub's cache: elsewhere than
            into its repository's blobs), no file, or larger than 200 MB.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{where}: not a file")
    _check_inside(path, where)
    size_bytes = path.stat().st_size
    if size_bytes > MOST_BYTES:
        raise InputError(
            f"{where}: {size_bytes} bytes; a file beside the weights may have {MOST_BYTES // 1_000_000} MB"
        )


def check_snapshot(folder: Path, where: str) -> None:
    """Check that all files of a snapshot in the hub's cache, weights too, are in it or in its repository's blobs.

    Args:
        folder: the snapshot.
        where: the repository, for messages.

    Raises:
        InputError: naming the first file that is not.
    """
    for name in sorted(os.listdir(folder)):
        _check_inside(folder / name, f"{where}: {quote(name)[1:-1]}")


def _check_inside(path: Path, where: str) -> None:
    if not path.is_symlink():
        return
    folder = Path(os.path.realpath(path.parent))
    homes = [folder]
    if _SNAPSHOT.fullmatch("/".join(folder.parts[-3:])):
        homes.append(folder.parent.parent / "blobs")  # as it stands: blobs that are themselves a link lead elsewhere
    target = Path(os.path.realpath(path))
    if not any(target.is_relative_to(home) for home in homes):
        raise InputError(f"{where}: a link that leads out of its folder; put the file itself there")
