"""MTEB's BEIR tasks: where their data is, and what is evaluated of it. Source: task metadata of mteb 2.26, which a test
compares with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Cutoffs of every retrieval metric.
CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)


@dataclass(frozen=True)
class Task:
    """repo, revision: of the data on the hub. splits: those that count. own_id: whether the document with the query's
    own id counts as a hit."""

    repo: str
    revision: str
    splits: tuple[str, ...] = ("test",)
    subsets: tuple[str, ...] = ("default",)
    languages: tuple[str, ...] = ("eng-Latn",)
    main_score: str = "ndcg_at_10"
    own_id: bool = True


TASKS: Mapping[str, Task] = {
    "ArguAna": Task("mteb/arguana", "c22ab2a51041ffd869aaddef7af8d8215647e41a", own_id=False),
    "ClimateFEVER": Task("mteb/climate-fever", "47f2ac6acb640fc46020b02a5b59fdda04d39380"),
    "CQADupstackAndroidRetrieval": Task(
        "mteb/CQADupstackAndroidRetrieval", "9be4c0e46342e8e3aff577a89b9a1ec9bc6b4af3"
    ),
    "CQADupstackEnglishRetrieval": Task(
        "mteb/cqadupstack-english", "ad9991cb51e31e31e430383c75ffb2885547b5f0"
    ),
    "CQADupstackGamingRetrieval": Task("mteb/cqadupstack-gaming", "4885aa143210c98657558c04aaf3dc47cfb54340"),
    "CQADupstackGisRetrieval": Task("mteb/cqadupstack-gis", "5003b3064772da1887988e05400cf3806fe491f2"),
    "CQADupstackMathematicaRetrieval": Task(
        "mteb/cqadupstack-mathematica", "90fceea13679c63fe563ded68f3b6f06e50061de"
    ),
    "CQADupstackPhysicsRetrieval": Task(
        "mteb/cqadupstack-physics", "79531abbd1fb92d06c6d6315a0cbbbf5bb247ea4"
    ),
    "CQADupstackProgrammersRetrieval": Task(
        "mteb/cqadupstack-programmers", "6184bc1440d2dbc7612be22b50686b8826d22b32"
    ),
    "CQADupstackStatsRetrieval": Task("mteb/cqadupstack-stats", "65ac3a16b8e91f9cee4c9828cc7c335575432a2a"),
    "CQADupstackTexRetrieval": Task("mteb/cqadupstack-tex", "46989137a86843e03a6195de44b09deda022eec7"),
    "CQADupstackUnixRetrieval": Task("mteb/cqadupstack-unix", "6c6430d3a6d36f8d2a829195bc5dc94d7e063e53"),
    "CQADupstackWebmastersRetrieval": Task(
        "mteb/cqadupstack-webmasters", "160c094312a0e1facb97e55eeddb698c0abe3571"
    ),
    "CQADupstackWordpressRetrieval": Task(
        "mteb/cqadupstack-wordpress", "4ffe81d471b1924886b33c7567bfb200e9eec5c4"
    ),
    "DBPedia": Task("mteb/dbpedia", "c0f706b76e590d620bd6618b3ca8efdd34e2d659"),
    "FEVER": Task("mteb/fever", "bea83ef9e8fb933d90a2f1d5515737465d613e12", own_id=False),
    "FiQA2018": Task("mteb/fiqa", "27a168819829fe9bcd655c2df245fb19452e8e06", own_id=False),
    "HotpotQA": Task("mteb/hotpotqa", "ab518f4d6fcca38d87c25209f94beba119d02014"),
    "MSMARCO": Task("mteb/msmarco", "c5a29a104738b98a9e76336939199e264163d4a0", ("dev",), own_id=False),
    "NFCorpus": Task("mteb/nfcorpus", "ec0fa4fe99da2ff19ca1214b7966684033a58814"),
    "NQ": Task("mteb/nq", "b774495ed302d8c44a3a7ea25c90dbce03968f31"),
    "QuoraRetrieval": Task("mteb/quora", "e4e08e0b7dbe3c8700f0daef558ff32256715259", own_id=False),
    "SCIDOCS": Task("mteb/scidocs", "f8c2fcf00f625baaa80f62ec5bd9e1fff3b8ae88"),
    "SciFact": Task("mteb/scifact", "d56462d0e63a25450459c4f213e49ffdb866f7f9"),
    "Touche2020": Task("mteb/touche2020", "a34f9a33db75fa0cbb21bb5cfc3dae8dc8bec93f"),
    "TRECCOVID": Task("mteb/trec-covid", "bb9466bac8153a0349341eb1b22e06409e78ef4e"),
}

_BY_REPO = {task.repo: name for name, task in TASKS.items()}


def of_repo(repo: str | None) -> str | None:
    """The task whose data a hub repository holds; None where none is known."""
    return _BY_REPO.get(repo or "")
