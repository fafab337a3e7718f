"""Hugging Face hub datasets, in BEIR's layout (judgments in a repository of their own) or in MTEB's.

The hub's client fetches the files of one commit into its cache, which it shares with every other tool of the
user; `datasets` says which files make up a config; the rows are read by the same code as local files. So a
JSON lines corpus whose metadata changes from line to line is no problem, ids that look like numbers stay
strings, and nothing is kept twice.
"""

from __future__ import annotations

import hashlib
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from seekbench import hashing
from seekbench.datasets.formats import beir
from seekbench.errors import InputError, MissingError, Report, did_you_mean
from seekbench.progress import Progress, Stage
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder

_COMMIT = re.compile(r"[0-9a-f]{40}")
#: Files that may hold rows; scripts, images and the like are not fetched.
_DATA = ("README.md", "*.jsonl*", "*.json", "*.json.gz", "*.parquet", "*.tsv*", "*.csv*")


@dataclass(frozen=True)
class _File:
    """A file of a commit. sha256: of a large one (LFS); blob: git's hash of any other."""

    path: str
    size: int
    sha256: str | None
    blob: str

    def verify(self, folder: Path, where: str) -> None:
        """Raises InputError where the local file is not the one of the commit."""
        path = folder / self.path
        if self.sha256 is not None:
            same = hashing.of_file(path) == self.sha256
        else:  # git hashes a header, too; these files are small
            data = path.read_bytes()
            same = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == self.blob
        if not same:
            raise InputError(
                f"{self.path} is not the file of this commit (its checksum differs)",
                where=where,
                remedy=f"delete {path.resolve()} and fetch it again",
            )


