"""What a sweep found: ``sweep.json``, ``sweep.md`` and ``figures/sweep.png``."""

from pathlib import Path
from typing import Any

import numpy as np

from bdjax import plots, storage, telemetry
from bdjax.evaluation import (
    AucSummary,
    Interval,
    Table,
    auc_cell,
    auc_gain,
    summarize_auc,
)
from bdjax.experiments import reporting
from bdjax.experiments.figures import VARIANT_NAMES, labelled_scores
from bdjax.experiments.sweep import Sweep

TUNED, UNTUNED = "jumbo", "no_tuning"

# Xu et al., S&P 2021, Fig. 6: AUC by total number of shadow models, by task and attack;
# read off the plot, good to about .01.
PUBLISHED = {
    ("mnist", "M"): dict(
        zip(
            (2**k for k in range(5, 13)),
            (0.80, 0.915, 0.945, 0.99, 0.99, 0.995, 0.995, 0.998),
            strict=True,
        )
    ),
    ("cifar10", "M"): dict(
        zip(
            (2**k for k in range(5, 13)),
            (0.75, 0.80, 0.86, 0.87, 0.87, 0.885, 0.91, 0.92),
            strict=True,
        )
    ),
}

Curves = dict[str, dict[str, dict[int, AucSummary]]]


def aucs(sweep: Sweep) -> Curves:
    """AUC of benign against trojaned targets, by attack, variant and size."""
    return {
        attack: {
            variant: {
                size: summarize_auc(
                    *labelled_scores(found.scores, attack),
                    confidence=sweep.config.bootstrap.confidence,
                )
                for size, found in by_size.items()
            }
            for variant, by_size in sweep.fitted.items()
        }
        for attack in sweep.config.population.target_attacks
    }


def gains(sweep: Sweep) -> dict[str, dict[int, tuple[float, Interval]]]:
    """What tuning adds to the mean AUC, by attack and size; {} without both."""
    if not {TUNED, UNTUNED} <= sweep.fitted.keys():
        return {}
    tuned, untuned = sweep.fitted[TUNED], sweep.fitted[UNTUNED]
    return {
        attack: {
            size: auc_gain(
                *labelled_scores(tuned[size].scores, attack),
                labelled_scores(untuned[size].scores, attack)[1],
                bootstrap=sweep.config.bootstrap,
            )
            for size in sweep.sizes
        }
        for attack in sweep.config.population.target_attacks
    }


def published(sweep: Sweep) -> dict[str, dict[int, float]]:
    """The paper's curves, by attack, of those that it has and we could read."""
    attacks = sweep.config.population.target_attacks
    keys = [(sweep.config.task, attack) for attack in attacks]
    return {key[1]: PUBLISHED[key] for key in keys if key in PUBLISHED}


def results(sweep: Sweep, clock: telemetry.Clock) -> dict[str, Any]:
    """Everything measured, ready for JSON; ``auc.<attack>.<variant>.<size>``."""
    return {
        "sizes": list(sweep.sizes),
        "equal_steps": sweep.options.equal_steps,
        "steps": {
            variant: {size: found.steps for size, found in by_size.items()}
            for variant, by_size in sweep.fitted.items()
        },
        "auc": {
            attack: {
                variant: {size: point.to_dict() for size, point in points.items()}
                for variant, points in curves.items()
            }
            for attack, curves in aucs(sweep).items()
        },
        "gain_of_tuning": {
            attack: {
                size: {"mean": gain, "low": interval.low, "high": interval.high}
                for size, (gain, interval) in points.items()
            }
            for attack, points in gains(sweep).items()
        },
        "published": published(sweep),
        "findings": findings(sweep),
        **reporting.machine(clock),
        "notes": sweep.trained.notes,
        "config": sweep.config.semantic(),
    }


def tables(sweep: Sweep) -> list[Table]:
    """One a target attack, a row a number of shadows."""
    gained, paper = gains(sweep), published(sweep)
    first = next(iter(sweep.fitted.values()))
    found = []
    for attack, curves in aucs(sweep).items():
        columns = ["shadows", "steps", *(VARIANT_NAMES[v] for v in curves)]
        columns += ["gain of tuning"] * bool(gained) + ["paper"] * (attack in paper)
        rows = []
        for size in sweep.sizes:
            row = [str(size), f"{first[size].steps:,}"]
            row += [auc_cell(points[size]) for points in curves.values()]
            if gained:
                gain, interval = gained[attack][size]
                row.append(f"{gain:+.3f} [{interval.low:+.2f}, {interval.high:+.2f}]")
            if attack in paper:
                row.append(
                    f"{paper[attack][size]:.3g}" if size in paper[attack] else ""
                )
            rows.append(tuple(row))
        found.append(
            Table(
                title=f"Attack {attack}: AUC, mean ± std of "
                f"{sweep.config.fit.repeats} repeats "
                f"[{sweep.config.bootstrap.confidence:.0%} interval over models]",
                columns=tuple(columns),
                rows=tuple(rows),
            )
        )
    return found


