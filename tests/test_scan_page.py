"""A scan's page: whole, self-contained, and true to the report it is made from."""

import base64
import dataclasses
import html.parser
import io
import math

import numpy as np
import PIL.Image
import pytest
import scan_reports
from scan_reports import MADE

from bdjax.scanning import render
from bdjax.scanning.render import words


class Page(html.parser.HTMLParser):
    """Tags, texts by the section they are in, and whether all were closed."""

    EMPTY = ("meta", "img", "br", "rect", "line", "circle")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append((tag, dict(attributes).get("id")))

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        inside = next((i for tag, i in reversed(self.open) if tag == "section"), "")
        self.texts[inside] = f"{self.texts.get(inside, '')} {data}"

    def said(self, section):
        return " ".join(self.texts[section].split())

    def pictures(self, word):
        return [a["src"] for t, a in self.tags if t == "img" and word in a["alt"]]


def pixels(address):
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    return np.asarray(PIL.Image.open(io.BytesIO(data)))


class TestPage:
    @pytest.mark.parametrize("made", MADE)
    def test_is_whole_and_fetches_nothing(self, made):
        report = MADE[made]()
        text = render.render(report, "html")
        page = Page(text)
        assert words.headline(report) in page.said("answer")
        for _, attributes in page.tags:
            assert not {"href", "srcset", "onclick"} & set(attributes)
            assert attributes.get("src", "data:").startswith("data:")
        assert "url(" not in text
        assert "<script" not in text
        assert len(text) < 150_000

    def test_leads_with_the_answer(self):
        page = Page(render.render(scan_reports.trojaned(), "html"))
        assert list(page.texts)[:2] == ["", "answer"]
        assert "None of 140 benign reference networks scores as" in page.said("answer")
        assert "The trigger that was recovered" in page.said("trigger")
        assert "label 3 (cat); this one sends 93.0% of them" in page.said("trigger")
        assert "MNTD It takes a detector fitted" in page.said("detectors")
        assert "14 regimes" in page.said("basis")
        assert "42 of 129 Trojans are" in page.said("basis")
        assert "-1..1, NCHW, RGB 85.0%" in page.said("preflight")

    def test_the_trigger_lies_on_the_users_images(self):
        report = scan_reports.trojaned()
        page = Page(render.render(report, "html"))
        clean, laid = page.pictures("clean image"), page.pictures("with the trigger")
        assert len(clean) == len(laid) == 8
        mask, pattern = scan_reports.trigger()
        for i in (0, 7):
            image = report.images[i]
            np.testing.assert_allclose(pixels(clean[i]), 255 * image, atol=0.51)
            expected = 255 * ((1 - mask) * image + mask * pattern)
            np.testing.assert_allclose(pixels(laid[i]), expected, atol=0.51)
        (mask_shown,) = page.pictures("mask")
        shown = pixels(mask_shown)[..., :1]
        np.testing.assert_allclose(shown, 255 * mask / mask.max(), atol=0.51)
        (shown,) = page.pictures("pattern")
        assert pixels(shown).shape == (32, 32, 4)

    def test_what_is_not_flagged_shows_no_trigger(self):
        for made in (scan_reports.not_flagged, scan_reports.inconclusive):
            said = Page(render.render(made(), "html")).said("trigger")
            assert said.startswith("The most suspicious change that was found")
            assert "alone, this is no evidence" in said
        # A doubtful score is no figure to lead with.
        page = Page(render.render(scan_reports.inconclusive(), "html"))
        assert "Score" not in page.said("answer")

    @pytest.mark.parametrize("shape", [(28, 28, 1), (600, 20, 2), (5, 5, 4)])
    def test_images_of_other_kinds(self, shape):
        base = scan_reports.trojaned(images=np.full((2, *shape), 0.25, np.float32))
        artefacts = {"mask": np.eye(shape[0], shape[1])[..., None],
                     "pattern": np.ones(shape)}  # fmt: skip
        judged = base.judgements[1]
        found = dataclasses.replace(judged.finding, artefacts=artefacts)
        judged = dataclasses.replace(judged, finding=found)
        page = Page(
            render.render(dataclasses.replace(base, judgements=(judged,)), "html")
        )
        first = pixels(page.pictures("with the trigger")[0])
        assert first.ndim == 3
        assert max(first.shape) <= 256
        assert first[0, 0, 0] == 255
        assert first[0, 1, 0] == 64

    def test_artefacts_that_cannot_be_shown(self):
        base = scan_reports.trojaned()
        judged = base.judgements[1]
        for artefacts in (
            {}, {"mask": np.zeros((9, 9, 1)), "pattern": np.ones((9, 9, 3))},
            {"mask": np.ones(4), "pattern": np.ones((4, 9))},
            {"mask": np.full((9, 9, 1), math.nan), "pattern": np.ones((9, 9, 3))},
        ):  # fmt: skip
            found = dataclasses.replace(judged.finding, artefacts=artefacts)
            one = dataclasses.replace(judged, finding=found)
            report = dataclasses.replace(base, judgements=(one,))
            said = Page(render.render(report, "html")).said("trigger")
            assert said.startswith("Your images")

    def test_scores_that_are_no_numbers(self):
        base = scan_reports.trojaned()
        judged = base.judgements[1]
        for score in (math.nan, math.inf, -math.inf, 1e9):
            scores = np.array([score, 1.0, -math.inf, math.nan])
            found = dataclasses.replace(
                judged.finding, score=score, label_scores=scores, labels=None
            )
            one = dataclasses.replace(judged, finding=found)
            report = dataclasses.replace(base, judgements=(one,))
            for form in render.FORMATS:
                assert render.render(report, form)
            Page(render.render(report, "html"))

    def test_a_thousand_labels(self):
        base = scan_reports.trojaned()
        judged = base.judgements[1]
        scores = np.linspace(0, 4, 1000)
        found = dataclasses.replace(
            judged.finding, labels=np.arange(1000), label_scores=scores, target=999
        )
        one = dataclasses.replace(judged, finding=found)
        page = Page(render.render(dataclasses.replace(base, judgements=(one,)), "html"))
        assert "and 988 labels that score less" in page.said("detectors")

    def test_users_words_are_no_markup(self):
        nasty = "<script>alert(1)</script>\"'&"
        report = scan_reports.trojaned(
            source=nasty, facts={nasty: nasty}, classes=(nasty,) * 10, notes=(nasty,)
        )
        text = render.render(report, "html")
        assert "<script" not in text
        assert nasty in Page(text).said("facts")

    def test_a_notebook_shows_it_in_a_frame(self):
        report = scan_reports.trojaned()
        ((tag, attributes),) = Page(report._repr_html_()).tags
        assert tag == "iframe"
        assert attributes["srcdoc"] == render.render(report, "html")
