"""Reports of made-up runs: numbers against plain NumPy, files, errors, a browser."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from made_run import COLUMNS, DETECTORS, make_run
from PIL import Image
from rich.console import Console

from bdjax import evaluation, report
from bdjax.report import results
from bdjax.types import UserError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run's directory with its report, and what writing returned."""
    directory = make_run(tmp_path_factory.mktemp("report") / "run")
    return directory, report.write(directory)


@pytest.fixture(scope="module")
def found(written):
    return json.loads((written[0] / "results.json").read_text())


@pytest.fixture(scope="module")
def page(written):
    return (written[0] / "report.html").read_text()


@pytest.fixture(scope="module")
def rows(written):
    with open(written[0] / "scores.csv", newline="") as file:
        return list(csv.DictReader(file))


def scores_of(rows, detector, role="target"):
    """Labels, attacks and scores [R, M] of the models that count, by hand."""
    some = [r for r in rows if (r["detector"], r["role"]) == (detector, role)]
    some = [r for r in some if r["holds"] == "1"]
    repeats = sorted({int(r["repeat"]) for r in some})
    if len(repeats) > 1:
        repeats.remove(-1)
    by_repeat = [[r for r in some if int(r["repeat"]) == k] for k in repeats]
    first = by_repeat[0]
    labels = np.array([int(r["trojaned"]) for r in first])
    attacks = np.array([r["attack"] for r in first])
    scores = np.array([[float(r["score"]) for r in each] for each in by_repeat])
    known = ~np.isnan(scores).any(0)
    return labels[known], attacks[known], scores[:, known]


def auc(positive, negative):
    gaps = np.subtract.outer(positive, negative)
    return np.heaviside(gaps, 0.5).mean()


@pytest.mark.parametrize("detector", ["mntd", "dl_tnd-per_class=5", "df_tnd"])
@pytest.mark.parametrize("attack", ["M", "blend", "all attacks"])
def test_aucs_are_means_over_repeats(rows, found, detector, attack):
    labels, attacks, scores = scores_of(rows, detector)
    which = labels == 1 if attack == "all attacks" else attacks == attack
    each = [auc(row[which], row[labels == 0]) for row in scores]
    entry = found["auc"][detector][attack]
    assert entry["mean"] == pytest.approx(np.mean(each))
    assert entry["repeats"] == len(each) == (5 if detector == "mntd" else 1)
    spread = np.std(each, ddof=1) if len(each) > 1 else 0
    assert entry["std"] == pytest.approx(spread)
    interval = evaluation.auc_interval(np.mean(each), which.sum(), (labels == 0).sum())
    assert (entry["low"], entry["high"]) == pytest.approx(
        (interval.low, interval.high), abs=1e-12
    )
    # One blend target failed, three models have no score by DF-TND.
    lost = 1 if detector == "df_tnd" else 0
    assert entry["negatives"] == 12 - lost


def test_thresholds_come_from_calibration_models_alone(rows, found):
    name = "dl_tnd-per_class=5"
    labels, _, (calibration,) = scores_of(rows, name, "calibration")
    targets, attacks, (scores,) = scores_of(rows, name)
    rates = found["rates"][name]
    best = evaluation.best_threshold(labels, calibration)
    few = evaluation.threshold_at_fpr(calibration[labels == 0], 0.1)
    for rule, limit in {
        "calibrated": best, "few alarms": few, "the detector's own": 1.0,
    }.items():  # fmt: skip
        assert rates[rule]["threshold"] == limit
        assert rates[rule]["benign"] == 12
        assert rates[rule]["flagged"] == (scores[targets == 0] > limit).sum()
        hits = (scores[attacks == "M"] > limit).mean()
        assert rates[rule]["attacks"]["M"]["tpr"] == pytest.approx(hits)


