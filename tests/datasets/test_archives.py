"""Collections in archives: read as their folders are, unpacked safely, fetched, continued and verified."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import zstandard

from seekbench import archives
from seekbench.datasets.load import load
from seekbench.errors import InputError, MissingError


def packed(folder: Path, path: Path, *, top: str = "scifact/") -> Path:
    """An archive of a folder, of the kind that the path's ending says."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for file in files:
                out.write(file, top + file.relative_to(folder).as_posix())
        return path
    kind = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")
    plain = path.with_suffix("") if path.suffix == ".zst" else path
    with tarfile.open(plain, kind) as out:  # type: ignore[call-overload]
        for file in files:
            out.add(file, top + file.relative_to(folder).as_posix())
    if path.suffix == ".zst":
        path.write_bytes(zstandard.compress(plain.read_bytes()))
    return path


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.xz", "x.tar.zst"])
def test_an_archive_is_its_folder(make_beir: Callable[..., Path], tmp_path: Path, name: str) -> None:
    folder = make_beir(train=[("q1", "d2", 1)])
    path = packed(folder, tmp_path / name)
    found, plain = load({"path": path}), load({"path": folder})
    assert found.id == "x"
    assert found.hashes == plain.hashes
    assert load({"path": path, "split": "train"}).split == "train"
    with pytest.raises(InputError, match=r"there is no split 'dev'.*known: test, train"):
        load({"path": path, "split": "dev"})
    assert packed(folder, tmp_path / f"flat-{name}", top="").exists()
    assert load({"path": tmp_path / f"flat-{name}"}).hashes == plain.hashes


def test_defects_are_told_by_the_archives_name(make_beir: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_beir(
        corpus=b'{"_id": "d1", "title": "", "text": "x"}\n{"_id": "d1", "title": "", "text": "y"}\n'
    )
    path = packed(folder, tmp_path / "bad.zip")
    with pytest.raises(InputError) as caught:
        load({"path": path})
    assert f"{path}/scifact/corpus.jsonl:2" in str(caught.value)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "cat.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no collection is recognised in it \(there is cat.png\)"):
        load({"path": packed(tmp_path / "other", tmp_path / "other.zip")})
    for name, said in (("none.zip", "does not exist"), ("torn.zip", "can't be read")):
        if name == "torn.zip":
            (tmp_path / name).write_bytes(path.read_bytes()[:100])
        with pytest.raises(InputError, match=said):
            load({"path": tmp_path / name})


def test_a_tar_of_the_working_folder(make_beir: Callable[..., Path], tmp_path: Path) -> None:
    """As `tar -c .` makes it: members begin with `.` and `./`."""
    folder = make_beir()
    with tarfile.open(tmp_path / "dot.tar", "w") as out:
        out.add(folder, ".")
    assert load({"path": tmp_path / "dot.tar"}).hashes == load({"path": folder}).hashes


def zipped(path: Path, *names: str, data: bytes = b"x", mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            out.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "c:/evil", "a\\..\\..\\evil"])
def test_paths_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "in"
    for make in ("zip", "tar"):
        path = tmp_path / f"a.{make}"
        if make == "zip":
            zipped(path, "good", name)
        else:
            with tarfile.open(path, "w") as out:
                for member in ("good", name):
                    info = tarfile.TarInfo(member)
                    info.size = 1
                    out.addfile(info, io.BytesIO(b"x"))
        with pytest.raises(InputError, match=r"has an absolute path|leaves the folder"):
            archives.unpack(path, inside)
        assert not inside.exists(), "nothing is written before all members are seen"


