"""What a format module gives: a `Source`, which says what its content depends on and feeds a Builder.

The protocol is all that the rest of the toolkit knows of file formats, so a new format is one module with
one class, and a line in `formats/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from seekbench.progress import Progress

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder


class Source(Protocol):
    """A test collection where it comes from. Making one touches no network and reads no file's content."""

    #: Modules whose code decides the content (besides the builder's): part of the cache key.
    modules: ClassVar[tuple[str, ...]]

    @property
    def subject(self) -> str:
        """What a user calls it: the folder's path, the hub repository, a generator's name."""

    @property
    def folder(self) -> Path | None:
        """The folder that files are named from (see `file_name`); None where there are no files."""

    def files(self) -> Sequence[Path]:
        """Local files that the content depends on; their bytes are part of the cache key. Raises InputError
        (with a report) where the collection's parts can't be found. Empty where `identity` says it all."""

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        """JSON facts that fix the content besides the files: a pinned revision, a generator's parameters, which
        file has which role. Asked before and after reading, so that a change in between is seen. Raises
        MissingError where a revision can't be resolved now."""

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        """Feeds every document, query and judgment to the builder, each with its file and line; defects of
        the files themselves go to `builder.report`, and reading goes on where that makes sense."""


def file_name(path: Path, folder: Path | None) -> str:
    """What a file is called in a cache key: its path below the folder, or its absolute path if it is outside.

    Two files never have one name, however their folders are called.
    """
    whole = path.absolute()
    if folder is not None and whole.is_relative_to(folder.absolute()):
        below = whole.relative_to(folder.absolute())
        if ".." not in below.parts:
            return below.as_posix()
    return whole.as_posix()
