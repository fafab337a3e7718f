"""Hub datasets, read by the real client libraries from a local server that speaks the hub's protocol."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seekbench.datasets.builder import Builder
from seekbench.datasets.folder import open_dataset
from seekbench.datasets.formats.hub import Hub
from seekbench.errors import InputError, MissingError
from seekbench.progress import NoProgress

MTEB_README = b"""---
configs:
- config_name: default
  data_files:
  - split: test
    path: qrels/test.jsonl
- config_name: corpus
  data_files:
  - split: corpus
    path: corpus.jsonl
- config_name: queries
  data_files:
  - split: queries
    path: queries.jsonl
---
"""
BEIR_README = b"""---
configs:
- config_name: corpus
  data_files:
  - split: corpus
    path: corpus/*.parquet
- config_name: queries
  data_files:
  - split: queries
    path: queries/*.parquet
---
"""
DOCUMENTS = [
    {"_id": "01", "title": "First", "text": "one text", "metadata": {}},
    {"_id": "2", "title": "", "text": "another text", "metadata": {"year": 2001}},
    {"_id": "3", "title": None, "text": "third", "metadata": {"url": "x"}},
]
QUERIES = [{"_id": "1", "text": "which is one"}, {"_id": "2", "text": "which is other"}]
QRELS = [{"query-id": "1", "corpus-id": "01", "score": 1}, {"query-id": "2", "corpus-id": "2", "score": 2}]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


MTEB = {
    "README.md": MTEB_README,
    "corpus.jsonl": jsonl(DOCUMENTS),
    "queries.jsonl": jsonl(QUERIES),
    "qrels/test.jsonl": jsonl(QRELS),
    "model.py": b"raise SystemExit",
}
REPOS: dict[str, dict[str, bytes]] = {
    "mteb/tiny": MTEB,
    "BeIR/tiny": {
        "README.md": BEIR_README,
        "corpus/corpus-00000-of-00001.parquet": parquet([{**d, "metadata": None} for d in DOCUMENTS]),
        "queries/queries-00000-of-00001.parquet": parquet(QUERIES),
    },
    "BeIR/tiny-qrels": {"test.tsv": b"query-id\tcorpus-id\tscore\n1\t01\t1\n2\t2\t2\n"},
    "old/folder": {
        "corpus.jsonl": jsonl(DOCUMENTS),
        "queries.jsonl": jsonl(QUERIES),
        "qrels/test.tsv": b"query-id\tcorpus-id\tscore\n1\t01\t1\n2\t2\t2\n",
    },
    "many/languages": {
        "README.md": MTEB_README.replace(b"default", b"de-qrels")
        .replace(b"name: corpus", b"name: de-corpus")
        .replace(b"name: queries", b"name: de-queries")
        .replace(b"path: ", b"path: de/"),
        **{f"de/{name}": data for name, data in MTEB.items()},
        "fr/corpus.jsonl": b"not fetched",
    },
    "mteb/ranked": {
        **MTEB,
        "README.md": MTEB_README.replace(
            b"configs:\n",
            b"configs:\n- config_name: top_ranked\n  data_files:\n  - split: test\n    path: top_ranked/test.jsonl\n",
        ),
        "top_ranked/test.jsonl": jsonl(
            [{"query-id": "1", "corpus-ids": ["01", "3"]}, {"query-id": "2", "corpus-ids": ["2", "01"]}]
        ),
    },
    "two/corpora": {
        "README.md": MTEB_README.replace(
            b"- split: corpus\n    path: corpus.jsonl",
            b"- split: dev\n    path: dev.jsonl\n  - split: test\n    path: corpus.jsonl",
        ),
        **{name: data for name, data in MTEB.items() if name != "README.md"},
        "dev.jsonl": jsonl(DOCUMENTS[:2]),
    },
    "some/images": {"README.md": b"no data here", "cat.png": b"\x89PNG"},
}


def blob_of(data: bytes) -> str:
    """git's hash of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def commit_of(repo: str) -> str:
    return hashlib.sha1(repo.encode()).hexdigest()


class HubHandler(BaseHTTPRequestHandler):
    """large: files that the hub keeps as LFS; cut: those whose connection breaks off once, in the middle; damaged:
    those that arrive with a changed byte. ranges: the parts that were asked for."""

    requests: list[str]
    large: set[str]
    cut: set[str]
    damaged: set[str]
    ranges: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *args: object) -> None:
        return

    def answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.requests.append(path)
        api = path.startswith("/api/datasets/")
        parts = path.removeprefix("/api").removeprefix("/datasets/").split("/")
        repo, rest = "/".join(parts[:2]), parts[2:]
        if repo.startswith("answers/"):  # with this status, whatever is asked
            status = int(parts[1])
            code = {401: "GatedRepo", 403: "GatedRepo", 404: "RepoNotFound"}.get(status, "")
            self.reply(status, b"{}", {"X-Error-Code": code} if code else {}, body)
        elif repo not in REPOS:
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
        elif api and (not rest or rest[0] == "revision"):
            asked = rest[1] if len(rest) > 1 else "main"
            if asked != "main" and not (len(asked) >= 7 and commit_of(repo).startswith(asked)):
                self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body)
                return
            info = {"id": repo, "sha": commit_of(repo), "siblings": [{"rfilename": n} for n in REPOS[repo]]}
            self.reply(200, json.dumps(info).encode(), {}, body)
        elif api and rest[0] == "tree":
            tree: list[dict[str, Any]] = [
                {"type": "file", "path": n, "size": len(d), "oid": blob_of(d)} for n, d in REPOS[repo].items()
            ]
            for file in tree:
                if file["path"] in self.large:
                    data = REPOS[repo][file["path"]]
                    file["lfs"] = {
                        "oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130
                    }  # fmt: skip
            self.reply(200, json.dumps(tree).encode(), {}, body)
        elif rest[0] == "resolve" and "/".join(rest[2:]) in REPOS[repo]:
            name = "/".join(rest[2:])
            data = REPOS[repo][name]
            headers = {
                "ETag": f'"{blob_of(data)}"',
                "X-Repo-Commit": commit_of(repo),
                "Accept-Ranges": "bytes",
            }
            if name in self.damaged:
                data = bytes([data[0] ^ 1]) + data[1:]
            asked = self.headers.get("Range")
            if asked:
                self.ranges.append(f"{name} {asked}")
                first = int(asked.removeprefix("bytes=").split("-")[0])
                headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
                self.reply(206, data[first:], headers, body)
            elif body and name in self.cut:
                self.cut.discard(name)
                self.reply(200, data, headers, body, part=len(data) // 2)
            else:
                self.reply(200, data, headers, body)
        else:
            self.reply(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body)

    def reply(
        self, status: int, data: bytes, headers: dict[str, str], body: bool, part: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data[:part])


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite runs with HF_HUB_OFFLINE; these tests speak to their own hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


#: How the hub of a test behaves; empty between tests.
LARGE: set[str] = set()
CUT: set[str] = set()
DAMAGED: set[str] = set()
RANGES: list[str] = []


@pytest.fixture(autouse=True)
def _behaved() -> Iterator[None]:
    yield
    for kept in (LARGE, CUT, DAMAGED, RANGES):
        kept.clear()


@contextmanager
def serving() -> Iterator[tuple[str, list[str]]]:
    """A hub that listens: its address, and the paths that it was asked for."""
    requests: list[str] = []
    handler = type(
        "Handler",
        (HubHandler,),
        {"requests": requests, "large": LARGE, "cut": CUT, "damaged": DAMAGED, "ranges": RANGES},
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}", requests
        listening.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    with serving() as found:
        yield found


def build(source: Hub, folder: Path, *, offline: bool = False) -> Builder:
    folder.mkdir()
    builder = Builder(folder)
    source.read(builder, progress=NoProgress(), offline=offline)
    builder.close()
    return builder


@pytest.mark.parametrize("repo", ["mteb/tiny", "BeIR/tiny", "old/folder", "many/languages"])
def test_layouts_give_the_same_collection(repo: str, server: tuple[str, list[str]], tmp_path: Path) -> None:
    endpoint, requests = server
    commit = commit_of(repo)
    source = Hub(
        repo,
        revision=commit,
        qrels_revision=commit_of("BeIR/tiny-qrels"),
        subset="de" if repo == "many/languages" else None,
        endpoint=endpoint,
        cache=tmp_path / "cache",
    )
    assert source.identity()["revision"] == commit
    assert not requests, "a pinned commit needs no look-up"
    builder = build(source, tmp_path / "out")
    assert builder.report.lines() == []
    dataset = open_dataset(tmp_path / "out", id=repo)
    assert dataset.corpus.ids().to_pylist() == ["01", "2", "3"]
    assert dataset.corpus.texts("{title} {text}") == ["First one text", "another text", "third"]
    assert dataset.qrels.doc_rows.tolist() == [0, 1]
    assert dataset.qrels.grades.tolist() == [1, 2]
    assert not [r for r in requests if r.endswith((".py", "fr/corpus.jsonl"))], (
        "only what is needed is fetched"
    )


def test_candidates_of_a_reranking_task(server: tuple[str, list[str]], tmp_path: Path) -> None:
    source = Hub(
        "mteb/ranked", revision=commit_of("mteb/ranked"), endpoint=server[0], cache=tmp_path / "cache"
    )
    build(source, tmp_path / "out")
    found = open_dataset(tmp_path / "out", id="x").candidates
    assert found is not None
    assert found.query_rows.tolist() == [0, 0, 1, 1]
    assert found.doc_rows.tolist() == [0, 2, 0, 1]


def test_each_split_with_a_corpus_of_its_own(server: tuple[str, list[str]], tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "revision": commit_of("two/corpora"),
        "endpoint": server[0],
        "cache": tmp_path / "c",
    }
    source = Hub("two/corpora", only_split="test", **options)
    build(source, tmp_path / "out")
    assert len(open_dataset(tmp_path / "out", id="x").corpus) == 3
    assert source.identity() != Hub("two/corpora", only_split="dev", **options).identity()
    with pytest.raises(InputError, match=r"documents have no split 'tset'.*'test'"):
        build(Hub("two/corpora", only_split="tset", **options), tmp_path / "other")


def test_branch_is_resolved_recorded_and_warned_of(server: tuple[str, list[str]], tmp_path: Path) -> None:
    endpoint, requests = server
    cache = tmp_path / "cache"
    source = Hub("mteb/tiny", endpoint=endpoint, cache=cache)
    assert source.identity()["revision"] == commit_of("mteb/tiny")
    builder = build(source, tmp_path / "out")
    assert [p.code for p in builder.report.problems] == ["unpinned-revision"]
    assert commit_of("mteb/tiny") in builder.report.problems[0].remedy

    asked = len(requests)
    pinned = Hub("mteb/tiny", revision=commit_of("mteb/tiny"), endpoint=endpoint, cache=cache)
    build(pinned, tmp_path / "again", offline=True)
    assert len(requests) == asked, "offline asks nobody"


def test_integers_of_a_hub_are_read_with_a_warning(
    server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"query-id": 1, "corpus-id": 2, "score": 1.0}]
    monkeypatch.setitem(REPOS, "mteb/tiny", {**MTEB, "qrels/test.jsonl": jsonl(rows)})
    source = Hub("mteb/tiny", revision=commit_of("mteb/tiny"), endpoint=server[0], cache=tmp_path / "cache")
    builder = build(source, tmp_path / "out")
    assert {p.code for p in builder.report.problems} >= {"integer-id", "float-grade"}
    assert builder.report.errors == 0


def test_a_connection_that_breaks_off_is_continued(
    server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the client, which asks for the rest alone; files of the hub's large storage are checked by their sha256."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 4)  # what is in a piece is lost
    LARGE.add("corpus.jsonl")
    CUT.add("corpus.jsonl")
    build(Hub("mteb/tiny", endpoint=server[0], cache=tmp_path / "cache"), tmp_path / "out")
    size = len(REPOS["mteb/tiny"]["corpus.jsonl"])
    (asked,) = RANGES
    assert asked == f"corpus.jsonl bytes={size // 2 // 4 * 4}-"


@pytest.mark.parametrize("large", [False, True])
def test_a_file_that_is_not_the_commits_is_refused(
    large: bool, server: tuple[str, list[str]], tmp_path: Path
) -> None:
    DAMAGED.add("corpus.jsonl")
    LARGE.update({"corpus.jsonl"} if large else ())
    source = Hub("mteb/tiny", endpoint=server[0], cache=tmp_path / "cache")
    with pytest.raises(InputError, match=r"corpus\.jsonl is not the file of this commit"):
        build(source, tmp_path / "out")


def test_unreachable_hub_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # it tries again
    nowhere = "http://127.0.0.1:9"
    for revision in (None, "0" * 40):
        source = Hub("mteb/tiny", revision=revision, endpoint=nowhere, cache=tmp_path / "cache")
        with pytest.raises(MissingError, match=r"mteb/tiny.*can't be reached"):
            source.read(Builder(tmp_path), progress=NoProgress())
        with pytest.raises(MissingError, match="offline"):
            source.read(Builder(tmp_path), progress=NoProgress(), offline=True)


@pytest.mark.parametrize(
    ("repo", "revision", "message"),
    [
        ("mteb/none", None, "no dataset 'mteb/none'"),
        ("mteb/tiny", "nobranch", "no revision 'nobranch'"),
        ("a/b/c", None, "no name of a hub dataset"),
        ("some/images", None, "no data|no configs"),
        ("two/corpora", None, "a corpus for each split"),
        ("many/languages", None, "choose a 'subset': de"),
    ],
)
def test_mistakes_are_the_users_and_one_line(
    repo: str, revision: str | None, message: str, server: tuple[str, list[str]], tmp_path: Path
) -> None:
    source = Hub(repo, revision=revision, endpoint=server[0], cache=tmp_path / "cache")
    with pytest.raises(InputError, match=message) as caught:
        source.read(Builder(tmp_path), progress=NoProgress())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, MissingError, "access must be asked for at"),
        (403, MissingError, "access must be asked for at"),
        (404, InputError, "has no dataset 'answers/404' that can be read"),
        (429, MissingError, r"answers 429 \(too many requests"),
        (500, MissingError, r"answers 500 \(try again later"),
    ],
)
def test_what_a_hub_answers(
    server: tuple[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    kind: type,
    said: str,
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for revision in (None, "a" * 40):
        source = Hub(f"answers/{status}", revision=revision, endpoint=server[0], cache=tmp_path / "cache")
        folder = tmp_path / f"out-{revision}"
        with pytest.raises(kind, match=said):
            build(source, folder)
