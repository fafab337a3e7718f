"""The GitHub Action and the recipes of docs/ci.md: their YAML, and what the action's script does."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from seekbench.cli.app import app

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
DOCS = ROOT / "docs" / "ci.md"


def action() -> Any:
    return yaml.safe_load(ACTION.read_text(encoding="utf-8"))


def test_the_action_is_a_composite_one() -> None:
    """Keys of GitHub's metadata syntax (JSON schema store, github-action.json)."""
    found = action()
    assert {"name", "description", "runs"} <= set(found)
    assert set(found) <= {"name", "author", "description", "inputs", "outputs", "runs", "branding"}
    for name, given in found["inputs"].items():
        assert re.fullmatch(r"[_a-z][a-z0-9_-]*", name)
        assert {"description", "required"} <= set(given) <= {"description", "required", "default"}
        assert given["required"] is not ("default" in given)
    assert all(set(o) == {"description", "value"} for o in found["outputs"].values())
    assert set(found["runs"]) == {"using", "steps"}
    assert found["runs"]["using"] == "composite"
    for step in found["runs"]["steps"]:
        assert set(step) <= {"name", "id", "if", "uses", "with", "run", "shell", "env", "working-directory"}
        assert ("uses" in step) != ("run" in step)
        assert ("run" in step) == ("shell" in step), "a composite action's script must name its shell"
        assert "${{" not in step.get("run", ""), "an input would become part of the script"


def test_the_action_knows_its_inputs() -> None:
    found = action()
    used = set(re.findall(r"inputs\.([a-z-]+)", ACTION.read_text(encoding="utf-8")))
    assert used == set(found["inputs"])
    assert set(re.findall(r"steps\.([a-z-]+)\.", str(found["outputs"]))) == {"check"}


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_actions_script(tmp_path: Path, code: int) -> None:
    """Run as GitHub does, with a `seekbench` that writes down what it is given."""
    script = next(s["run"] for s in action()["runs"]["steps"] if s.get("id") == "check")
    fake = tmp_path / "bin" / "seekbench"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > "{tmp_path}/args"\nexit {code}\n')
    fake.chmod(0o755)
    environment = {
        "PATH": f"{fake.parent}:{os.environ['PATH']}", "CHECK": "my.yaml\nresults/other", "AGAINST": "base line",
        "OPTIONS": "--test t\n--min-effect .01" if code else "", "REPORT": "r.md", "JUNIT": "r.xml",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }  # fmt: skip
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    more = ["--test", "t", "--min-effect", ".01"] if code else []
    assert (tmp_path / "args").read_text().splitlines() == [
        "check", "my.yaml", "results/other", "--against", "base line", "--github", "--save", "r.md", "--junit", "r.xml",
        *more,
    ]  # fmt: skip
    assert (tmp_path / "output").read_text() == f"exit-code={code}\n"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def test_the_recipes_are_yaml() -> None:
    recipes = [yaml.safe_load(text) for text in blocks("yaml")]
    github = [r for r in recipes if "jobs" in r]
    assert len(github) >= 2
    for recipe in github:
        assert {"name", True, "jobs"} <= set(recipe), "YAML 1.1 reads `on` as true"
        for job in recipe["jobs"].values():
            assert {"runs-on", "steps"} <= set(job)
            for step in job["steps"]:
                if str(step.get("uses", "")).endswith("seekbench@main"):
                    assert set(step["with"]) <= set(action()["inputs"])
    (gitlab,) = [r for r in recipes if "jobs" not in r]
    (job,) = [v for v in gitlab.values() if isinstance(v, dict) and "script" in v]
    assert job["artifacts"]["reports"]["junit"] in " ".join(job["script"])
    assert job["artifacts"]["when"] == "always", "a report of what failed is what it is for"


def test_the_documented_options_exist() -> None:
    known = {o for p in get_command(app).commands["check"].params for o in p.opts}  # type: ignore[attr-defined]
    commands = re.findall(r"seekbench check[^\n`]*", DOCS.read_text(encoding="utf-8"))
    used = {o for c in commands for o in re.findall(r"(?<=\s)--?[a-z][a-z-]*", c)}
    assert len(used) > 8
    assert used <= known | {"--help"}, used - known
