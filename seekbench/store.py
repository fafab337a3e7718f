"""The content-addressed store: what was computed once is found again by what it depends on.

An artifact is a folder `<root>/<kind>/<key>` whose key is the hash of a JSON `recipe` that names everything
it depends on (content hashes, parameters, code and library versions). It appears by one rename when it is
complete, so a crash leaves no half artifact; unfinished work stays in `<key>.part` and is continued. A file
lock per key makes concurrent runs share the work; the kernel drops the lock of a dead process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from seekbench import hashing
from seekbench.errors import SeekbenchError

Recipe = Mapping[str, Any]


def default_root() -> Path:
    """$SEEKBENCH_HOME, or seekbench/ in the user's cache folder ($XDG_CACHE_HOME, ~/.cache)."""
    home = os.environ.get("SEEKBENCH_HOME")
    if home:
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "seekbench"


@dataclass(frozen=True)
class Artifact:
    """A complete artifact: its folder, recipe, and facts that its maker wrote down (timings, sizes)."""

    folder: Path
    recipe: Recipe
    facts: Mapping[str, Any]
    reused: bool
    why: str

    @property
    def key(self) -> str:
        return self.folder.name


class Store:
    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).absolute()

    def folder(self, kind: str, recipe: Recipe) -> Path:
        return self.root / kind / hashing.of_json(recipe)[:32]

    def find(self, kind: str, recipe: Recipe) -> Artifact | None:
        """The complete artifact of this recipe, or None."""
        folder = self.folder(kind, recipe)
        try:
            facts = orjson.loads((folder / "facts.json").read_bytes())
            whole = all((folder / name).stat().st_size == size for name, size in facts["_files"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        # A file that lost its end would otherwise fail every later run, or worse, be scored.
        return Artifact(folder, recipe, facts, reused=True, why="same recipe") if whole else None

    def get(
        self,
        kind: str,
        recipe: Recipe,
        make: Callable[[Path], Mapping[str, Any]],
        *,
        on_wait: Callable[[], None] | None = None,
        label: str = "",
        anew: bool = False,
    ) -> Artifact:
        """The artifact of this recipe, made by `make(folder)` where it is absent.

        `make` may find what an interrupted earlier call left in the folder, and must continue or overwrite it.
        It returns JSON facts. Other processes that want the same artifact wait for it. label: what it was made
        for, which `explain` compares by; no part of the key. anew: what is there is replaced, once the new one
        is whole.
        """
        found = None if anew else self.find(kind, recipe)
        if found:
            return found
        final = self.folder(kind, recipe)
        why = "wanted anew" if anew else self.explain(kind, recipe, label)
        with self.locked(f"{kind}-{final.name}", on_wait=on_wait):
            found = None if anew else self.find(kind, recipe)
            if found:
                return found
            if final.exists() and not anew:  # `find` refused it: somebody damaged it
                why = "it was damaged"
                shutil.rmtree(final)
            part = final.with_name(final.name + ".part")
            part.mkdir(parents=True, exist_ok=True)
            (part / "recipe.json").write_bytes(_pretty(recipe))
            facts = dict(make(part))
            facts["_files"] = _settle(part)
            facts["_label"] = label
            write_atomic(part / "facts.json", _pretty(facts))
            _sync_folder(part)
            if final.exists():
                shutil.rmtree(final)
            part.rename(final)
            _sync_folder(final.parent)
        return Artifact(final, recipe, facts, reused=False, why=why)

    def explain(self, kind: str, recipe: Recipe, label: str = "") -> str:
        """Why an artifact must be made (or that it is there): what differs from the nearest one that exists.

        Only those of the same label (the dataset's name, say) are compared: others say nothing of a change.
        """
        if self.find(kind, recipe):
            return "same recipe"
        if self.folder(kind, recipe).exists():
            return "it was damaged"
        partial = self.folder(kind, recipe).with_name(self.folder(kind, recipe).name + ".part").exists()
        if partial:
            return "interrupted before, will continue"
        best: list[str] | None = None
        # Of equally near ones the newest is what the user remembers.
        newest = sorted((self.root / kind).glob("*/recipe.json"), key=_age)
        for path in newest:
            try:
                other = orjson.loads(path.read_bytes())
                facts = orjson.loads((path.parent / "facts.json").read_bytes())
            except (OSError, ValueError):
                continue
            if facts.get("_label", "") != label:
                continue
            if other.get("subject") != recipe.get("subject"):
                continue
            changes = differences(other, dict(recipe))
            if best is None or len(changes) < len(best):
                best = changes
        if best is None:
            return "never made"
        return "changed: " + "; ".join(best[:4])

    @contextmanager
    def locked(self, name: str, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Holds an exclusive lock across processes; it dies with the process."""
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / name).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise SeekbenchError(f"{locks}: can't lock here ({error})") from error
                if on_wait:
                    on_wait()
                fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)

    def file_hash(self, path: Path) -> str:
        """sha256 of a file, remembered by (path, inode, size, mtime, ctime).

        A file touched less than two seconds before it was hashed is hashed again the next time, since a later
        write might carry the same time stamps.
        """
        stat = path.stat()
        memo = self.root / "file-hashes" / hashing.of_json(str(path.absolute()))[:32]
        state = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        try:
            known = orjson.loads(memo.read_bytes())
            if known["state"] == state:
                return str(known["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        now = time.time_ns()
        digest = hashing.of_file(path)
        after = path.stat()
        unchanged = [after.st_ino, after.st_size, after.st_mtime_ns, after.st_ctime_ns] == state
        if unchanged and now - max(stat.st_mtime_ns, stat.st_ctime_ns) > 2_000_000_000:
            memo.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(memo, orjson.dumps({"path": str(path), "state": state, "sha256": digest}))
        return digest


def _settle(folder: Path) -> dict[str, int]:
    """Removes what killed writers left, syncs every file to disk (facts.json must not outlive the data that it
    vouches for), and returns their sizes by relative name."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        if path.name.startswith(".") and path.name.endswith(".part"):
            path.unlink()
            continue
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
        if path.name != "facts.json" or path.parent != folder:
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    return sizes


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Readable differences of two recipes, e.g. `params.k1: 0.9 -> 1.2`."""
    out = []
    for name in sorted(set(old) | set(new)):
        a, b = old.get(name), new.get(name)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            out += differences(a, b, f"{prefix}{name}.")
        else:
            out.append(f"{prefix}{name}: {short(a)} -> {short(b)}")
    return out


def short(value: Any) -> str:
    """A JSON value on one short line; of a hash its first ten digits."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    is_hash = isinstance(value, str) and len(value) >= 16 and set(value) <= set("0123456789abcdef")
    return text[:10] if is_hash else (text if len(text) <= 40 else text[:37] + "...")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a path to write to; when the block ends well it is synced and renamed to `path`, else removed.

    Readers see the old or the new content, never a part, even after a crash, and two writers don't mix.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a small file by `atomic_file`."""
    with atomic_file(path) as part:
        part.write_bytes(data)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pretty(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