def test_links_devices_and_twice_the_same(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            out.addfile(info)
    with pytest.raises(InputError) as caught:
        archives.unpack(tmp_path / "a.tar", tmp_path / "in")
    assert str(caught.value).count("is a link or a device") == 3, "all at once"
    with pytest.raises(InputError, match="is a link"):
        archives.unpack(zipped(tmp_path / "a.zip", "soft", mode=0o120777), tmp_path / "in")
    with pytest.raises(InputError, match="'a/B' and 'A/b' are one file"):
        archives.unpack(zipped(tmp_path / "b.zip", "a/B", "A/b"), tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_absurd_expansion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "EXPANSION_FROM", 1_000_000)
    path = zipped(tmp_path / "bomb.zip", "corpus.jsonl", data=bytes(3_000_000))
    with pytest.raises(InputError, match=r"bytes would become 3,000,000"):
        archives.unpack(path, tmp_path / "in")
    monkeypatch.setattr(archives, "EXPANSION_FROM", 10_000_000)
    archives.unpack(path, tmp_path / "in")
    assert (tmp_path / "in" / "corpus.jsonl").stat().st_size == 3_000_000


class Files(BaseHTTPRequestHandler):
    """Serves one file, by ranges; cuts the connection after some bytes as often as it is told."""

    data = b""
    cuts: list[int]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *args: object) -> None:
        return

    def _answer(self, *, body: bool) -> None:
        given = self.headers.get("Range", "")
        start = int(given.removeprefix("bytes=").rstrip("-")) if given else 0
        self.send_response(206 if given else 200)
        rest = self.data[start:]
        self.send_header("Content-Length", str(len(rest)))
        if given:
            self.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        self.end_headers()
        if body:
            self.asked.append(given)
            if self.cuts:
                self.wfile.write(rest[: self.cuts.pop(0)])
                self.connection.close()
            else:
                self.wfile.write(rest)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Files]]]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    handler = type("Handler", (Files,), {"cuts": [], "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}/data/scifact.zip", handler
        listening.shutdown()
        thread.join()


def test_an_archive_at_an_address(
    make_beir: Callable[..., Path], tmp_path: Path, server: tuple[str, type[Files]]
) -> None:
    url, handler = server
    folder = make_beir()
    handler.data = packed(folder, tmp_path / "scifact.zip").read_bytes()
    sums = {kind: hashlib.new(kind, handler.data).hexdigest() for kind in ("sha256", "md5")}
    with pytest.raises(MissingError, match="was never fetched, and this is offline"):
        load({"url": url, "sha256": sums["sha256"]}, offline=True)
    found = load({"url": url, "sha256": sums["sha256"]})
    assert (found.id, found.hashes) == ("scifact", load({"path": folder}).hashes)
    assert found.source["checksum"] == f"sha256:{sums['sha256']}"
    asked = len(handler.asked)
    assert load({"url": url, "sha256": sums["sha256"]}, offline=True).hashes == found.hashes
    assert len(handler.asked) == asked
    assert load({"url": url, "md5": sums["md5"]}).hashes == found.hashes


def test_another_file_than_was_meant(tmp_path: Path, server: tuple[str, type[Files]]) -> None:
    url, handler = server
    handler.data = b"something else"
    with pytest.raises(
        InputError, match=f"what came has the md5 {hashlib.md5(handler.data).hexdigest()}, not 0000"
    ):
        load({"url": url, "md5": "0" * 32})
    with pytest.raises(InputError, match="give the archive's 'sha256'"):
        load({"url": url})


def test_a_download_that_was_cut_off_continues(
    make_beir: Callable[..., Path],
    tmp_path: Path,
    server: tuple[str, type[Files]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, handler = server
    handler.data = packed(make_beir(), tmp_path / "scifact.zip").read_bytes()
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100)  # what is written at a time
    handler.cuts[:] = [150, *[0] * 6]  # the client tries six times where nothing comes
    entry = {"url": url, "sha256": hashlib.sha256(handler.data).hexdigest()}
    with pytest.raises(MissingError, match="what has come is kept"):
        load(entry)
    handler.cuts.clear()
    handler.asked.clear()
    assert len(load(entry).corpus) == 3
    assert handler.asked == ["bytes=100-"], "it continues, and does not begin again"
