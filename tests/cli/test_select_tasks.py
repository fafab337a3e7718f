"""`seekbench select-tasks` on tables of scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from terminal import ok, refused


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """30 systems on 6 tasks; `twin` repeats `t0` with a little noise; system m0 lacks a task."""
    rng = np.random.default_rng(2)
    skill = rng.normal(size=30)
    lines = ["system,dataset,ndcg@10"]
    for i in range(30):
        own = {f"t{t}": 0.5 + 0.05 * skill[i] + 0.03 * rng.normal() for t in range(5)}
        own["twin"] = 0.2 + own["t0"] / 2 + 0.0005 * rng.normal()
        lines += [f"m{i},{task},{score:.6f}" for task, score in own.items() if (i, task) != (0, "t3")]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    return path


def test_a_repeated_task_goes(table: Path) -> None:
    out: Any = json.loads(ok("select-tasks", "scores.csv", "--json"))
    assert [r["task"] for r in out["removed"]] in (["twin"], ["t0"])
    assert out["removed"][0]["rho"] > 0.95
    assert out["next"]["rho"] < 0.95
    assert len(out["kept"]) == 5
    assert len(out["systems"]["held_out"]) == 9
    assert "m0" not in out["systems"]["selecting"] + out["systems"]["held_out"]
    assert out["notes"] == ["left out, as they lack a score: m0"]
    assert {(a["systems"], a["ranking"]) for a in out["agreement"]} == {
        (s, r) for s in ("selecting", "held out") for r in ("mean", "Borda", "estimate")
    }
    assert json.loads(ok("select-tasks", "scores.csv", "--json")) == out


def test_a_number_of_tasks(table: Path) -> None:
    out: Any = json.loads(ok("select-tasks", "scores.csv", "--keep", "3", "--always", "twin", "--json"))
    assert len(out["kept"]) == 3
    assert "twin" in out["kept"]
    text = ok("select-tasks", "scores.csv", "--keep", "3", "--incomplete", "tasks", "--held-out", "0")
    assert "3 of 5 tasks kept, 30 systems" in text
    assert "left out, as a system lacks a score: t3" in text
    assert "held out" not in text


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--always", "twins"), "did you mean 'twin'"),
        (("--keep", "9"), "there are only 6 tasks"),
        (("--keep", "2", "--always", "t0", "--always", "t1", "--always", "t2"), "more than --keep 2"),
        (("--held-out", "0.05"), "too few to rank"),
        (("-m", "recall@100"), "'recall@100' (known: ndcg@10)"),
    ],
)
def test_mistakes(table: Path, args: tuple[str, ...], said: str) -> None:
    assert said in refused("select-tasks", "scores.csv", *args)


def test_too_few_systems(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("system,dataset,ndcg@10\na,x,1\na,y,1\na,z,.5\nb,x,.5\n")
    assert "1 of 2 systems have all of 3 tasks" in refused("select-tasks", str(path))


@pytest.mark.shared
def test_the_tasks_of_beir(published: Path) -> None:
    """131 models that have all 26 tasks: forums of CQADupStack predict each other and go first."""
    out: Any = json.loads(
        ok("select-tasks", str(published / "mteb_beir_main_scores.csv"), "-m", "ndcg@10", "--json")
    )
    assert sum(map(len, out["systems"].values())) == 131
    assert len(out["kept"]) + len(out["removed"]) == 26
    assert all("cqadupstack" in r["task"] for r in out["removed"][:8])
