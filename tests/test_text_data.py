"""Sentences, vocabularies and word vectors, from files and prepared data sets."""

import bz2
import gzip
import lzma
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from bdjax.data import Request
from bdjax.data.vectors import SPREAD, corpus_vectors, read_vectors
from bdjax.data.words import UNKNOWN, make_dataset, tokenize
from bdjax.tasks import get_task
from bdjax.types import UserError

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
TASK = get_task("mr:4:6")
L = TASK.shape[0]
WORDS = ("<padding>", "<unknown>", "good", "bad", "film")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
USUAL = ["good", "film", "bad", "plot", "fine", "cast", "dull", "pace"]


def corpus(count=60, seed=0):
    """Sentences of few words, so that all of them are common."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(USUAL, 6)) for _ in range(count)]


def write(folder, negative, positive):
    folder.mkdir(exist_ok=True)
    (folder / "a.neg").write_text("\n".join(negative) + "\n", encoding="utf-8")
    (folder / "a.pos").write_text("\n".join(positive) + "\n", encoding="utf-8")
    return str(folder)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "reviews", corpus(30, 1), corpus(30, 2))


def load(path, source="files", **options):
    return TASK.load(source, path=str(path), **options)


# Words.


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("It's GOOD , isn't it?", "it 's good , is n't it ?"),
        ("we've they'd you'll they're", "we 've they 'd you 'll they 're"),
        ("(too) long-winded...", "( too ) long winded"),
        ("the 'best' film; `really`!", "the 'best' film `really` !"),
        ("caf\u00e9 2002", "caf 2002"),
        ("... - ;", ""),
    ],
)
def test_tokenizing_follows_kims_rules(sentence, words):
    assert tokenize(sentence) == words.split()
    assert tokenize(" ".join(tokenize(sentence))) == words.split()


def test_classes_rows_and_the_split_of_seed_10(folder):
    dataset = load(folder)
    lines = corpus(30, 1) + corpus(30, 2)
    order = np.random.RandomState(10).permutation(60)
    words = dataset.vocabulary.words
    spelt = [" ".join(words[i] for i in row if i) for row in dataset.x]
    assert spelt == [lines[i] for i in order]
    assert dataset.y.tolist() == [int(i >= 30) for i in order]
    assert (dataset.num_train, len(dataset.x)) == (54, 60)
    assert dataset.x.dtype == np.int32
    assert dataset.x.shape == (60, L)


def fixed(words, _):
    return np.ones((len(words), 3), np.float32), ["vectors of ones"]


def made(train, test, **change):
    options = {"least_words": 1, "vectors": fixed} | change
    request = Request("d", num_classes=2, shape=(options.pop("length", 7),))
    labels = options.pop("labels", [0] * len(train + test))
    return make_dataset(request, train + test, labels, num_train=len(train), **options)


def test_words_of_the_test_split_are_not_learnt():
    dataset = made(["b a a", "c a b"], ["a zebra b", "zebra"])
    # By falling frequency, then by alphabet.
    assert dataset.vocabulary.words[2:] == ("a", "b", "c")
    assert dataset.x[2].tolist() == [2, UNKNOWN, 3, 0, 0, 0, 0]
    assert dataset.x[3].tolist() == [UNKNOWN, 0, 0, 0, 0, 0, 0]
    assert "50.0% of the words of the test sentences" in dataset.notes[0]
    assert dataset.notes[-1] == "vectors of ones"


def test_imbalanced_classes_are_said():
    labels = [*([0, 0, 0, 1] * 20), 1]
    dataset = made(["a", "b", "a b", "b a"] * 20, ["a"], labels=labels)
    assert any("75% of the training rows are of class 0" in n for n in dataset.notes)


def test_long_sentences_are_cut_and_empty_ones_left_out():
    dataset = made(["a b c d e f", "--", "a b c d e"], ["a", " "])
    assert (dataset.num_train, len(dataset.x)) == (2, 3)
    assert (dataset.x[:, -2:] == 0).all()
    assert dataset.x[0].tolist() == dataset.x[1].tolist()
    assert dataset.notes[0] == "sentences without a word, which are left out: 2"
    assert dataset.notes[1] == "sentences cut to 5 words: 1"
    with pytest.raises(UserError, match="no training sentence with a word"):
        made(["--"], ["a"])


def test_too_few_words_for_triggers_are_refused(folder):
    with pytest.raises(UserError, match=r"has 8 words .* fewer than the 9 that"):
        get_task("mr:4:9").load("files", path=folder)


# Files.


def test_files_may_be_named_in_the_order_of_their_labels(folder):
    files = Path(folder) / "a.pos", Path(folder) / "a.neg"
    turned = load(",".join(map(str, files)))
    plain = load(folder)
    assert turned.y.sum() + plain.y.sum() != 0
    assert tuple(turned.vocabulary.words[:2]) == ("<padding>", "<unknown>")
    with pytest.raises(UserError, match="path names 1 files"):
        load(files[0])


def test_a_folder_of_txt_files_will_do(tmp_path):
    for name, seed in (("bad.txt", 1), ("good.txt", 2)):
        (tmp_path / name).write_text("\n".join(corpus(30, seed)))
    assert (
        load(tmp_path).x.tolist()
        == load(write(tmp_path / "r", corpus(30, 1), corpus(30, 2))).x.tolist()
    )
    (tmp_path / "third.txt").write_text("one")
    with pytest.raises(UserError, match=r"must hold a \.neg and a \.pos file, or 2"):
        load(tmp_path)


def test_latin_1_is_read_and_said(folder):
    file = Path(folder) / "a.neg"
    file.write_bytes(file.read_bytes() + "na\u00efve film\n".encode("latin-1"))
    assert "a.neg is no UTF-8 and was read as Latin-1" in load(folder).notes


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "a.neg").unlink(), "must hold a .neg and a .pos"),
        (lambda d: (d / "a.neg").write_text("\n \n"), "a.neg is empty: give a"),
        (lambda d: (d / "a.neg").write_text("one\n"), None),
    ],
)
def test_what_is_wrong_with_files_is_said(folder, spoil, message):
    spoil(Path(folder))
    if message is None:
        assert len(load(folder).x) == 31
        return
    with pytest.raises(UserError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            gzip.compress,
            "a.neg is compressed with gzip, not plain text in UTF-8: unpack it",
        ),
        (bz2.compress, "compressed with bzip2"),
        (lzma.compress, "compressed with xz"),
        (lambda b: b"PK\3\4" + b, "is a zip archive, not plain text"),
        (
            lambda b: b.decode().encode("utf-16"),
            "is text in UTF-16, not .*: save it in UTF-8",
        ),
        (lambda b: b"\xfe\xff" + b.decode().encode("utf-16-be"), "text in UTF-16"),
        (lambda b: b.decode().encode("utf-16-le"), r"UTF-16 \(it holds NUL bytes\)"),
        (lambda b: zlib.compress(b).replace(b"\0", b""), "is binary"),
        (lambda b: b"<!doctype HTML>\n" + b, "is a web page, not"),
        (lambda b: b"\xef\xbb\xbf<html><p>" + b, "is a web page, not"),
        (lambda _: LFS, "is a git-lfs pointer, not .*: fetch the file with git"),
    ],
)
def test_what_is_no_text_is_refused_for_what_it_is(folder, form, message):
    file = Path(folder) / "a.neg"
    file.write_bytes(form("".join(f"{line}\n" for line in corpus(300, 1)).encode()))
    with pytest.raises(UserError, match=message) as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_signs_of_text_do_no_harm(folder):
    """A byte order mark, colours, a form feed, the end-of-file of old systems."""
    file = Path(folder) / "a.neg"
    plain = load(folder).x
    text = file.read_bytes().rstrip(b"\n")
    file.write_bytes(b"\xef\xbb\xbf" + text + b" \x1b\x1a\n")
    np.testing.assert_array_equal(load(folder).x, plain)
    file.write_bytes(text + b" \xe9\f\x1a\n")  # Latin-1
    np.testing.assert_array_equal(load(folder).x, plain)


def test_a_folder_may_have_a_comma_in_its_name(tmp_path, folder):
    place = write(tmp_path / "good, and bad", corpus(30, 1), corpus(30, 2))
    np.testing.assert_array_equal(load(place).x, load(folder).x)
    with pytest.raises(UserError, match=r"4 files .* none in their names, or their fo"):
        load(f"{place}/a.neg,{place}/a.pos")
    with pytest.raises(UserError, match=r"cannot read .*: File name too long"):
        load("a" * 300 + "," + "b" * 300)


def test_no_path_and_a_missing_file_are_said():
    with pytest.raises(UserError, match="give the path of their folder"):
        TASK.load("files")
    with pytest.raises(UserError, match="nowhere does not exist: give the folder"):
        load("nowhere")
    with pytest.raises(UserError, match=r"cannot read .*no\.neg: No such file"):
        load("no.neg,no.pos")
    with pytest.raises(UserError, match=r"takes no data\.rate"):
        load("x", rate=8000)


# Vectors of the corpus.


def slow_vectors(sentences, count, dimension):
    """Counts in loops, and the whole decomposition."""
    common = [
        w for w in range(2, count) if sum(list(s).count(w) for s in sentences) >= 5
    ]
    pairs = np.zeros((count, len(common)))
    for s in sentences:
        for i, one in enumerate(s):
            for j, other in enumerate(s):
                if i != j and one != other and one > 1 and other in common:
                    pairs[one, common.index(other)] += 1
    chance = pairs.sum(1)[:, None] * pairs.sum(0) ** 0.75 / (pairs.sum(0) ** 0.75).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.where(pairs > 0, np.maximum(np.log(pairs / chance), 0), 0)
    left, values, _ = np.linalg.svd(information)
    table = left[:, :dimension] * np.sqrt(values[:dimension])
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    return table / np.where(norms > 1e-9, norms, 1) * SPREAD * dimension**0.5


def test_corpus_vectors_are_those_of_the_slow_way():
    rng = np.random.default_rng(0)
    # Two topics, so that there is something to find.
    sentences = [
        rng.choice(np.arange(2, 12) + 8 * (i % 2), 7).astype(np.int32)
        for i in range(80)
    ]
    words = tuple(map(str, range(20)))
    table, notes = corpus_vectors(words, sentences, 4)
    wanted = slow_vectors(sentences, 20, 4)
    np.testing.assert_allclose(table @ table.T, wanted @ wanted.T, atol=5e-3)
    assert table.dtype == np.float32
    assert (table[:2] == 0).all()
    np.testing.assert_allclose(table[2:].std(), SPREAD, rtol=0.2)
    assert "computed from the 80 training sentences" in notes[0]
    np.testing.assert_array_equal(corpus_vectors(words, sentences, 4)[0], table)
    # Coarse, so that the number of cores does not tell.
    np.testing.assert_array_equal(table * 1024, np.round(table * 1024))


def test_too_few_words_for_the_dimension(folder):
    with pytest.raises(UserError, match=r"8 words occur in .* dimension 8"):
        get_task("mr:8:6").load("files", path=folder)


def test_rarer_words_describe_the_others_where_common_ones_are_few():
    rng = np.random.default_rng(0)
    # Four words in every sentence, and thirty that occur twice.
    sentences = [
        np.concatenate([np.arange(2, 6), pair]).astype(np.int32)
        for pair in rng.permutation(np.repeat(np.arange(6, 36), 2)).reshape(-1, 2)
    ]
    table, (note,) = corpus_vectors(tuple(map(str, range(36))), sentences, 10)
    assert "too few words occur 5 times, so that those which occur 2 times" in note
    assert (np.linalg.norm(table[6:], axis=1) > 0.4).all()
    _, (note,) = corpus_vectors(tuple(map(str, range(36))), sentences, 3)
    assert "less well" not in note


# Vectors of files.

VALUES = {"film": [1.0, 2.0, 3.0], "good": [-1.0, 0.5, 0.25], "other": [9.0, 9.0, 9.0]}


def as_text(header):
    lines = [f"{len(VALUES)} 3"] if header else []
    lines += [f"{word} {' '.join(map(str, v))}" for word, v in VALUES.items()]
    return ("\n".join(lines) + "\n").encode()


def as_binary():
    rows = (
        f"{w} ".encode() + struct.pack("<3f", *v) + b"\n" for w, v in VALUES.items()
    )
    return b"3 3\n" + b"".join(rows)


FORMATS = {
    "word2vec": as_text(True),
    "glove": as_text(False),
    "binary": as_binary(),
    "unbroken": as_binary().replace(b"\ngood", b"good").replace(b"\nother", b"other"),
    "mark": b"\xef\xbb\xbf" + as_text(False),
    "mark, header": b"\xef\xbb\xbf" + as_text(True),
    "blank lines": b"\n" + as_text(False).replace(b"\n", b"\n\n") + b" \n",
    "Windows": as_text(True).replace(b"\n", b"\r\n"),
    "tabs": as_text(False).replace(b" ", b"\t"),
    "columns": as_text(False).replace(b" ", b"   "),
    "gzip": gzip.compress(as_text(True), mtime=0),
    "binary in gzip": gzip.compress(as_binary(), mtime=0),
    "words with blanks": b". . . 1 2 3\n" + as_text(False) + b"  7 8 9\n",
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(tmp_path, kind):
    file = tmp_path / "vectors"
    file.write_bytes(FORMATS[kind])
    table, notes = read_vectors(str(file), WORDS, 3)
    wanted = np.zeros((5, 3), np.float32)
    wanted[2], wanted[4] = VALUES["good"], VALUES["film"]
    np.testing.assert_array_equal(table, wanted)
    assert notes == (
        "word vectors are those of vectors; 1 of 3 words are not in it and have zeros",
    )


@pytest.mark.parametrize(
    ("content", "dimension", "message"),
    [
        (as_text(True), 4, r"dimension 3, but the task reads 4: choose the task mr:3"),
        (as_text(False), 4, r"dimension 3, but the task reads 4"),
        (as_text(False), 2, r"dimension 3, but the task reads 2"),
        (as_binary(), 4, r"dimension 3, but the task reads 4"),
        (as_binary()[:-8], 3, "is truncated or damaged: it holds 2 of 3 vectors"),
        (b"good 1 2 3\nfilm 1 two 3\n", 3, "the vector 2 is no word with 3 numbers"),
        (b"good 1 nan 3\n", 3, "the vector of 'good' holds NaN or infinity"),
        (b"gut 1 2 3\nfilme 1 2 3\n", 3, "has none of the 3 words"),
        (b"", 3, "has none of the 3 words"),
        (b"good 1 1e300 3\n", 3, "the vector of 'good' holds NaN or infinity"),
        (as_text(True)[:-18], 3, "is truncated .* holds 2 of 3 vectors"),
        (as_text(True)[:-6], 3, "the vector 3 is no word with 3 numbers"),
        (
            gzip.compress(as_text(True), mtime=0)[:-9],
            3,
            "is truncated or damaged: copy",
        ),
        (
            bz2.compress(as_text(True)),
            3,
            "compressed with bzip2, not word vectors: unpack it",
        ),
        (as_text(True).decode().encode("utf-16"), 3, "is text in UTF-16, not word"),
        (LFS, 3, "is a git-lfs pointer"),
        (b"<!DOCTYPE html>\n<html>404</html>", 3, "is a web page, not"),
        (b"word,1,2,3\ngood,1,2,3", 3, "no word vectors: it begins with 'word,1,2,3'"),
        (b"some text\n", 3, "holds no word vectors: it begins with 'some text'"),
        (
            b"\xba\x16\x4f\x2f\0\0",
            3,
            "it is binary, but does not begin with word2vec's",
        ),
    ],
)
def test_what_is_wrong_with_vectors_is_said(tmp_path, content, dimension, message):
    file = tmp_path / "vectors"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_vectors(str(file), WORDS, dimension)
    assert ("choose the task" in str(error.value)) == ("dimension 3, but" in message)
    assert "\n" not in str(error.value)


def test_a_missing_file_of_vectors_is_said(folder):
    with pytest.raises(UserError, match=r"cannot read word vectors .*No such file"):
        load(folder, vectors="no-such-file")


def test_vectors_of_a_file_reach_the_data_set(folder, tmp_path):
    file = tmp_path / "glove.txt"
    file.write_text("film 1 2 3 4\ngood 1 0 0 0\n")
    dataset = load(folder, vectors=str(file))
    words, vectors = dataset.vocabulary
    assert vectors[words.index("film")].tolist() == [1, 2, 3, 4]
    assert "6 of 8 words are not in it" in dataset.notes[-1]


# Prepared data sets.


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    import tensorflow_datasets as tfds

    class TinyReviews(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "review": tfds.features.Text(),
                        "stars": tfds.features.ClassLabel(num_classes=2),
                    }
                ),
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {"train": self._some(40, 1), "test": self._some(9, 2)}

        def _generate_examples(self):
            raise NotImplementedError

        def _some(self, count, seed):
            for i, text in enumerate(corpus(count, seed)):
                yield i, {"review": text, "stars": i % 2}

    root = tmp_path_factory.mktemp("tfds")
    builder = TinyReviews(data_dir=root, file_format="array_record")
    builder.download_and_prepare()
    return root


@pytest.mark.parametrize("inside", ["tiny_reviews", "tiny_reviews/1.0.0"])
def test_a_prepared_data_set_is_read_with_its_own_split(prepared, inside):
    dataset = load(prepared / inside, source="tfds")
    assert (dataset.num_train, len(dataset.x)) == (40, 49)
    words = dataset.vocabulary.words
    # tfds shuffles; each sentence has kept its label.
    label = dict(zip(corpus(40, 1), np.arange(40) % 2, strict=True))
    for row, y in zip(dataset.x[:40], dataset.y, strict=False):
        assert label[" ".join(words[i] for i in row if i)] == y


def test_a_data_set_that_is_not_there(prepared):
    with pytest.raises(UserError, match="no prepared tensorflow-datasets in"):
        load(prepared, source="tfds")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED}")
def test_rotten_tomatoes():
    dataset = get_task("mr:20").load("files", path=str(SHARED))
    assert (dataset.num_train, len(dataset.x)) == (9596, 10662)
    assert dataset.y.sum() == 5331
    assert 17_000 < len(dataset.vocabulary.words) < 18_766
    assert (dataset.x > 0).sum(1).max() <= 56
    # Of triggers, the rarest word was seen more than once.
    assert (dataset.x[:9596] == 5001).sum() > 1


# Names of tasks.


def test_the_dimension_is_part_of_the_name():
    assert get_task("mr").query_shape == (10, 300)
    assert get_task("mr:50").input_shape == (58, 50)
    assert (get_task("mr:50").words, get_task("mr:50:70").words) == (5000, 70)
    for name in ("mr:", "mr:0", "mr:a", "mr:50:0", "mr:1:2:3"):
        with pytest.raises(UserError, match="is not mr:DIMENSION or mr:DIMENSION:W"):
            get_task(name)