class Hub:
    """A dataset of the hub, pinned to a commit.

    revision: a commit, branch or tag; the default branch where None, which is resolved, recorded and warned
    of, since it may change. qrels_repo: where the judgments are, if not in `repo` (`<repo>-qrels` for
    BeIR/...). subset: for repositories of many languages or parts, whose configs are `<subset>-corpus`,
    `<subset>-queries` and `<subset>-qrels` (or `<subset>-default`, `<subset>`). A config `top_ranked` holds the
    candidates of each query. only_split: the split whose
    own corpus and queries are read, in repositories that have a corpus for each; otherwise all splits are
    read into one collection. endpoint, cache: the hub's address and the
    client's cache folder, if not the client's defaults ($HF_ENDPOINT, $HF_HOME).
    """

    modules: ClassVar[tuple[str, ...]] = ("seekbench.datasets.formats.hub", *beir.MODULES)

    def __init__(
        self,
        repo: str,
        *,
        revision: str | None = None,
        qrels_repo: str | None = None,
        qrels_revision: str | None = None,
        subset: str | None = None,
        only_split: str | None = None,
        endpoint: str | None = None,
        cache: Path | None = None,
    ) -> None:
        self.repo, self.revision, self.subset, self.only_split = repo, revision, subset, only_split
        if qrels_repo is None and repo.lower().startswith("beir/"):
            qrels_repo = f"{repo}-qrels"
        self.qrels_repo, self.qrels_revision = qrels_repo, qrels_revision
        self.endpoint, self.cache = endpoint, cache
        self._commits: dict[str, str] = {}

    @property
    def subject(self) -> str:
        return f"hub:{self.repo}"

    @property
    def folder(self) -> None:
        return None

    def files(self) -> Sequence[Path]:
        return ()

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        facts: dict[str, Any] = {
            "format": "hub",
            "repo": self.repo,
            "revision": self._commit(self.repo, self.revision, offline),
            "subset": self.subset,
        }
        if self.only_split:
            facts["split"] = self.only_split
        if self.qrels_repo:
            facts["qrels_repo"] = self.qrels_repo
            facts["qrels_revision"] = self._commit(self.qrels_repo, self.qrels_revision, offline)
        return facts

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        facts = self.identity(offline=offline)
        for repo, asked, commit in (
            (self.repo, self.revision, facts["revision"]),
            (self.qrels_repo, self.qrels_revision, facts.get("qrels_revision")),
        ):
            if repo and commit:
                self._warn_unpinned(builder.report, repo, asked, commit)
        corpus, queries, judged, ranked = self._parts(facts, progress, offline)
        for path in corpus:
            beir.read_texts(path, builder, progress, kind="documents", lenient=True)
        for path in queries:
            beir.read_texts(path, builder, progress, kind="queries", lenient=True)
        for split, paths in judged.items():
            for path in paths:
                beir.read_qrels(path, split, builder, lenient=True)
        for path in ranked:
            beir.read_candidates(path, builder, progress)

    def _warn_unpinned(self, report: Report, repo: str, asked: str | None, commit: str) -> None:
        if asked is None or not _COMMIT.fullmatch(asked):
            report.warning(
                "unpinned-revision",
                f"{'the default branch' if asked is None else repr(asked)} may change",
                where=f"hub:{repo}",
                remedy=f"pin it with 'revision: {commit}'",
            )

    # --- which files ---------------------------------------------------------------------------------

    def _parts(
        self, facts: Mapping[str, Any], progress: Progress, offline: bool
    ) -> tuple[list[Path], list[Path], dict[str, list[Path]], list[Path]]:
        folder = self._snapshot(self.repo, facts["revision"], progress, offline)
        prefix = f"{self.subset}-" if self.subset else ""
        configs = _config_names(folder)
        if not {f"{prefix}corpus", f"{prefix}queries"} <= set(configs):
            if not self.subset and (folder / "qrels").is_dir():  # BEIR's folder as it is
                plain = beir.Beir(folder)
                found, asked, *judged = plain.files()
                return [found], [asked], dict(zip(plain.splits(), [[p] for p in judged], strict=True)), []
            names = [c.removesuffix("-corpus") for c in configs if c.endswith("-corpus")]
            raise InputError(
                f"the dataset has no configs '{prefix}corpus' and '{prefix}queries'"
                f" (it has {', '.join(configs[:12])})",
                where=self.subject,
                remedy=f"choose a 'subset': {', '.join(names[:12])}"
                if names
                else "is it a retrieval dataset?",
            )
        corpus = self._of_split(_data_files(folder, f"{prefix}corpus"), "documents")
        queries = self._of_split(_data_files(folder, f"{prefix}queries"), "queries")
        if self.qrels_repo:
            other = self._snapshot(self.qrels_repo, facts["qrels_revision"], progress, offline)
            return corpus, queries, self._judged(_data_files(other, _config_names(other)[0])), []
        wanted = [f"{prefix}qrels", f"{prefix}default", *([self.subset] if self.subset else [])]
        name = next((n for n in wanted if n in configs), None)
        if name is None:
            raise InputError(
                f"the dataset has no judgments: no config {' or '.join(wanted)}",
                where=self.subject,
                remedy="name their repository with 'qrels_repo:'",
            )
        ranked = self._judged(
            _data_files(folder, f"{prefix}top_ranked") if f"{prefix}top_ranked" in configs else {}
        )
        return (
            corpus,
            queries,
            self._judged(_data_files(folder, name)),
            [p for ps in ranked.values() for p in ps],
        )

    def _judged(self, files: dict[str, list[Path]]) -> dict[str, list[Path]]:
        return {s: paths for s, paths in files.items() if self.only_split in (None, s)}

    def _of_split(self, files: dict[str, list[Path]], what: str) -> list[Path]:
        """The files of the corpus or of the queries."""
        if self.only_split and len(files) > 1:
            if self.only_split not in files:
                raise InputError(
                    f"the {what} have no split '{self.only_split}'",
                    where=self.subject,
                    remedy=did_you_mean(self.only_split, files),
                )
            return files[self.only_split]
        if len(files) > 1 and what == "documents":
            raise InputError(
                f"there is a corpus for each split ({', '.join(files)})",
                where=self.subject,
                remedy="say 'per_split: true' to search each split's queries in its own",
            )
        return [path for paths in files.values() for path in paths]

    @property
    def server(self) -> str:
        from huggingface_hub import constants

        return self.endpoint or constants.ENDPOINT

    # --- the hub's client ----------------------------------------------------------------------------

    def _commit(self, repo: str, revision: str | None, offline: bool) -> str:
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        key = f"{repo}@{revision}"
        if key not in self._commits:
            self._commits[key] = self._resolved(repo, revision or "main", offline)
        return self._commits[key]

    def _resolved(self, repo: str, revision: str, offline: bool) -> str:
        from huggingface_hub import HfApi, constants

        # The client's own place and form, which it only writes when it is asked for a branch by name.
        cached = (self.cache or Path(constants.HF_HUB_CACHE)) / f"datasets--{repo.replace('/', '--')}"
        reference = cached / "refs" / revision
        if offline or constants.HF_HUB_OFFLINE:
            if reference.is_file():
                return reference.read_text().strip()
            raise MissingError(
                f"hub:{repo}: '{revision}' was never fetched, and this is offline "
                "(pin a commit that is in the cache, or run once with the network)"
            )
        if not reachable(self.server):
            raise MissingError(f"hub:{repo}: {self.server} can't be reached")
        with self._explained(repo, revision):
            commit = HfApi(endpoint=self.endpoint).dataset_info(repo, revision=revision).sha
            assert commit is not None  # the hub always tells
            reference.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(reference, commit.encode())
        return commit

    def _snapshot(self, repo: str, commit: str, progress: Progress, offline: bool) -> Path:
        """The folder with the repository's data files at a commit, fetched where the cache lacks them, and verified."""
        from huggingface_hub import snapshot_download

        with self._explained(repo, commit):
            # Asked once: the download itself would try for half a minute, and say so, before it takes the cache.
            listed = None if offline else self._wanted(repo, commit)
            patterns, wanted = listed or (self._patterns(repo, commit, offline=True), None)
            size = None if wanted is None else sum(f.size for f in wanted)
            with progress.stage(f"fetch {repo}", total=size, unit="bytes") as stage:
                folder = Path(
                    snapshot_download(
                        repo,
                        repo_type="dataset",
                        revision=commit,
                        allow_patterns=patterns,
                        local_files_only=wanted is None,
                        endpoint=self.endpoint,
                        cache_dir=self.cache,
                        tqdm_class=quiet_bar(stage),
                    )
                )
        for file in wanted or ():
            file.verify(folder, self.subject)
        return folder

    def to_fetch(self) -> tuple[int, int]:
        """(files, bytes) that the cache lacks. Raises MissingError where the hub can't be reached."""
        from huggingface_hub import try_to_load_from_cache

        files = size = 0
        facts = self.identity()
        for repo, commit in ((self.repo, facts["revision"]), (self.qrels_repo, facts.get("qrels_revision"))):
            if repo is None or commit is None:
                continue
            with self._explained(repo, commit):
                listed = self._wanted(repo, commit)
            if listed is None:
                raise MissingError(f"hub:{repo} can't be reached now")
            for file in listed[1]:
                cached = try_to_load_from_cache(
                    repo, file.path, cache_dir=self.cache, revision=commit, repo_type="dataset"
                )
                if not isinstance(cached, str):
                    files, size = files + 1, size + file.size
        return files, size

    def _wanted(self, repo: str, commit: str) -> tuple[list[str], list[_File]] | None:
        """(patterns, files) of what holds rows at a commit; None where the hub does not answer. Raises what it answers
        (no such repository, no access)."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.hf_api import RepoFile

        if not reachable(self.server):
            return None
        try:
            tree = list(
                HfApi(endpoint=self.endpoint).list_repo_tree(
                    repo, revision=commit, recursive=True, repo_type="dataset"
                )
            )
        except HfHubHTTPError:
            raise
        except (http_error(), OSError):
            return None
        patterns = self._patterns(repo, commit, offline=False)
        return patterns, [
            _File(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for entry in tree
            if isinstance(entry, RepoFile) and any(fnmatch(entry.path, p) for p in patterns)
        ]

    def _patterns(self, repo: str, commit: str, *, offline: bool) -> list[str]:
        return list(_DATA) if not self.subset else self._subset_files(repo, commit, offline)

    def _subset_files(self, repo: str, commit: str, offline: bool) -> list[str]:
        """The patterns of the subset's files, so that fifty other languages are not fetched."""
        import yaml
        from huggingface_hub import hf_hub_download

        try:
            readme = hf_hub_download(
                repo, "README.md", repo_type="dataset", revision=commit, endpoint=self.endpoint,
                cache_dir=self.cache, local_files_only=offline,
            )  # fmt: skip
            head = Path(readme).read_text(encoding="utf-8").split("---")[1]
            configs = yaml.load(head, yaml.CSafeLoader)["configs"]
            names = {
                self.subset,
                *(f"{self.subset}-{p}" for p in ("corpus", "queries", "qrels", "default", "top_ranked")),
            }
            patterns = [
                file["path"] for c in configs if c["config_name"] in names for file in c["data_files"]
            ]
            flat = [p for entry in patterns for p in (entry if isinstance(entry, list) else [entry])]
            return ["README.md", *flat]
        except (OSError, LookupError, TypeError, ValueError, yaml.YAMLError):
            return list(_DATA)  # no such list: fetch all

    @contextmanager
    def _explained(self, repo: str, revision: str) -> Iterator[None]:
        """The client's errors in our words."""
        from huggingface_hub import errors

        where = f"hub:{repo}"
        server = self.server
        try:
            yield
        except errors.GatedRepoError as error:
            raise MissingError(
                f"{where}: access must be asked for at {server}/datasets/{repo}, then set HF_TOKEN"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise InputError(
                f"{server} has no dataset '{repo}' that can be read",
                where=where,
                remedy="check the name; for a private one set HF_TOKEN",
            ) from error
        except errors.RevisionNotFoundError as error:
            raise InputError(f"the dataset has no revision '{revision}'", where=where) from error
        except errors.HFValidationError as error:
            raise InputError(
                f"'{repo}' is no name of a hub dataset", where=where, remedy="it has the form owner/name"
            ) from error
        except errors.LocalEntryNotFoundError as error:
            raise MissingError(
                f"{where}: revision {revision[:10]} is not in the local cache, and {server} can't be reached "
                "(or this is offline): fetch it once where there is a network, or give a folder with 'path:'"
            ) from error
        except errors.HfHubHTTPError as error:
            status = getattr(error.response, "status_code", "an error")
            remedy = "too many requests: wait, or set HF_TOKEN" if status == 429 else "try again later"
            raise MissingError(f"{where}: {server} answers {status} ({remedy})") from error
        except (http_error(), OSError) as error:
            raise MissingError(f"{where}: {server} can't be reached: {first_line(error)}") from error


@cache
def reachable(server: str) -> bool:
    """Whether a server takes a connection, asked once a process: the client would try each file for minutes."""
    if {"http", "https", "all"} & set(getproxies()):  # then somebody else connects
        return True
    parts = urlsplit(server)
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)), 5
        ):
            return True
    except OSError:
        return False