def test_verdicts_are_tallied_with_their_reasons(rows, found):
    joint = [
        r
        for r in rows
        if r["detector"] == "mntd" and r["role"] == "target" and r["repeat"] == "-1"
    ]
    for kind in ("benign", "M", "blend"):
        some = [r for r in joint if r["attack"] == kind and r["holds"] == "1"]
        entry = found["verdicts"]["mntd"][kind]
        assert entry["models"] == len(some) == (11 if kind == "blend" else 12)
        for conclusion in ("trojaned", "inconclusive", "benign"):
            count = sum(r["conclusion"] == conclusion for r in some)
            assert entry[conclusion] == count
        unsure = entry["inconclusive"]
        # Reasons that differ in their numbers alone are one.
        assert sorted(entry["reasons"].values()) == [unsure, unsure] * bool(unsure)
    assert found["verdicts"]["accuracy"] == {}
    unjudged = found["verdicts"]["df_tnd"]["benign"]
    assert unjudged["reasons"]["not judged: constant logits"] == 1
    assert found["unjudged"]["df_tnd"] == 6


def test_targets_named_right(rows, found):
    name = "dl_tnd-per_class=5"
    some = [
        r
        for r in rows
        if r["detector"] == name and r["population"] == "target-M"
    ]  # fmt: skip
    right = [r["top_label"] == r["target"] for r in some]
    named = [r for r in some if r["named_target"]]
    entry = found["targets_named"][name]["M"]
    assert (entry["models"], entry["right"]) == (12, sum(right))
    assert entry["share"] == pytest.approx(np.mean(right))
    good = np.mean([r["named_target"] == r["target"] for r in named])
    assert (entry["named"], entry["share_of_named"]) == (len(named), good)
    assert found["targets_named"]["mntd"] == {}


def test_masks_are_held_against_the_true_ones(found):
    # 4 x 4 pixels recovered of 4 x 6.
    assert found["iou"]["dl_tnd-per_class=5"] == pytest.approx(
        {"M": 2 / 3, "blend": 2 / 3}
    )
    assert found["iou"]["mntd"] == {}


def test_triggers_by_kind_and_size(rows, found):
    assert list(found["kinds"]["mntd"]) == ["M: patch, 4", "M: patch, 9"]
    some = [r for r in rows if r["detector"] == "df_tnd" and r["role"] == "target"]
    small = [float(r["score"]) for r in some if r["trigger_size"] == "4"]
    benign = [float(r["score"]) for r in some if r["trojaned"] == "0"]
    small, benign = (np.array(x)[~np.isnan(x)] for x in (small, benign))
    entry = found["kinds"]["df_tnd"]["M: patch, 4"]
    assert entry["mean"] == pytest.approx(auc(small, benign))


def test_failed_attacks_are_apart_and_accuracy_beside(rows, found):
    models = {(r["population"], r["id"]): r for r in rows if r["role"] == "target"}
    error = {
        kind: np.array(
            [
                1 - float(r["accuracy"])
                for r in models.values()
                if r["attack"] == kind and r["holds"] == "1"
            ]
        )
        for kind in ("benign", "blend")
    }
    entry = found["controls"]["blend"]
    assert (entry["models"], entry["failed_models"]) == (12, 1)
    alone = auc(error["blend"], error["benign"])
    assert entry["accuracy_alone"] == pytest.approx(alone)
    assert found["auc"]["accuracy"]["blend"]["mean"] == pytest.approx(alone)
    assert 0 <= entry["failed"] <= 1
    assert entry["successful"] == pytest.approx(found["auc"]["mntd"]["blend"]["mean"])
    assert found["controls"]["M"]["failed"] is None


def test_populations_and_seconds(rows, found):
    entry = found["populations"]["shadow-blend"]
    asr = [float(r["asr"]) for r in rows if r["population"] == "shadow-blend"]
    assert (entry["models"], entry["failed"], entry["role"]) == (6, 1, "shadow")
    assert entry["asr"]["mean"] == pytest.approx(np.mean(asr))
    assert entry["asr"]["std"] == pytest.approx(np.std(asr, ddof=1))
    assert found["populations"]["target-benign"]["asr"] is None
    some = [r for r in rows if r["detector"] == "mntd" and r["seconds"]]
    seconds = [float(r["seconds"]) for r in some]
    assert found["seconds_a_model"]["mntd"] == pytest.approx(
        {
            "models": 60, "first": seconds[0], "median": np.median(seconds[1:]),
            "max": max(seconds[1:]),
        }
    )  # fmt: skip


