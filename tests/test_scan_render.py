"""Reports of scans as JSON, text and SARIF, of made-up findings."""

import dataclasses
import io
import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import rich.console
import scan_reports
from scan_reports import MADE

from bdjax.scanning import Report, render
from bdjax.scanning.render import plain, sarif, text, words
from bdjax.types import UserError
from bdjax.verdicts import Conclusion, InconclusiveError, by_threshold

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=MADE)
def report(request):
    return MADE[request.param]()


class TestJson:
    def test_follows_its_schema(self, report):
        validator = jsonschema.Draft202012Validator(plain.schema())
        validator.check_schema(plain.schema())
        validator.validate(json.loads(plain.to_json(report)))

    def test_the_schema_has_every_field_and_no_other(self, report):
        found = plain.to_dict(report) | {"surplus": 1}
        with pytest.raises(jsonschema.ValidationError, match="surplus"):
            jsonschema.validate(found, plain.schema())
        del found["surplus"], found["detectors"][0]["score"]
        with pytest.raises(jsonschema.ValidationError, match="'score' is a required"):
            jsonschema.validate(found, plain.schema())

    def test_the_schema_in_the_docs_is_that_of_the_package(self):
        documented = (ROOT / "docs" / "report.schema.json").read_text()
        assert json.loads(documented) == plain.schema()

    def test_what_it_holds(self):
        found = scan_reports.trojaned().to_dict()
        assert (found["conclusion"], found["target"]) == ("trojaned", 3)
        by_name = {each["name"]: each for each in found["detectors"]}
        dl_tnd = by_name["dl_tnd"]
        assert dl_tnd["score"] == 4.21
        assert dl_tnd["p_value"] == pytest.approx(1 / 141)
        assert len(dl_tnd["label_scores"]) == len(dl_tnd["labels"]) == 10
        assert dl_tnd["calibration"]["references"] == 140
        assert (dl_tnd["calibration"]["found"], by_name["mntd"]["score"]) == (101, None)
        assert by_name["mntd"]["conclusion"] is None
        assert by_name["mntd"]["skipped"].startswith("it takes a detector")
        assert scan_reports.failed().to_dict()["seconds_to_first"] is None
        assert scan_reports.black_box().to_dict()["budget"] is None


class TestText:
    def test_eighty_columns_and_no_colour(self, report):
        lines = str(report).splitlines()
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in str(report)
        assert repr(report) == str(report)
        assert max(map(len, text.to_text(report, 50).splitlines())) <= 50

    def test_a_terminal_has_colour_and_a_pipe_none(self, report):
        for terminal in (True, False):
            file = io.StringIO()
            console = rich.console.Console(
                file=file, force_terminal=terminal, color_system="standard", width=80
            )
            text.show(report, console)
            shown = file.getvalue()
            assert ("\x1b[1;3" in shown) is terminal
            assert terminal or shown == text.to_text(report)

    def test_leads_with_the_answer(self):
        said = " ".join(str(scan_reports.trojaned()).split())
        assert said.startswith("TROJANED, toward label 3 (cat) models/resnet20.onnx")
        assert "DL-TND scores 4.21, above its threshold of 2.18." in said
        assert "None of 140 benign reference networks scores as much (p = " in said
        assert "0 of 140 benign networks of 14 regimes are above the thresh" in said
        assert "94.0% of 40 images right" in said
        assert "31 s of 1 min, first answer after 11 s, 1.3 GiB of memory" in said
        assert "MNTD: it takes a detector fitted to the task" in said

    def test_not_flagged_is_called_no_proof(self):
        said = " ".join(str(scan_reports.not_flagged()).split())
        assert said.startswith("NOT FLAGGED")
        assert "97 of 140 benign reference networks score as much or more" in said
        assert "no proof: at this threshold it finds 101 of 129 Trojans" in said

    def test_inconclusive_says_why_once(self):
        said = " ".join(str(scan_reports.inconclusive()).split())
        assert said.startswith("INCONCLUSIVE")
        assert said.count("none of the usual readings does better") == 1

    def test_users_words_are_no_markup(self):
        report = scan_reports.trojaned(source="[red]x[/red]", notes=("[bold]no",))
        assert "[red]x[/red]" in str(report)
        assert "[bold]no" in str(report)

    def test_without_references_chance_is_unknown(self):
        base = scan_reports.trojaned()
        own = dataclasses.replace(
            base.judgements[1], calibration=by_threshold(2.0, "a threshold of your own")
        )
        report = dataclasses.replace(base, judgements=(own,))
        assert "No benign networks tell how often" in " ".join(str(report).split())


