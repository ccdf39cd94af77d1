"""The tables of a DL-TND and DF-TND report."""

from bdjax.evaluation import AucSummary, Table, auc_cell
from bdjax.experiments import reporting, tnd_scores
from bdjax.experiments.tnd import TARGET, Outcome
from bdjax.experiments.tnd_config import BENIGN, VARIANTS


def tables(outcome: Outcome) -> list[Table]:
    """The tables that a run prints."""
    config = outcome.config
    found = [
        _auc_table(outcome),
        _rates_table(outcome),
        _conclusions_table(outcome),
        _labels_table(outcome),
        _kinds_table(outcome),
        *_sweep_tables(outcome),
        _controls_table(outcome),
        reporting.quality_table(outcome.populations, config.min_asr),
        _seconds_table(outcome),
    ]
    return [table for table in found if table.rows]


def _auc_table(outcome: Outcome) -> Table:
    rows = []
    for case in tnd_scores.main_cases(outcome):
        found = tnd_scores.aucs(outcome, case)
        count = len(tnd_scores.judged(outcome, case, f"{TARGET}-{BENIGN}"))
        cells = [_auc(summary) for summary in found.values()]
        rows.append((VARIANTS[case.variant].title, f"{count}", *cells))
    confidence = outcome.config.confidence
    return Table(
        title=f"Detection AUC [{confidence:.0%} interval over models], "
        f"{outcome.config.per_class} clean images a class",
        columns=("detector", "benign targets", *found),
        rows=tuple(rows),
    )


def _rates_table(outcome: Outcome) -> Table:
    attacks = list(outcome.config.population.target_attacks)
    rows = []
    for case in tnd_scores.main_cases(outcome):
        for rule, rates in tnd_scores.rates(outcome, case).items():
            found = (rates["attacks"].get(attack) for attack in attacks)
            rows.append(
                (
                    f"{VARIANTS[case.variant].title}, {rule}",
                    f"{rates['threshold']:.3g}",
                    f"{rates['false_positive_rate']:.0%}",
                    *(f"{rate['tpr']:.0%}" if rate else "" for rate in found),
                )
            )
    return Table(
        title="Flagged targets by threshold that calibration models set",
        columns=("detector, threshold", "value", BENIGN, *attacks),
        rows=tuple(rows),
    )


def _conclusions_table(outcome: Outcome) -> Table:
    rows = []
    for case in tnd_scores.main_cases(outcome):
        found = tnd_scores.conclusions(outcome, case)
        grey, threshold = tnd_scores.built_in(outcome, case)
        cells = [reporting.tally_cell(some) for some in found.values()]
        limits = map(reporting.limit_cell, (grey, threshold))
        rows.append((VARIANTS[case.variant].title, *limits, *cells))
    return Table(
        title="Verdicts on targets in %: trojaned / inconclusive / not flagged",
        columns=("detector", "grey from", "threshold", *found),
        rows=tuple(rows),
    )


def _labels_table(outcome: Outcome) -> Table:
    rows = []
    for case in tnd_scores.main_cases(outcome):
        for attack, found in tnd_scores.labels_found(outcome, case).items():
            overlap = tnd_scores.overlaps(outcome, case, f"{TARGET}-{attack}")
            rows.append(
                (
                    f"{VARIANTS[case.variant].title}, {attack}",
                    f"{found['share']:.0%} of {found['models']}",
                    ""
                    if found["share_of_detected"] is None
                    else f"{found['share_of_detected']:.0%} of {found['detected']}",
                    _number(tnd_scores.median_overlap(overlap), "{:.2f}"),
                )
            )
    return Table(
        title="Most suspicious label is the target; masks",
        columns=("detector, attack", "of all", "of detected", "median IoU"),
        rows=tuple(rows),
    )


def _kinds_table(outcome: Outcome) -> Table:
    case = tnd_scores.main_cases(outcome)[0]
    return Table(
        title=f"{VARIANTS[case.variant].title}: AUC by trigger",
        columns=("attack: trigger", "pixels", "models", "AUC", "median IoU"),
        rows=tuple(
            (
                name,
                str(found["pixels"]),
                str(found["auc"].positives),
                auc_cell(found["auc"]),
                _number(found["iou"], "{:.2f}"),
            )
            for name, found in tnd_scores.kinds(outcome, case).items()
        ),
    )


def _sweep_tables(outcome: Outcome) -> list[Table]:
    config = outcome.config
    rows = [
        (VARIANTS[variant].title, *(_auc(points.get(q)) for q in config.quantiles))
        for variant, points in tnd_scores.quantile_sweep(outcome).items()
    ]
    tables = [
        Table(
            title="AUC, all attacks, of the similarities' quantile Q",
            columns=("detector", *(f"Q = {q:g}" for q in config.quantiles)),
            rows=tuple(rows),
        )
    ]
    counts = sorted({config.per_class, *config.sweep_per_class})
    rows = [
        (
            f"{VARIANTS[variant].title}, {attack}",
            *(_auc(points.get(count)) for count in counts),
        )
        for variant, curves in tnd_scores.image_sweep(outcome).items()
        for attack, points in curves.items()
    ]
    tables.append(
        Table(
            title="AUC by clean images a class",
            columns=("detector, attack", *map(str, counts)),
            rows=tuple(rows),
        )
    )
    return tables


def _controls_table(outcome: Outcome) -> Table:
    return Table(
        title="Controls: AUC of the error rate alone; failed attacks",
        columns=("attack", "accuracy alone", "models", "failed", "AUC on failed"),
        rows=tuple(
            (
                attack,
                _number(found["accuracy_alone"], "{:.3f}"),
                str(found["models"]),
                str(found["failed_models"]),
                _number(found["failed"], "{:.3f}"),
            )
            for attack, found in tnd_scores.controls(outcome).items()
        ),
    )


def _seconds_table(outcome: Outcome) -> Table:
    return Table(
        title="Wall time a model in seconds",
        columns=("case", "models", "median", "longest", "first, compiles"),
        rows=tuple(
            (
                name,
                str(found["models"]),
                *(_number(found[k], "{:.1f}") for k in ("median", "max", "first")),
            )
            for name, found in tnd_scores.seconds(outcome).items()
        ),
    )


def _auc(summary: AucSummary | None) -> str:
    return auc_cell(summary) if summary else ""


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
