"""A checkpoint in a repository of the Hugging Face hub; the only module that knows huggingface_hub.

The cache comes first: a complete snapshot there is used without any network. Otherwise the small files and the
headers of the weights are loaded, which is all that planning needs; ``RemoteFiles.fetch`` loads the weights.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from smelt.errors import InputError, RunError
from smelt.tensors.folder import LocalFiles, beside_weights, open_folder, read_whole
from smelt.tensors.links import check_snapshot
from smelt.tensors.locating import nearest_sibling
from smelt.tensors.platform import Buffer
from smelt.tensors.safetensors import PREFIX_BYTES, Header, measure_header, parse_header
from smelt.tensors.shards import INDEX_NAME, SINGLE_NAME
from smelt.tensors.spec import TensorSpec
from smelt.tensors.weights import WEIGHT_SUFFIXES, find_weights, join_headers

_FIRST_READ_BYTES = 100_000  # holds nearly every header, so that a second request is rare
_CONNECTIONS = 8
_TIMEOUT_SECONDS = 30
_BLOB = re.compile(r"[0-9a-f]{64}")


class RemoteFiles:
    """Weights on the hub whose headers are known, and the small files beside them, which are here."""

    paths: tuple[Path, ...] = ()

    def __init__(
        self, repository: str, commit: str, folder: Path, files: tuple[str, ...], headers: Mapping[str, Header]
    ) -> None:
        self.repository: str | None = repository
        self.commit: str | None = commit
        self.identity: Hashable = ("hub", repository, commit)
        self.files = files
        self._repository = repository
        self._folder = folder
        self._headers = headers
        self.specs: Mapping[str, TensorSpec] = {n: s.spec for h in headers.values() for n, s in h.tensors.items()}

    def read_file(self, name: str) -> bytes:
        """Return the content of one of ``files``."""
        return read_whole(self._folder / name, f"{self._repository}: {name}")

    def read(self, name: str, start_byte: int, buffer: Buffer) -> NoReturn:
        """Refuse: a run fetches the weights first."""
        raise RunError(f"{self._repository}: the weights are still on the hub; call fetch() before reading them")

    def follows(self, name: str, other: str) -> bool:
        """Say no: each is somewhere else."""
        return False

    def fetch(self, progress: bool) -> LocalFiles:
        """Download the weight files that the cache lacks, and return the snapshot in the cache.

        Raises:
            InputError: when the hub refuses or cannot be reached.
        """
        with _explained(self._repository, self.commit), _progress_bars(progress):
            _download(self._repository, self.commit, allow_patterns=[*self._headers])
        check_snapshot(self._folder, self._repository)
        local = open_folder(self._folder, Path(self._repository), self._repository, self.commit)
        if local.specs != self.specs:
            raise RunError(f"{self._repository}@{self.commit}: the downloaded files are not those that were planned")
        return local

    def fingerprint(self) -> dict[str, Any]:
        """Return nothing: the commit says it all."""
        return {}

    def close(self) -> None:
        """Do nothing: no file is open."""


def open_repository(repository: str, revision: str | None) -> LocalFiles | RemoteFiles:
    """Open a model of the hub: its complete snapshot in the cache, else its headers on the hub.

    Args:
        repository: ``org/name`` or ``name``.
        revision: a branch, tag or commit; ``None`` is ``main``.

    Raises:
        InputError: when there is no such model, access is refused, the hub cannot be reached, or the files are
            not sound.
    """
    from huggingface_hub import constants

    with _explained(repository, revision):
        folder = _find_cached(repository, revision)
        if folder is not None:
            return open_folder(folder, Path(_name(repository, revision)), repository, folder.name)
        if not constants.HF_HUB_OFFLINE:
            return _open_remote(repository, revision)
    at = f" --revision {revision}" if revision else ""
    raise InputError(
        f"{_name(repository, revision)}: not (completely) in the cache, and HF_HUB_OFFLINE is set; unset it, "
        f"or run 'hf download {repository}{at}' where there is a network{_local_hint(repository)}"
    )


def load_first(repository: str, revision: str | None, names: Sequence[str]) -> tuple[str, bytes] | None:
    """Return the first of some small files that a repository holds, and its content; ``None`` when it holds none.

    Raises:
        InputError: when the hub refuses or cannot be reached, and the cache has none of them.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    unreached: Exception | None = None
    with _explained(repository, revision), _progress_bars(False):
        for name in names:
            try:
                # Once the hub could not be reached, the cache alone is asked: each further attempt would wait as long.
                cached = unreached is not None
                path = Path(hf_hub_download(repository, name, revision=revision, local_files_only=cached))
            except EntryNotFoundError as error:
                if unreached is None and isinstance(error, LocalEntryNotFoundError):
                    unreached = error
                continue
            check_snapshot(path.parent, _name(repository, revision))
            return name, read_whole(path, f"{repository}: {name}")
        if unreached is not None:
            raise unreached
    return None


