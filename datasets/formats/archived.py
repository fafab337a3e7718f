"""A collection's folder in an archive, of this machine or fetched from an address with a checksum."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from seekbench import archives
from seekbench.datasets.formats import beir, trec
from seekbench.errors import InputError
from seekbench.progress import Progress
from seekbench.store import default_root

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder

_SPLIT = re.compile(r"(?:^|/)qrels/([^/]+?)\.(?:tsv|parquet|jsonl)(?:\.gz|\.zst)?$")


class Archived:
    """A .zip or .tar file that holds a BEIR folder or a TREC collection, as they are published.

    It is unpacked beside the collection that is made of it, and removed then.
    """

    modules: ClassVar[tuple[str, ...]] = (
        "seekbench.datasets.formats.archived", "seekbench.archives", *beir.MODULES, *trec.Trec.modules,
    )  # fmt: skip

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def subject(self) -> str:
        return str(self.path)

    @property
    def folder(self) -> Path:
        return self.path.parent

    def files(self) -> Sequence[Path]:
        if not self.path.is_file():
            raise InputError("there is no such file", where=self.subject)
        return [self.path]

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        return {"format": "archive"}

    def splits(self) -> list[str]:
        """Names of the splits of a BEIR folder, by the names of its files."""
        found = (_SPLIT.search(name.replace("\\", "/")) for name in archives.names(self.path))
        return sorted({match[1] for match in found if match})

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        from seekbench.datasets.resolve import sniff

        with tempfile.TemporaryDirectory(prefix="unpacked-", dir=builder.folder) as name:
            top = Path(name) / "files"
            with progress.stage("unpack", total=1, unit="archive") as stage:
                archives.unpack(self.path, top)
                stage.advance(1)
            folder = archives.collection_of(top)
            try:
                kind = sniff(folder)
            except InputError as error:
                (problem,) = error.report.problems
                raise InputError(
                    problem.message.replace(str(folder), "it"), where=self.subject, remedy=problem.remedy
                ) from None
            builder.report.called[str(top)] = str(self.path)
            source = beir.Beir(folder) if kind == "beir" else trec.Trec(folder)
            source.read(builder, progress=progress, offline=offline)


class Download(Archived):
    """An archive at an address, verified by its checksum. It is kept in the store's folder `downloads`.

    checksum: `sha256:…` or `md5:…`. A download that was cut off continues.
    """

    def __init__(self, url: str, checksum: str) -> None:
        self.url, self.checksum = url, checksum
        name = url.rstrip("/").rpartition("/")[2] or "archive"
        key = hashlib.sha256(f"{url} {checksum}".encode()).hexdigest()[:16]
        super().__init__(default_root() / "downloads" / key / name)

    @property
    def subject(self) -> str:
        return self.url

    @property
    def folder(self) -> None:  # type: ignore[override]
        return None

    def files(self) -> Sequence[Path]:
        return ()

    def splits(self) -> list[str]:
        """Not known before it is fetched."""
        return super().splits() if self.path.exists() else []

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        return {"format": "download", "url": self.url, "checksum": self.checksum}

    def to_fetch(self) -> tuple[int, int | None]:
        """(files, bytes) that are not here yet; None where the server does not say how many bytes."""
        from seekbench.datasets import transfer

        return (0, 0) if self.path.exists() else (1, transfer.size_of(self.url))

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        from seekbench.datasets import transfer

        transfer.fetch(self.url, self.path, self.checksum, progress=progress, offline=offline)
        super().read(builder, progress=progress, offline=offline)