class TestWords:
    @pytest.mark.parametrize(
        ("seconds", "said"),
        [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.4, "59 s"), (59.7, "1 min"),
         (3700, "1 h 1 min"), (math.nan, ""), (math.inf, "no bound")],
    )  # fmt: skip
    def test_durations(self, seconds, said):
        assert words.duration(seconds) == said

    def test_the_lead_finds_the_most_trojans_of_those_that_agree(self):
        assert words.lead(scan_reports.trojaned()).name == "dl_tnd"
        assert words.lead(scan_reports.not_flagged()).name == "dl_tnd"
        flagged = scan_reports.trojaned()
        only = dataclasses.replace(flagged, conclusion=Conclusion.NOT_FLAGGED)
        assert words.lead(only).name == "df_tnd"
        assert words.lead(scan_reports.failed()) is None


def results(report):
    (run,) = json.loads(sarif.to_sarif(report))["runs"]
    return run, {each["ruleId"]: each for each in run["results"]}


class TestSarif:
    def test_levels(self):
        _, found = results(scan_reports.trojaned())
        assert set(found) == {"bdjax/df_tnd", "bdjax/dl_tnd"}
        flagged, passed = found["bdjax/dl_tnd"], found["bdjax/df_tnd"]
        assert (flagged["kind"], flagged["level"]) == ("fail", "error")
        assert (passed["kind"], passed["level"]) == ("pass", "none")
        _, found = results(scan_reports.inconclusive())
        assert found["bdjax/dl_tnd"]["level"] == "warning"
        # Nothing is an error where the whole is in doubt.
        doubted = scan_reports.trojaned(conclusion=Conclusion.INCONCLUSIVE)
        assert results(doubted)[1]["bdjax/dl_tnd"]["level"] == "warning"

    def test_a_result_names_its_rule(self, report):
        run, found = results(report)
        rules = run["tool"]["driver"]["rules"]
        assert [rule["id"] for rule in rules] == [
            f"bdjax/{judgement.name}" for judgement in report.judgements
        ]
        for name, each in found.items():
            assert rules[each["ruleIndex"]]["id"] == name
            assert each["message"]["text"]
        json.dumps(run, allow_nan=False)

    def test_what_did_not_run_is_notified(self):
        run, found = results(scan_reports.failed())
        assert found == {}
        (invocation,) = run["invocations"]
        assert invocation["executionSuccessful"] is False
        told = [n["message"]["text"] for n in invocation["toolExecutionNotifications"]]
        assert told[0].startswith("No detector came to an end within the budget")
        assert "DL-TND: the budget of 1 s was spent" in told[1]

    def test_fingerprints_are_of_what_was_found(self):
        def prints(report):
            return results(report)[1]["bdjax/dl_tnd"]["partialFingerprints"]

        base = scan_reports.trojaned()
        assert prints(base) == prints(scan_reports.trojaned(seconds=2.0, seed=4))
        assert prints(base) != prints(scan_reports.trojaned(source="other.onnx"))

    @pytest.mark.parametrize(
        ("source", "uri"),
        [
            ("a model.onnx", "a%20model.onnx"),
            ("/home/me/m.pt2", "file:///home/me/m.pt2"),
            ("http://localhost:8000/predict", "http://localhost:8000/predict"),
            ("package.nets:build", None),
            ("Net", None),
        ],
    )
    def test_locations(self, source, uri):
        _, found = results(scan_reports.trojaned(source=source))
        (place,) = found["bdjax/dl_tnd"]["locations"]
        if uri:
            assert place["physicalLocation"]["artifactLocation"]["uri"] == uri
        else:
            (named,) = place["logicalLocations"]
            assert named["fullyQualifiedName"] == source


class TestReport:
    def test_is_yes_or_no_or_neither(self):
        assert scan_reports.trojaned()
        assert not scan_reports.not_flagged()
        with pytest.raises(InconclusiveError, match="the scan is inconclusive"):
            bool(scan_reports.inconclusive())

    @pytest.mark.parametrize(
        ("name", "form"),
        [("a.json", "json"), ("a.sarif", "sarif"), ("a.sarif.json", "sarif"),
         ("A.HTML", "html"), ("a.htm", "html"), ("a.txt", "text")],
    )  # fmt: skip
    def test_saves_by_ending(self, tmp_path, name, form):
        report = scan_reports.trojaned()
        report.save(tmp_path / name)
        written = (tmp_path / name).read_text(encoding="utf-8")
        assert written == render.render(report, form)

    def test_what_cannot_be_saved(self, tmp_path):
        report = scan_reports.trojaned()
        with pytest.raises(UserError, match=r"'a\.pdf' tells no format of a report"):
            report.save(tmp_path / "a.pdf")
        with pytest.raises(UserError, match="cannot write"):
            report.save(tmp_path / "no" / "a.json")
        with pytest.raises(UserError, match="unknown format 'xml'"):
            render.render(report, "xml")

    def test_a_bare_one_renders(self):
        bare = Report(
            source="f", kind="function", facts={}, access=(),
            conclusion=Conclusion.INCONCLUSIVE,
            preflight=scan_reports.Preflight(reading=""),
        )  # fmt: skip
        for form in render.FORMATS:
            assert render.render(bare, form)
        assert np.isnan(bare.seconds)