def test_sweeps_with_what_tuning_adds_and_the_papers_curve(found):
    sweep = found["sweeps"]["shadows"]
    assert sweep["unit"] == "shadow models"
    points = sweep["attacks"]["M"]
    # The one without an option has all shadows.
    assert list(points["auc"]["mntd"]) == ["18", "32", "64"]
    assert points["auc"]["mntd"]["64"] == found["auc"]["mntd-shadows=64"]["M"]
    assert points["published"]["64"] == 0.915
    assert sweep["attacks"]["blend"]["published"] == {}
    gain = points["gain_of_tuning"]["32"]
    means = [
        found["auc"][f"{name}-shadows=32"]["M"]["mean"]
        for name in ("mntd", "mntd_no_tuning")
    ]
    assert gain["mean"] == pytest.approx(means[0] - means[1])
    assert gain["low"] <= gain["mean"] <= gain["high"]
    assert list(found["sweeps"]["per_class"]["attacks"]["M"]["auc"]["dl_tnd"]) == [
        "1",
        "5",
    ]


def test_quantiles_only_where_there_are_similarities(found):
    assert list(found["quantiles"]["dl_tnd-per_class=5"]) == ["0.25", "0.5"]
    # Only the target's similarities are all high.
    assert found["quantiles"]["dl_tnd-per_class=5"]["0.25"]["mean"] == 1
    assert found["quantiles"]["mntd"] == found["quantiles"]["df_tnd"] == {}


def test_a_detector_that_scores_anothers_solutions_is_shown_once(tmp_path):
    directory = make_run(tmp_path, detectors=("dl_tnd-per_class=5", "df_tnd"))
    folder = directory / "artefacts"
    shutil.copytree(folder / "dl_tnd-per_class=5", folder / "df_tnd")
    found = report.write(directory).results
    assert found["derived"] == ["df_tnd"]
    assert found["quantiles"]["df_tnd"] == {}
    assert "DF-TND" in (directory / "report.md").read_text()
    assert not any("DF-TND" in line for line in found["findings"])
    assert not (directory / "figures" / "similarity-df_tnd.png").exists()


def test_similarity_without_similarities_is_no_chance(tmp_path):
    directory = make_run(tmp_path, artefacts=False)
    run = report.read(directory)
    found = results.compute(run)
    assert not any(found["quantiles"].values())
    assert not any(found["iou"].values())


def test_figures_there_are(written):
    names = {path.stem for path in (written[0] / "figures").iterdir()}
    assert names == {
        "roc-M", "roc-blend", "quality", "quantiles", "triggers", "queries-mntd",
        "sweep-shadows", "sweep-per_class", "scores-mntd", "scores-accuracy",
        "scores-df_tnd", "scores-dl_tnd-per_class=5", "similarity-dl_tnd-per_class=5",
        "scores-mntd_no_tuning-shadows=64", "recovered-dl_tnd-per_class=5",
    }  # fmt: skip


def test_markdown_opens_with_the_answer(written):
    text = (written[0] / "report.md").read_text()
    title, _, best, *_ = text.splitlines()
    assert title == "# Detectors on mnist"
    assert best.startswith("Of 8 detectors jumbo MNTD (shadows=64) best separates")
    assert text.index("| detector |") < text.index("## What was found")
    assert "**Note:** shadows were few." in text
    assert "Device: 1 x abacus. Wall time: training 12 s. Peak memory: 1.0 GiB." in text
    for path in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (written[0] / path).exists()


