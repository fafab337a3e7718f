"""`seekbench doctor`: versions, JDK, devices, caches, network: what would fail here, and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from seekbench.cli import common

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
GOOD, WARN, BAD = "ok", "warn", "FAIL"
Line = tuple[str, str, str]


@common.handled
def doctor(
    json_: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also start the JVM and load the packaged model (seconds).")
    ] = False,
) -> None:
    """Tell what works on this machine, and for what does not, what to do. Exits with 1 if something would fail."""
    lines = [*_packages(), *_java(deep), *_devices(), *_weights(deep), *_folders(), *_network()]
    if json_:
        import json

        typer.echo(json.dumps([{"check": c, "state": s, "detail": d} for c, s, d in lines], indent=2))
    else:
        width = max(len(c) for c, _, _ in lines)
        for check, state, detail in lines:
            colour = {GOOD: typer.colors.GREEN, WARN: typer.colors.YELLOW, BAD: typer.colors.RED}[state]
            typer.echo(f"{typer.style(f'{state:<4}', fg=colour)}  {check:<{width}}  {detail}")
    if any(state == BAD for _, state, _ in lines):
        raise typer.Exit(common.FAILED)


def _packages() -> list[Line]:
    from seekbench import environment

    found = environment.versions()
    absent = [name for name, version in found.items() if version is None]
    lines: list[Line] = [("python", GOOD, str(found["python"]))]
    lines.append(("packages", GOOD, ", ".join(f"{n} {v}" for n, v in found.items() if v and n != "python")))
    if absent:
        lines.append(
            ("packages", BAD, f"missing: {', '.join(absent)}; install seekbench again with its constraints")
        )
    machine = environment.hardware()
    lines.append(
        (
            "machine",
            GOOD,
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}",
        )
    )
    return lines


def _java(deep: bool) -> list[Line]:
    from seekbench.errors import SeekbenchError
    from seekbench.retrievers.bm25 import jvm

    try:
        facts = jvm.check()
        lines: list[Line] = [("java (bm25)", GOOD, ", ".join(f"{k} {v}" for k, v in facts.items()))]
        if deep:
            started = jvm.check_started()
            lines.append(("java starts", GOOD, ", ".join(f"{k} {v}" for k, v in started.items())))
        return lines
    except (SeekbenchError, OSError, ImportError) as error:
        return [("java (bm25)", BAD, f"{error}; bm25 would fail")]


def _devices() -> list[Line]:
    try:
        import torch
    except ImportError as error:
        return [("torch", BAD, f"{error}; dense would fail")]
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return [("devices", GOOD, f"cpu, {', '.join(names)}")]
    if torch.backends.mps.is_available():
        return [("devices", GOOD, "cpu, mps")]
    return [("devices", GOOD, "cpu (no GPU is visible: encoding is slow on large corpora)")]


def _weights(deep: bool) -> list[Line]:
    from seekbench.errors import SeekbenchError
    from seekbench.retrievers.dense import checkpoint

    try:
        found = checkpoint.resolve(checkpoint.Settings(model=MINILM), offline=True)
        lines: list[Line] = [
            ("MiniLM's weights", GOOD, f"{found.source.kind}: {found.source.folder}, checksum verified")
        ]
        if deep:
            from seekbench.retrievers.dense.encode import Encoder

            encoder = Encoder(found, dtype="float32", device="cpu", threads=1, batch_tokens=None)
            vectors = encoder.encode(["it works"], "query").vectors
            lines.append(("MiniLM encodes", GOOD, f"{vectors.shape[1]} dimensions"))
        return lines
    except (SeekbenchError, OSError) as error:
        return [("packaged MiniLM", WARN, f"{error}; sentence-transformers/all-MiniLM-L6-v2 needs the hub")]


def _folders() -> list[Line]:
    import shutil

    from seekbench.store import default_root

    root = default_root()
    lines: list[Line] = []
    existing = root
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    used = sum(f.stat().st_size for f in root.rglob("*") if f.is_file()) if root.exists() else 0
    state = BAD if not os.access(existing, os.W_OK) else WARN if free < 2e9 else GOOD
    what = (
        "not writable; set SEEKBENCH_HOME"
        if state == BAD
        else f"{common.size_text(used)} used, {common.size_text(free)} free"
    )
    lines.append(("store", state, f"{root}: {what}"))
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    lines.append(("hub cache", GOOD, f"{hub}{'' if hub.exists() else ' (empty)'}"))
    return lines


def _network() -> list[Line]:
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE") == "1" or os.environ.get("SEEKBENCH_OFFLINE"):
        return [
            (
                "hub",
                WARN,
                "offline by HF_HUB_OFFLINE / SEEKBENCH_OFFLINE: only what is cached or local can be used",
            )
        ]
    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=3)
        return [("hub", GOOD, f"{endpoint} answers")]
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return [
            (
                "hub",
                WARN,
                f"{endpoint} can't be reached ({reason}): hub datasets and models must be cached or local",
            )
        ]
