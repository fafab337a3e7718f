"""Zip and tar archives, unpacked safely: what leaves the folder, is a link, or expands absurdly is refused."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from seekbench.errors import InputError, Report, SeekbenchError

#: Endings of names that are read as archives.
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
#: An archive that becomes more than so many times as large, and more than so many bytes, is refused: texts shrink to a
#: fifth or a tenth, and what is smaller does no harm.
MOST_EXPANSION, EXPANSION_FROM = 100, 1 << 27
#: What is unpacked at a time.
_PIECE = 1 << 20


@dataclass(frozen=True)
class _Member:
    """name: as the archive has it; size: bytes, as it says; problem: why it is refused, '' where it is good."""

    name: str
    size: int
    is_folder: bool
    problem: str = ""


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ENDINGS)


def stem(path: Path) -> str:
    """The name without its ending."""
    ending = max((e for e in ENDINGS if path.name.lower().endswith(e)), key=len, default="")
    return path.name[: len(path.name) - len(ending)]


def unpack(archive: Path, folder: Path) -> None:
    """Writes all files of an archive below a folder, which must not exist yet; a single folder at the top stays.

    Raises InputError with every member that is refused, before anything is written, and where the archive is damaged;
    SeekbenchError where the disk has no room.
    """
    try:
        with _opened(archive) as opened:
            members = list(opened.members())
            _check(members, archive)
            needed = sum(m.size for m in members)
            folder.mkdir(parents=True)
            if shutil.disk_usage(folder).free < needed:
                raise SeekbenchError(
                    f"{archive}: {needed / 1e9:.1f} GB are needed in {folder}, which has less"
                )
            for member in members:
                if not member.is_folder:
                    _write(opened.open(member.name), folder / _parts(member.name), member, archive)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, NotImplementedError) as error:
        raise InputError(
            f"can't be unpacked: {error}", where=str(archive), remedy="fetch it again"
        ) from error


def names(archive: Path) -> list[str]:
    """Names of the files in an archive, as it has them. Raises InputError where it is damaged."""
    try:
        with _opened(archive) as opened:
            return [m.name for m in opened.members() if not m.is_folder]
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"can't be read: {error}", where=str(archive), remedy="fetch it again") from error


def _check(members: list[_Member], archive: Path) -> None:
    report = Report()
    for member in members:
        if member.problem:
            report.error("archive", f"member '{member.name}' {member.problem}", where=str(archive))
    seen: dict[str, str] = {}
    for member in members:
        known = seen.setdefault(str(_parts(member.name)).casefold(), member.name)
        if known != member.name and not member.is_folder:
            report.error("archive", f"members '{known}' and '{member.name}' are one file", where=str(archive))
    total = sum(m.size for m in members)
    if total > max(EXPANSION_FROM, MOST_EXPANSION * archive.stat().st_size):
        report.error(
            "archive", f"{archive.stat().st_size:,} bytes would become {total:,}", where=str(archive),
            remedy="no collection shrinks so well: is it one?",
        )  # fmt: skip
    report.raise_if_errors()


def _write(source: IO[bytes], path: Path, member: _Member, archive: Path) -> None:
    """Not more than the archive said, whatever is inside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    with source, path.open("xb") as out:
        while piece := source.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise InputError(
                    f"member '{member.name}' is larger than the {member.size:,} bytes that it claims",
                    where=str(archive),
                )
            out.write(piece)


def _problem(name: str) -> str:
    """Why a member of this name is refused."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or (len(name) > 1 and name[1] == ":"):
        return "has an absolute path"
    if ".." in parts.parts:
        return "leaves the folder"
    if "\0" in name or not parts.parts:
        return "has no usable name"
    return ""


def _parts(name: str) -> Path:
    return Path(*PurePosixPath(name.replace("\\", "/")).parts)


class _Zip:
    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path)

    def __enter__(self) -> _Zip:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def members(self) -> Iterator[_Member]:
        for info in self._file.infolist():
            problem = _problem(info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & 1:
                problem = "is encrypted"
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                problem = "is a link or a device"
            yield _Member(info.filename, info.file_size, info.is_dir(), problem)

    def open(self, name: str) -> IO[bytes]:
        return self._file.open(name)


class _Tar:
    def __init__(self, path: Path) -> None:
        with ExitStack() as stack:
            if path.name.lower().endswith(".zst"):
                import tempfile

                import zstandard

                # tarfile wants to go back and forth.
                raw = stack.enter_context(tempfile.TemporaryFile())
                with path.open("rb") as handle:
                    zstandard.ZstdDecompressor().copy_stream(handle, raw)
                raw.seek(0)
                self._file = stack.enter_context(tarfile.open(fileobj=raw))
            else:
                self._file = stack.enter_context(tarfile.open(path))
            self._open = stack.pop_all()

    def __enter__(self) -> _Tar:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def members(self) -> Iterator[_Member]:
        for info in self._file:
            if info.isdir() and not PurePosixPath(info.name).parts:
                continue  # `.`, which `tar -c .` begins with
            problem = _problem(info.name)
            if not problem and not (info.isreg() or info.isdir()):
                problem = "is a link or a device"
            yield _Member(info.name, info.size, info.isdir(), problem)

    def open(self, name: str) -> IO[bytes]:
        found = self._file.extractfile(name)
        if found is None:
            raise tarfile.TarError(f"{name} is no file")
        return found


def _opened(path: Path) -> _Zip | _Tar:
    return _Zip(path) if path.name.lower().endswith(".zip") else _Tar(path)


def collection_of(folder: Path) -> Path:
    """The folder that holds the files: itself, or the only folder in it (BEIR's `scifact/corpus.jsonl`)."""
    names = [entry for entry in os.scandir(folder) if not entry.name.startswith((".", "__MACOSX"))]
    if len(names) == 1 and names[0].is_dir():
        return collection_of(Path(names[0].path))
    return folder