def test_html_is_one_file_and_opens_with_the_answer(page):
    assert not re.search(r"https?:|(src|href|url)\W+//", page)
    assert not re.search(r"<(link|iframe|object)|@import|src=\"(?!data:)", page)
    assert page.index("best separates") < page.index("Detection AUC")
    assert page.index("Detection AUC") < page.index("<img")
    assert page.count("data:image/png;base64,") == 15
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_html_has_a_row_a_model_to_sort_and_filter(page, rows):
    table = page[page.index('<table id="zoo">') : page.index('<section id="details">')]
    models = {(r["population"], r["id"]) for r in rows}
    assert table.count("<tr>") == 1 + len(models)
    heads = re.findall(r'<th aria-sort="none"><button type="button">(.*?)<', table)
    assert heads[:3] == ["population", "id", "role"]
    assert heads[-len(DETECTORS) :] == list(DETECTORS.values())
    assert re.search(r'<td data-key="-?\d+\.\d+" class="trojaned">\d.* trojaned', table)
    assert "blend (failed)" in table
    assert "not judged" in table


def test_what_is_text_stays_text(tmp_path):
    directory = make_run(tmp_path, detectors=("accuracy",), artefacts=False)
    path = directory / "scores.csv"
    path.write_text(path.read_text().replace("accuracy alone", "<script>a|b*</script>"))
    report.write(directory)
    page = (directory / "report.html").read_text()
    assert "&lt;script&gt;a|b*&lt;/script&gt;" in page
    assert "<script>a" not in page
    assert r"\<script>a\|b\*\</script>" in (directory / "report.md").read_text()


def test_a_report_is_the_same_again(tmp_path):
    directory = make_run(tmp_path, detectors=("mntd",))
    report.write(directory)
    kept = ("experiment.json", "scores.csv", "artefacts")
    made = {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*.*")
        if path.relative_to(directory).parts[0] not in kept and path.is_file()
    }
    assert len(made) > 5
    for path in directory.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    report.write(directory)
    assert all((directory / path).read_bytes() == data for path, data in made.items())


def test_no_model_is_needed_or_loaded(tmp_path):
    directory = make_run(tmp_path, detectors=("accuracy",), artefacts=False)
    code = (
        "import sys; from bdjax import report; report.write(sys.argv[1]);"
        "rooms = 'population attacks mntd tnd detectors experiments'.split();"
        "sys.exit(str([r for r in rooms if f'bdjax.{r}' in sys.modules] or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(directory)], capture_output=True, text=True
    )
    assert done.stderr == "\n"


def spoil(directory, column, value, row=1):
    path = directory / "scores.csv"
    with open(path, newline="") as file:
        table = list(csv.reader(file))
    table[row][COLUMNS.index(column)] = value
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(table)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda d: (d / "experiment.json").unlink(), "is no run: there is no exp"),
        (lambda d: (d / "scores.csv").unlink(), "has no scores.csv: no detector has"),
        (lambda d: (d / "scores.csv").write_text(""), "cannot be read: No columns"),
        (lambda d: (d / "scores.csv").write_text("a,b\n1,2\n"), "lacks the columns"),
        (
            lambda d: (d / "scores.csv").write_text(",".join(COLUMNS) + "\n"),
            "holds no model",
        ),
        (lambda d: spoil(d, "score", "high"), "column 'score': .*'high'"),
        (lambda d: spoil(d, "holds", "", 3), "column 'holds' is empty in row 2"),
        (lambda d: (d / "experiment.json").write_text("[]"), "holds no experiment"),
        (lambda d: (d / "experiment.json").write_text("{"), "is not JSON"),
    ],
)
def test_what_is_no_run_is_refused_in_a_line(harm, message, tmp_path):
    directory = make_run(tmp_path, detectors=("accuracy",), artefacts=False)
    harm(directory)
    with pytest.raises(UserError, match=message) as caught:
        report.write(directory)
    assert "\n" not in str(caught.value)