def blob_sha256(path: Path) -> str | None:
    """Return the sha256 that the hub gave for the content of a cached file; ``None`` where the cache does not say.

    Args:
        path: the file, links resolved: in a snapshot it is a link to ``blobs/<sha256>``.
    """
    return path.name if path.parent.name == "blobs" and _BLOB.fullmatch(path.name) else None


def _find_cached(repository: str, revision: str | None) -> Path | None:
    """Return the cached snapshot that holds the configuration and all weight files, if there is one."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    check_snapshot(folder, _name(repository, revision))
    names = [path.name for path in folder.iterdir() if path.is_file()]
    if INDEX_NAME not in names and SINGLE_NAME not in names:
        return None
    try:
        find_weights(str(folder), names, lambda name: read_whole(folder / name, f"{repository}: {name}"))
    except InputError:
        return None
    return folder


def _open_remote(repository: str, revision: str | None) -> RemoteFiles:
    from huggingface_hub import HfApi

    with _progress_bars(False):
        # By the revision's name, so that the cache learns which commit it is now, and finds it offline later.
        weights_of_any_kind = [f"*{suffix}" for suffix in WEIGHT_SUFFIXES if not suffix.endswith(".json")]
        folder = _download(repository, revision, ignore_patterns=["*/*", *weights_of_any_kind])
    check_snapshot(folder, _name(repository, revision))
    commit = folder.name
    siblings = HfApi().model_info(repository, revision=commit, files_metadata=True).siblings or []
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in siblings if "/" not in sibling.rfilename}
    where = _name(repository, revision)
    weights = find_weights(where, sorted(sizes), lambda name: read_whole(folder / name, f"{where}: {name}"))
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        found = pool.map(lambda name: _read_header(repository, commit, name, sizes[name]), weights.names)
        headers = dict(zip(weights.names, found, strict=True))
    join_headers(where, weights, headers)
    return RemoteFiles(repository, commit, folder, beside_weights(sorted(sizes)), headers)


def _read_header(repository: str, commit: str, file_name: str, size_bytes: int) -> Header:
    where = f"{repository}: {file_name}"
    start = _read_range(repository, commit, file_name, 0, min(_FIRST_READ_BYTES, size_bytes))
    length = measure_header(start[:PREFIX_BYTES], where, size_bytes)
    end = PREFIX_BYTES + length
    if end > len(start):
        start += _read_range(repository, commit, file_name, len(start), end)
    return parse_header(start[PREFIX_BYTES:end], where, size_bytes)


def _read_range(repository: str, commit: str, file_name: str, start: int, end: int) -> bytes:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    if start >= end:
        return b""
    headers = build_hf_headers()
    headers.update({"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"})
    url = hf_hub_url(repository, file_name, revision=commit)
    response = get_session().get(url, headers=headers, timeout=_TIMEOUT_SECONDS)
    hf_raise_for_status(response)
    content = response.content if response.status_code == 206 else response.content[start:end]
    if len(content) != end - start:
        raise InputError(f"{repository}: {file_name}: the hub sent {len(content)} of {end - start} bytes; try again")
    return bytes(content)


def _download(
    repository: str,
    revision: str | None,
    allow_patterns: list[str] | None = None,
    ignore_patterns: list[str] | None = None,
) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        repository, revision=revision, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
    )
    return Path(folder)


@contextmanager
def _progress_bars(shown: bool) -> Iterator[None]:
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _explained(repository: str, revision: str | None) -> Iterator[None]:
    """Turn what huggingface_hub and the HTTP library below it raise into one line."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The library below is requests, httpx or httpx2; its base class is known from here alone.
    transport: tuple[Any, ...] = (*HfHubHTTPError.__bases__, HFValidationError, OSError)
    try:
        yield
    except transport as error:
        raise InputError(f"{_name(repository, revision)}: {_explain(repository, error)}") from error


def _explain(repository: str, error: BaseException) -> str:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, errors.GatedRepoError):
        return f"gated: accept its licence at {constants.ENDPOINT}/{repository}, then run 'hf auth login'"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub has the model, but no such revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        hint = _local_hint(repository)
        return f"the hub has no such model, or it is private and needs 'hf auth login'{hint}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the hub refuses access (HTTP {status}); run 'hf auth login' with a token that may read it"
    cause = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"HTTP {status} from the hub: {cause}" if status else f"cannot be loaded from the hub: {cause}"


def _local_hint(repository: str) -> str:
    """Say that there is no such folder either; most ids that fail are mistyped paths."""
    hint = nearest_sibling(repository)
    return f"; nor is there such a folder here{hint if hint.startswith(';') else ''}"


def _name(repository: str, revision: str | None) -> str:
    return f"{repository}@{revision}" if revision else repository
