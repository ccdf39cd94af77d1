"""The tables of a report, of its results; cells are text."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bdjax.evaluation import AucSummary, Table, auc_cell
from bdjax.report.numbers import ALL, BENIGN, CALLS, merged

Results = Mapping[str, Any]


def answer(found: Results) -> list[Table]:
    """What a report opens with: AUCs and verdicts."""
    return _filled([_aucs(found), _verdicts(found)])


def details(found: Results) -> list[Table]:
    """All others that have a row."""
    return _filled(
        [
            _rates(found),
            _targets(found),
            _by_detector(found, "kinds", "AUC by trigger", "attack: trigger, size"),
            _by_detector(found, "networks", "AUC by network", "network, recipe"),
            *_sweeps(found),
            _by_detector(
                found, "quantiles", "AUC, all attacks, of the similarities' quantile Q",
                "Q",
            ),
            _controls(found),
            _populations(found),
            _seconds(found),
        ]
    )  # fmt: skip


def _filled(tables: Iterable[Table]) -> list[Table]:
    return [table for table in tables if table.rows]


def _attacks(found: Results) -> list[str]:
    """Of all targets, in order, all together last."""
    names = dict.fromkeys(a for by_attack in found["auc"].values() for a in by_attack)
    return sorted(names, key=lambda name: name == ALL)


def _aucs(found: Results) -> Table:
    attacks = _attacks(found)
    confidence = found["experiment"].get("confidence", 0.95)
    return Table(
        title=f"Detection AUC: mean ± std over repeats [{confidence:.0%} interval over "
        "models]",
        columns=("detector", *attacks),
        rows=tuple(
            (found["titles"][name], *(_auc(aucs.get(attack)) for attack in attacks))
            for name, aucs in found["auc"].items()
        ),
    )


def _verdicts(found: Results) -> Table:
    kinds = [BENIGN, *(name for name in _attacks(found) if name != ALL)]
    rows = []
    for name, tallies in found["verdicts"].items():
        if tallies:
            cells = (_tally(tallies.get(kind)) for kind in kinds)
            rows.append((found["titles"][name], *cells, _reason(tallies)))
    return Table(
        title="Verdicts on targets in %: trojaned / inconclusive / not flagged",
        columns=("detector", *kinds, "inconclusive mainly as"),
        rows=tuple(rows),
    )


def _tally(found: Mapping[str, Any] | None) -> str:
    """Such as ``"25 / 50 / 25"``."""
    if not found or not found["models"]:
        return ""
    return " / ".join(f"{100 * found[name] / found['models']:.0f}" for name in CALLS)


def _reason(tallies: Mapping[str, Any]) -> str:
    every = (item for tally in tallies.values() for item in tally["reasons"].items())
    main = next(iter(merged(every)), "")
    return main if len(main) <= 80 else f"{main[:78]}.."


def _rates(found: Results) -> Table:
    attacks = [name for name in _attacks(found) if name != ALL]
    rows = []
    for name, rules in found["rates"].items():
        for rule, rates in rules.items():
            cells = (
                _number(rates["attacks"].get(attack), lambda r: f"{r['tpr']:.0%}")
                for attack in attacks
            )
            benign = rates["flagged"] / rates["benign"] if rates["benign"] else None
            rows.append(
                (
                    f"{found['titles'][name]}, {rule}",
                    f"{rates['threshold']:.3g}",
                    _number(benign, "{:.0%}".format),
                    *cells,
                )
            )
    return Table(
        title="Flagged targets by threshold",
        columns=("detector, threshold", "value", BENIGN, *attacks),
        rows=tuple(rows),
    )


def _targets(found: Results) -> Table:
    rows = []
    for name, title in found["titles"].items():
        by_attack, overlaps = found["targets_named"][name], found["iou"][name]
        for attack in dict.fromkeys([*by_attack, *overlaps]):
            each = by_attack.get(attack)
            cells = (
                _share(each, share, of)
                for share, of in (
                    ("share", "models"),
                    ("share_of_detected", "detected"),
                    ("share_of_named", "named"),
                )
            )
            overlap = _number(overlaps.get(attack), "{:.2f}".format)
            rows.append((f"{title}, {attack}", *cells, overlap))
    return Table(
        title="Most suspicious label is the target; recovered masks",
        columns=(
            *("detector, attack", "of all", "of detected", "of named"),
            "median IoU of the first models",
        ),
        rows=tuple(rows),
    )


def _share(found: Mapping[str, Any] | None, share: str, of: str) -> str:
    if not found or found[share] is None:
        return ""
    return f"{found[share]:.0%} of {found[of]}"


def _by_detector(found: Results, measure: str, title: str, first: str) -> Table:
    """A row a kind of model or setting, a column a detector."""
    columns = {name: aucs for name, aucs in found[measure].items() if aucs}
    kinds = dict.fromkeys(kind for aucs in columns.values() for kind in aucs)
    return Table(
        title=title,
        columns=(first, *(found["titles"][name] for name in columns)),
        rows=tuple(
            (
                kind if isinstance(kind, str) else f"{kind:g}",
                *(_auc(aucs.get(kind)) for aucs in columns.values()),
            )
            for kind in kinds
        ),
    )


def _sweeps(found: Results) -> Iterable[Table]:
    for sweep in found["sweeps"].values():
        for attack, fields in sweep["attacks"].items():
            gained, paper, curves = (
                fields["gain_of_tuning"], fields["published"], fields["auc"]
            )  # fmt: skip
            columns = [sweep["unit"], *(sweep["titles"][name] for name in curves)]
            columns += ["gain of tuning"] * bool(gained) + ["paper"] * bool(paper)
            rows = []
            for number in sorted({n for points in curves.values() for n in points}):
                row = [str(number), *(_auc(p.get(number)) for p in curves.values())]
                if gained:
                    row.append(_number(gained.get(number), _gain))
                if paper:
                    row.append(_number(paper.get(number), "{:.3g}".format))
                rows.append(tuple(row))
            yield Table(
                title=f"AUC by {sweep['unit']}: {attack}",
                columns=tuple(columns),
                rows=tuple(rows),
            )


def _gain(gain: Mapping[str, float]) -> str:
    return f"{gain['mean']:+.3f} [{gain['low']:+.2f}, {gain['high']:+.2f}]"


def _controls(found: Results) -> Table:
    return Table(
        title="Controls: AUC of the error rate alone; failed attacks",
        columns=(
            *("attack", "accuracy alone", "models", "failed"),
            *("AUC without failed", "AUC on failed"),
        ),
        rows=tuple(
            (
                attack,
                _number(fields["accuracy_alone"], "{:.3f}".format),
                str(fields["models"]),
                str(fields["failed_models"]),
                *(
                    _number(fields[k], "{:.3f}".format)
                    for k in ("successful", "failed")
                ),
            )
            for attack, fields in found["controls"].items()
        ),
    )


def _populations(found: Results) -> Table:
    every = found["populations"]
    networks = len({(f["architecture"], f["recipe"]) for f in every.values()}) > 1
    return Table(
        title="Models: mean ± std over models",
        columns=(
            "population", *["network, recipe"] * networks, "models", "accuracy", "ASR",
            "failed attacks", "loss",
        ),
        rows=tuple(
            (
                name,
                *[f"{f['architecture']} {f['recipe']}".strip()] * networks,
                str(f["models"]),
                *(_number(f[k], _spread) for k in ("accuracy", "asr")),
                str(f["failed"]) if f["trojaned"] else "",
                _number(f["loss"], _spread),
            )
            for name, f in every.items()
        ),
    )  # fmt: skip


def _spread(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.3f} ± {found['std']:.3f}"


def _seconds(found: Results) -> Table:
    return Table(
        title="Wall time a model in seconds",
        columns=("detector", "models", "median", "longest", "first, compiles"),
        rows=tuple(
            (
                found["titles"][name],
                str(times["models"]),
                *(f"{times[key]:.2g}" for key in ("median", "max", "first")),
            )
            for name, times in found["seconds_a_model"].items()
            if times
        ),
    )


def _auc(found: AucSummary | None) -> str:
    return auc_cell(found) if found else ""


def _number(value: Any, form: Callable[[Any], str]) -> str:
    """A cell; empty where nothing is known."""
    return "" if value is None else form(value)