def test_a_damaged_artefact_is_named(tmp_path):
    directory = make_run(tmp_path, detectors=("mntd",))
    (directory / "artefacts" / "populations" / "target-M.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"target-M.npz cannot be read"):
        report.write(directory)


def test_a_run_without_targets_or_detectors(tmp_path):
    directory = make_run(tmp_path, detectors=(), artefacts=False)
    found = report.write(directory)
    assert found.answer == "\n"
    assert found.best == ""
    assert "**Models: mean ± std over models**" in found.details


def chromium(page, directory, *flags):
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu",
            f"--user-data-dir={directory}", "--window-size=420,900",
            "--host-resolver-rules=MAP * ~NOTFOUND", *flags, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(not CHROMIUM, reason="no chromium to open reports in")
def test_a_browser_sorts_and_filters(written, tmp_path):
    text = (written[0] / "report.html").read_text()
    acts = """<script>
      const wide = document.documentElement.scrollWidth > innerWidth;
      role.value = ""; search.value = "Blend target"; filter();
      const head = heads.findIndex((h) => h.textContent === "jumbo MNTD");
      heads[head].click(); heads[head].click();
      const shown = rows.filter(({row}) => !row.hidden).map((r) => r.keys[head]);
      document.body.innerHTML = `${wide}|${shown.join()}|`;
    </script></body>"""
    path = tmp_path / "page.html"
    path.write_text(text.replace("</body>", acts))
    said = chromium(path, tmp_path / "profile", "--dump-dom")
    wide, shown, _ = said.partition("<body>")[2].split("|")
    scores = [float(score) for score in shown.split(",")]
    assert len(scores) == 12
    assert scores == sorted(scores, reverse=True)
    assert wide == "false"  # on a phone, tables scroll and the page does not


@pytest.mark.skipif(not CHROMIUM, reason="no chromium to open reports in")
def test_a_browser_shows_it(written, tmp_path):
    path = tmp_path / "page.png"
    chromium(written[0] / "report.html", tmp_path / "profile", f"--screenshot={path}")
    with Image.open(path) as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50


def test_ties_and_rounding_noise_are_no_evidence(tmp_path):
    name = "dl_tnd-per_class=5"
    directory = make_run(tmp_path, detectors=(name,))
    lines = (directory / "scores.csv").read_text().splitlines()
    for row, line in enumerate(csv.DictReader(lines), 1):
        if line["population"] == "target-M" and line["id"] in "023":
            spoil(directory, "top_label", "", row)
    for path in (directory / "artefacts" / name).glob("target-*-0.npz"):
        with np.load(path) as file:
            arrays = dict(file) | {"similarity": np.full((10, 9), 1 - 1e-8)}
        np.savez(path, **arrays)
    found = report.write(directory).results
    entry = found["targets_named"][name]["M"]
    assert (entry["models"], entry["tied"], entry["right"]) == (9, 3, 7)
    assert found["quantiles"][name] == {}
    assert any("; 3 more are left out" in line for line in found["findings"])


def test_words_are_explained_where_they_occur(written, page):
    text = (written[0] / "report.md").read_text()
    assert text.count("M: modification, a part") == 1
    assert "B: blending" not in text
    assert "AUC of jumbo MNTD without and on failed attacks" in text
    said = dict(re.findall(r"!\[(.*?)\]\(figures/(.*?).png\)", text))
    captions = {name: caption for caption, name in said.items()}
    assert "calibrated" in captions["scores-mntd"]
    assert "the detector's own" not in captions["scores-accuracy"]
    assert "Q does not decide" in captions["quantiles"]


def test_a_terminal_shows_names_whole_and_the_answer_first(tmp_path):
    directory = make_run(tmp_path, artefacts=False)
    path, why = directory / "scores.csv", "because of " + "x" * 90
    path.write_text(
        path.read_text().replace("late", why).replace("the score lies", why)
    )
    stream = io.StringIO()
    made = report.write(directory)
    report.show(made, Console(file=stream, width=80))
    text = stream.getvalue()
    assert text.startswith(made.best[:60])
    for name in (*DETECTORS.values(), *made.results["populations"]):
        assert f"{name} " in text
    assert why in (directory / "report.html").read_text()
