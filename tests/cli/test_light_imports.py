"""Instant commands load nothing heavy. Counted in modules, not in seconds: a clock fails on a busy machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "transformers",
    "sentence_transformers",
    "datasets",
    "ranx",
    "jnius",
    "pyserini",
    "faiss",
    "numba",
    "pandas",
    "scipy",
    "sklearn",
    "huggingface_hub",
    "openai",
}
#: what `--help` and `ls` must not load either
COLUMNS = {"pyarrow"}
CODE = """
import sys
from seekbench.cli.app import app
try:
    app({args!r}, standalone_mode=False)
except SystemExit:
    pass
print("LOADED", *sorted({{m.split(".")[0] for m in sys.modules}}))
"""


def _loaded(*args: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", CODE.format(args=list(args))], capture_output=True, text=True, check=True
    )
    return set(out.stdout.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("run", "--help"),
        ("check", "--help"),
        ("ls",),
        ("ls", "datasets"),
        ("ls", "metrics"),
        ("show", "ndcg@10"),
    ],
)
def test_help_and_ls_load_no_columns(args: tuple[str, ...]) -> None:
    loaded = _loaded(*args)
    assert not loaded & (HEAVY | COLUMNS), sorted(loaded & (HEAVY | COLUMNS))


@pytest.mark.parametrize(
    "args",
    [
        ("validate", "quickstart"),
        ("run", "quickstart", "--dry-run"),
        ("validate", "--schema"),
        ("show", "dense"),
    ],
)
def test_checking_a_config_loads_nothing_heavy(args: tuple[str, ...]) -> None:
    loaded = _loaded(*args)
    assert not loaded & HEAVY, sorted(loaded & HEAVY)


def test_scoring_a_small_file_loads_nothing_heavy(tmp_path: Path) -> None:
    """pandas comes with Arrow's conversions of Python and numpy values, and costs more than the scoring."""
    run, qrels = tmp_path / "run", tmp_path / "qrels"
    run.write_text("".join(f"q{i} Q0 d{j} 1 {j} t\n" for i in range(3) for j in range(5)))
    qrels.write_text("".join(f"q{i} 0 d{i} 1\n" for i in range(3)))
    loaded = _loaded("eval", str(qrels), str(run), "--json")
    assert not loaded & HEAVY, sorted(loaded & HEAVY)


def test_importing_the_package_is_light() -> None:
    code = "import sys, seekbench; print('LOADED', *{m.split('.')[0] for m in sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split())
    assert not loaded & (HEAVY | COLUMNS | {"numpy"})