def findings(sweep: Sweep) -> list[str]:
    """In words, whether the paper's two findings show; a sentence each and attack."""
    curves, gained = aucs(sweep), gains(sweep)
    lines = []
    for attack, by_variant in curves.items():
        points = next(iter(by_variant.values()))
        if len(points) > 1:
            lines.append(f"Attack {attack}: {_shape(points)}")
        if gained:
            lines.append(f"Attack {attack}: {_loss(points, gained[attack])}")
    return lines


def _shape(points: dict[int, AucSummary]) -> str:
    (few, first), *_, (many, last) = sorted(points.items())
    rise = last.mean - first.mean
    spread = float(np.hypot(first.std, last.std))
    text = f"AUC {first.mean:.3f} on {few} shadows, {last.mean:.3f} on {many}"
    if rise > max(spread, 0.02):
        below = [n for n, p in points.items() if last.mean - p.mean > 0.02]
        return f"{text}: it rises as Fig. 6 has it, by the last .02 above {max(below)}"
    if first.mean >= 0.97:
        return f"{text}: at its ceiling from the start, so Fig. 6's rise cannot show"
    return f"{text}: Fig. 6's rise does not show beyond the repeats' spread"


def _loss(
    points: dict[int, AucSummary], gained: dict[int, tuple[float, Interval]]
) -> str:
    size = max(gained, key=lambda n: gained[n][0])
    gain, interval = gained[size]
    share = gain / points[size].mean if points[size].mean else 0.0
    text = (
        f"without tuning at most {gain:.3f} AUC is lost, {share:.0%} of the tuned one "
        f"(on {size} shadows, interval {interval.low:+.2f} to {interval.high:+.2f})"
    )
    if interval.low <= 0:
        return f"{text}: the paper's finding (up to 30 %) does not show"
    if share < 0.2:
        return f"{text}: tuning helps, but by less than the paper's 'up to 30 %'"
    return f"{text}: the paper's finding (up to 30 %) shows"


def write(sweep: Sweep, workdir: Path, clock: telemetry.Clock) -> dict[str, Any]:
    """Writes figure, JSON and Markdown; returns the results."""
    name = "sweep-equal_steps" if sweep.options.equal_steps else "sweep"
    with clock.phase("report"):
        figure = plots.size_curves(
            {
                f"attack {attack}": {
                    VARIANT_NAMES[variant]: points for variant, points in curves.items()
                }
                for attack, curves in aucs(sweep).items()
            },
            f"{sweep.trained.dataset.name}: detection AUC by number of shadow models",
            unit="shadow models",
            references={f"attack {a}": line for a, line in published(sweep).items()},
        )
        path = plots.save(figure, workdir / "figures" / f"{name}.png")
    found = results(sweep, clock)
    storage.write_json(workdir / f"{name}.json", found)
    text = _markdown(sweep, found, path, workdir)
    (workdir / f"{name}.md").write_text(text, encoding="utf-8")
    return found


def _markdown(sweep: Sweep, found: dict[str, Any], drawn: Path, workdir: Path) -> str:
    config = sweep.config
    length = (
        f"Every fit makes {config.fit.epochs} passes over its shadows, as in the "
        "paper, so fits to few make few Adam steps (see the tables; `--equal_steps` "
        "takes that out)."
    )
    if sweep.options.equal_steps:
        length = (
            "Every fit makes as many Adam steps as the largest, by more passes over "
            "fewer shadows (not the paper's way)."
        )
    lines = [
        f"# MNTD on {sweep.trained.dataset.name}: number of shadows and query tuning",
        "",
        "One population; fits to nested subsets of its shadows, the first half benign, "
        "half trojaned; validation shadows and targets are the same for all. " + length,
        "",
        reporting.machine_line(found),
        "",
    ]
    for note in found["notes"]:
        lines += [f"**Note:** {note}.", ""]
    for table in tables(sweep):
        lines += [table.to_markdown(), ""]
    lines += [f"- {line}." for line in found["findings"]]
    caption = "AUC by number of shadow models; band: one std over repeats"
    lines += ["", *reporting.figure_lines({caption: drawn}, workdir)]
    return "\n".join(lines)
