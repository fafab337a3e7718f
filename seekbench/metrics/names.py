"""Other tools' spellings of measures, turned into ours.

The rule: a spelling gives the number that it gives in its tool, or it is refused in one line. Spellings that differ
in capitals only can be two tools' with two meanings (`rbp`, `RBP`), so capitals count here before they are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from seekbench.errors import InputError

#: other tools' base names -> ours; compared in lower case
ALIASES = {
    "ndcg_cut": "ndcg",
    "map": "ap",
    "map_cut": "ap",
    "mean_average_precision": "ap",
    "average_precision": "ap",
    "gm_map": "gmap",
    "gm_ap": "gmap",
    "r": "recall",
    "recall_cap": "r_cap",
    "relative_p": "r_cap",
    "mrr": "rr",
    "recip_rank": "rr",
    "reciprocal_rank": "rr",
    "precision": "p",
    "hit_rate": "success",
    "hit": "success",
    "hitrate": "success",
    "accuracy": "success",
    "top_k_accuracy": "success",
    "f1": "f",
    "r_precision": "rprec",
    "r-precision": "rprec",
    "rprec_mult": "rprec",
    "bing": "bin_g",
    "iprec_at_recall": "iprec",
    "11pt_avg": "ip_auc",
    "set_r": "set_recall",
    "setp": "set_p",
    "setrelp": "set_relative_p",
    "setr": "set_recall",
    "setf": "set_f",
    "setap": "set_map",
    "set_ap": "set_map",
    "numret": "num_ret",
    "numrel": "num_rel",
    "numrelret": "num_rel_ret",
    "numq": "num_q",
    "alpha_ndcg": "alpha_ndcg",
    "alpha-ndcg": "alpha_ndcg",
    "err-ia": "err_ia",
    "strecall": "st_recall",
    "strec": "st_recall",
    "p-mrr": "p_mrr",
    "auc": "roc_auc",
    "j": "judged",
}

#: names as they stand, capitals and all -> ours
_WHOLE = {
    "accuracy": "recall@1",  # MTEB's score of multiple-choice tasks
    "rbp": "rbp(p=0.9,gain=share)",  # trec_eval's
    "rbp_resid": "rbp_resid(p=0.9)",
}

_NO_NUMBER = "is not among our measures"
#: names as they stand -> why they are refused
_REFUSED = {
    "Accuracy": (
        "'Accuracy' without a cutoff, or with parameters, is ir_measures' share of well ordered pairs; we have none",
        "roc_auc for pairs, success@1 for BEIR's Accuracy@1, recall@1 for MTEB's accuracy",
    ),
    "RBP": (
        "'RBP' without rel averages over ties in ir_measures, which we don't",
        "RBP(p=0.8,rel=1), which is rbp(p=0.8)",
    ),
    **{
        f"{similarity}_{measure}": (
            f"'{similarity}_{measure}' is MTEB's, of that similarity whatever the model's own is",
            f"{measure}, of the retriever's own scores",
        )
        for similarity in ("cosine", "manhattan", "euclidean")
        for measure in ("spearman", "pearson")
    },
}
#: ir_measures' and trec_eval's measures that are not here
_ELSEWHERE = re.compile(
    r"^(BPM|Compat|INSQ|INST|NERR8|NERR9|NERR10|NERR11|SDCG|NRBP|nNRBP|nERR_IA|alpha_DCG|AP_IA|MAP_IA|P_IA"
    r"|relstring\w*|runid|prefs_\w+|\w+_avgjg|yaap|Runj|ideal_dcg)(?:[(@.].*)?$"
)

_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?"
_MTEB = {"ndcg": "ndcg", "map": "map", "recall": "recall", "precision": "p", "p": "p", "mrr": "mrr"}


def _rprec(match: re.Match[str]) -> str:
    return f"rprec(mult={match[1]})"


def _set_f(match: re.Match[str]) -> str:
    return f"set_f(x={match[1]})"


def _utility(match: re.Match[str]) -> str:
    weights = match[1].split(",")
    if len(weights) != 4 or float(weights[3] or 0):
        raise InputError(
            f"metric '{match[0]}': utility has four weights here, the last of them 0",
            remedy="e.g. utility(a=2,b=-1)",
        )
    return "utility(" + ",".join(f"{n}={w}" for n, w in zip("abc", weights, strict=False)) + ")"


def _ranx(match: re.Match[str]) -> str:
    """`name[@k]-lN`: documents below grade N gain nothing."""
    base, k, level = match[1].lower(), match[2] or "", int(match[3])
    if base in ("ndcg", "dcg", "ndcg_burges", "dcg_burges"):
        if level > 64:
            raise InputError(f"metric '{match[0]}': the level is too high", remedy="at most 64")
        lost = ";".join(f"{grade}:0" for grade in range(1, level))
        args = [*(["gain=exp"] if base.endswith("_burges") else []), *([f"gains={lost}"] if lost else [])]
        return base.removesuffix("_burges") + (f"({','.join(args)})" if args else "") + k
    rbp = re.match(r"^rbp[.@]([0-9]+)$", base + k)
    if rbp:
        return f"rbp(p=0.{rbp[1]},gain=grade,rel={level})"
    return f"{base}(rel={level}){k}"


def _nauc(match: re.Match[str]) -> str:
    return f"nauc(of={_MTEB[match[1].lower()]}@{match[2]},by={match[3].lower()})"


def _gains(match: re.Match[str]) -> str:
    """trec_eval's `ndcg.1=3,2=9`."""
    return f"{match[1]}(gains={match[2].replace('=', ':').replace(',', ';')})"


