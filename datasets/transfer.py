"""Files from an address: resumed where they were cut off, verified by a checksum before anything reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from seekbench.errors import InputError, MissingError
from seekbench.progress import Progress

_PIECE = 1 << 20


def fetch(url: str, path: Path, checksum: str, *, progress: Progress, offline: bool = False) -> None:
    """Brings a file to `path`; nothing is asked where it is there. checksum: `sha256:…` or `md5:…`.

    Raises MissingError where it can't be had now (what has come is kept, and continued later), InputError where what
    came is not what the checksum says.
    """
    if path.exists():
        return
    if offline:
        raise MissingError(f"{url} was never fetched, and this is offline: run once with the network")
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    _download(url, part, progress)
    kind, _, wanted = checksum.partition(":")
    found = digest(part, kind)
    if found != wanted.lower():
        part.unlink()
        raise InputError(
            f"what came has the {kind} {found}, not {wanted}", where=url,
            remedy="it was changed, or is another file: check the address and the checksum",
        )  # fmt: skip
    part.replace(path)


def size_of(url: str) -> int | None:
    """Bytes of the file at an address; None where the server does not say. Raises MissingError where it is silent."""
    from huggingface_hub.utils._http import get_session

    from seekbench.datasets.formats.hub import first_line, http_error

    try:
        head = get_session().head(url, follow_redirects=True, timeout=30)
        head.raise_for_status()
    except (http_error(), OSError) as error:
        raise MissingError(f"{url} can't be reached: {first_line(error)}") from error
    return int(head.headers["content-length"]) if "content-length" in head.headers else None


def digest(path: Path, kind: str) -> str:
    """Hexadecimal digest of a file. kind: sha256, md5 or sha1."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, kind).hexdigest()


def _download(url: str, part: Path, progress: Progress) -> None:
    """Appends what is missing to `part`, with the hub client's own transfer: it retries, and resumes."""
    from huggingface_hub.file_download import http_get

    from seekbench.datasets.formats.hub import first_line, http_error, quiet_bar

    have = part.stat().st_size if part.exists() else 0
    size = size_of(url)
    try:
        if size is not None and have > size:
            part.unlink()
            have = 0
        with progress.stage("fetch", total=size, unit="bytes", done=have) as stage, part.open("ab") as out:
            if size is None or have < size:
                counted: Any = _Counted(out, stage)
                http_get(url, counted, resume_size=have, expected_size=size, tqdm_class=quiet_bar())
    except (http_error(), OSError, ValueError) as error:
        raise MissingError(
            f"{url} can't be fetched: {first_line(error)} (run again: what has come is kept)"
        ) from error


class _Counted:
    """A file that tells a stage how many bytes are written."""

    def __init__(self, file: Any, stage: Any) -> None:
        self._file, self._stage = file, stage

    def write(self, data: bytes) -> int:
        self._stage.advance(len(data))
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