def quiet_bar(stage: Stage | None = None) -> Any:
    """A class of bars that show nothing, since the client's would mix with ours; bytes go to a stage of ours."""
    from huggingface_hub.utils.tqdm import tqdm

    class Quiet(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            # Beside what is written to disk the client counts what the network brings.
            self._bytes = options.get("unit") == "B" and not str(options.get("name")).endswith(".transfer")
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> Any:
            if stage is not None and self._bytes and n:
                stage.advance(int(n))
            return super().update(n)

    return Quiet


def http_error() -> type[Exception]:
    """The base of the errors of whichever HTTP library the client uses."""
    from huggingface_hub import errors

    return next(c for c in errors.HfHubHTTPError.__mro__ if c.__name__ == "HTTPError")


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _config_names(folder: Path) -> list[str]:
    from datasets import get_dataset_config_names

    try:
        return list(get_dataset_config_names(str(folder)))
    except Exception as error:  # the library raises many kinds for a repository that holds no data
        raise InputError(
            f"no data files are recognised in it: {first_line(error)}", where=str(folder)
        ) from error


def _data_files(folder: Path, config: str) -> dict[str, list[Path]]:
    """Local files of each split of a config, as the `datasets` library resolves them."""
    from datasets import load_dataset_builder

    with tempfile.TemporaryDirectory() as cache:  # nothing is prepared there, but the library asks for one
        try:
            found = load_dataset_builder(str(folder), config, cache_dir=cache).config.data_files
        except Exception as error:
            raise InputError(
                f"config '{config}' can't be resolved: {first_line(error)}", where=str(folder)
            ) from error
    files = {str(split): [Path(str(p)) for p in paths] for split, paths in (found or {}).items()}
    if not files:
        raise InputError(
            f"config '{config}' has no data files",
            where=str(folder),
            remedy=did_you_mean(config, _config_names(folder)),
        )
    return files