_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(rf"^iprec_at_recall[._]({_NUMBER})$"), lambda m: f"iprec(recall={m[1]})"),
    (
        re.compile(rf"^IPrec(?:\(rel=([0-9]+)\))?@({_NUMBER})$"),
        lambda m: f"iprec(recall={m[2]},rel={m[1] or 1})",
    ),
    (re.compile(rf"^Rprec_mult[._]({_NUMBER})$"), _rprec),
    (re.compile(rf"^set_F[._]({_NUMBER})$"), _set_f),
    (re.compile(r"^utility[._](-?[0-9.]+(?:,-?[0-9.]+)*)$"), _utility),
    (
        re.compile(rf"^11pt_avg[._]({_NUMBER}(?:,{_NUMBER})+)$"),
        lambda m: f"ip_auc(levels={m[1].replace(',', ';')})",
    ),
    (re.compile(r"^(ndcg|dcg)[._](-?[0-9]+=-?[0-9.]+(?:,-?[0-9]+=-?[0-9.]+)*)$"), _gains),
    (re.compile(rf"^rbp[._]p=({_NUMBER})$"), lambda m: f"rbp(p={m[1]},gain=share)"),
    (re.compile(rf"^rbp_resid[._]p=({_NUMBER})$"), lambda m: f"rbp_resid(p={m[1]})"),
    (re.compile(r"^([A-Za-z0-9_-]+?)([@.][0-9]+)?-l([0-9]+)$"), _ranx),
    (re.compile(r"^rbp[.@]([0-9]+)$"), lambda m: f"rbp(p=0.{m[1]},gain=grade)"),
    (re.compile(r"^rank_biased_precision\(p=([0-9.]+)\)$"), lambda m: f"rbp(p={m[1]},gain=grade)"),
    (re.compile(r"^(n?dcg)_burges((?:@[0-9]+)?)$", re.I), lambda m: f"{m[1]}(gain=exp){m[2]}"),
    (
        re.compile(r"^nauc_(ndcg|map|recall|precision|p|mrr)(?:_at_|@)([0-9]+)_(max|std|diff1)$", re.I),
        _nauc,
    ),
    # TREC's `P30`, Anserini's `R@1K`, DPR's `top_20_accuracy`
    (re.compile(r"^P([0-9]+)$"), lambda m: f"p@{m[1]}"),
    (re.compile(r"^([A-Za-z]+)@([0-9]+)[kK]$"), lambda m: f"{m[1]}@{m[2]}000"),
    (re.compile(r"^top_([0-9]+)_accuracy$"), lambda m: f"success@{m[1]}"),
    # trec_eval `P.5`, pytrec_eval `P_5`, MTEB `ndcg_at_10`
    (re.compile(r"^(11pt_avg|[A-Za-z_-]+?)(?:_at_|\.|_)([0-9]+)$"), lambda m: f"{m[1]}@{m[2]}"),
)

#: bases of ir_measures whose parameters are spelled otherwise than ours
_IR_MEASURES = re.compile(r"^([A-Za-z_]+)\((.*)\)((?:@[0-9.]+)?)$")


def translated(name: str) -> str:
    """The name in our grammar: `base(parameter=value,...)@cutoff`. Raises InputError for what is refused."""
    text = name.strip().replace("α_", "alpha_").replace("α-", "alpha_")
    if text in _WHOLE:
        return _WHOLE[text]
    if text in _REFUSED:
        why, remedy = _REFUSED[text]
        raise InputError(f"metric '{name}': {why}", remedy=remedy)
    if text.startswith("Accuracy("):  # BEIR's has no parameters
        raise InputError(f"metric '{name}': {_REFUSED['Accuracy'][0]}", remedy=_REFUSED["Accuracy"][1])
    if _ELSEWHERE.match(text):
        raise InputError(f"metric '{name}' {_NO_NUMBER}", remedy="docs/metrics.md lists what was left out")
    if re.match(r"^ERR[_-]IA(?:\(.*\))?@1$", text):
        raise InputError(
            f"metric '{name}': ndeval's ERR-IA@1 is not normalised, unlike ours", remedy="ours is err_ia@1"
        )
    text = _from_ir_measures(text, name)
    for pattern, spell in _PATTERNS:
        match = pattern.match(text)
        if match:
            return spell(match)
    return text


def _from_ir_measures(text: str, name: str) -> str:
    match = _IR_MEASURES.match(text)
    if not match:
        return text
    base, args, k = match.groups()
    parts = [p.strip() for p in top_level(args)]
    if base == "IPrec" and not k:
        return f"iprec({args})"
    if base == "RBP":
        if not any(re.match(r"rel\s*=", p) for p in parts):
            raise InputError(f"metric '{name}': {_REFUSED['RBP'][0]}", remedy=_REFUSED["RBP"][1])
        if not any(re.match(r"p\s*=", p) for p in parts):
            parts.append("p=0.8")
    if base == "NumRet" and any(re.match(r"rel\s*=", p) for p in parts):
        base = "num_rel_ret"
    out = []
    for part in parts:
        key, _, value = (p.strip() for p in part.partition("="))
        value = value.strip("'\"")
        if key == "judged_only":
            if value.lower() not in ("false", "0"):
                raise InputError(
                    f"metric '{name}': judged_only is not among our measures' parameters",
                    remedy="take the unjudged documents out of the run",
                )
            continue
        if key == "relative" and base == "SetP":
            base = "set_relative_p" if value.lower() in ("true", "1") else base
            continue
        if key == "dcg":
            if value not in ("log2", "exp-log2"):
                raise InputError(f"metric '{name}': dcg can't be '{value}'", remedy="log2 or exp-log2")
            key, value = "gain", "linear" if value == "log2" else "exp"
        if key == "gains" and value.startswith("{"):
            value = re.sub(r"[{}\s]", "", value).replace(",", ";")
        if key == "beta" and base == "SetF":
            key = "x"
        out.append(f"{key}={value}")
    return base + (f"({','.join(out)})" if out else "") + k


def top_level(args: str) -> list[str]:
    """Splits at the commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(args):
        depth += (c in "({") - (c in ")}")
        if c == "," and not depth:
            parts.append(args[start:i])
            start = i + 1
    return [p for p in (*parts, args[start:]) if p.strip()]


_CUTS = (5, 10, 15, 20, 30, 100, 200, 500, 1000)
_LEVELS = tuple(i / 10 for i in range(11))
_COUNTS = ("num_q", "num_ret", "num_rel", "num_rel_ret")
_OFFICIAL = (
    *_COUNTS, "map", "gm_map", "Rprec", "bpref", "recip_rank",
    *(f"iprec_at_recall_{r}" for r in _LEVELS), *(f"P_{k}" for k in _CUTS),
)  # fmt: skip
_SET = ("set_P", "set_recall", "set_relative_P", "set_map", "set_F")
#: trec_eval's names of groups (`-m official`)
GROUPS = {
    "official": _OFFICIAL,
    "set": (*_COUNTS, "utility", *_SET),
    "all_trec": (
        *_OFFICIAL, *(f"recall_{k}" for k in _CUTS), "infAP", "gm_bpref",
        *(f"Rprec_mult_{m / 5}" for m in range(1, 11)), "utility", "11pt_avg", "binG", "G", "ndcg", "ndcg_rel", "Rndcg",
        *(f"{m}_{k}" for m in ("ndcg_cut", "map_cut", "relative_P") for k in _CUTS),
        *(f"success_{k}" for k in (1, 5, 10)), *_SET, "num_nonrel_judged_ret", "rbp", "rbp_resid",
        *(f"unj_{k}" for k in (5, 10, 20)),
    ),
}  # fmt: skip
#: trec_eval's measures that take many cutoffs after a dot
_MANY = re.compile(
    rf"^(ndcg_cut|map_cut|P|recall|relative_P|success|unj|iprec_at_recall|Rprec_mult)[._]({_NUMBER}(?:,{_NUMBER})+)$"
)


#: What trec_eval and pytrec_eval make of these names without a cutoff; `recall` and `success` alike are refused, as
#: other tools have them too.
_WITH_CUTS: Mapping[str, Sequence[object]] = {
    **dict.fromkeys(("ndcg_cut", "map_cut", "relative_P"), _CUTS),
    "Rprec_mult": [m / 5 for m in range(1, 11)],
}


def expanded(name: str) -> list[str]:
    """Many names for trec_eval's groups and lists of cutoffs (`P.5,10`), the name itself otherwise."""
    if name in GROUPS:
        return list(GROUPS[name])
    if name.strip() in _WITH_CUTS:
        return [f"{name.strip()}_{k}" for k in _WITH_CUTS[name.strip()]]
    match = _MANY.match(name.strip())
    return [f"{match[1]}_{k}" for k in match[2].split(",")] if match else [name]
