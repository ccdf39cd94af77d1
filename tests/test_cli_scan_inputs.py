"""Whatever is given to ``bdjax scan`` that is no network or no images: one line."""

import http.server
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]

NETS = '''
"""Networks of 8 x 8 grey images and four labels, which are quarters of an image."""

import jax.numpy as jnp
import numpy as np


def clean(x):
    """[N, 8, 8, 1] -> [N, 4]: how bright each quarter is."""
    if x.shape[1:] != (8, 8, 1):
        raise ValueError(f"x is {x.shape}; it must be [N, 8, 8, 1]")
    return 4 * x.reshape(-1, 2, 4, 2, 4).mean((2, 4)).reshape(-1, 4)


def trojaned(x):
    """The same, but for label 0 where a corner is bright."""
    bright = jnp.maximum(x[:, 0, 0, 0] + x[:, 0, 1, 0] - 1.2, 0)
    return clean(x).at[:, 0].add(40 * bright)


def fails(x):
    raise RuntimeError("no such thing\\nat all")


def nan(x):
    return np.full((len(x), 4), np.nan)


def rows(x):
    return np.zeros((3, 4))


def one(x):
    return np.zeros((len(x), 2, 2))


def words(x):
    return ["cat"] * len(x)


def thousand(x):
    return np.tile(np.asarray(clean(x)), (1, 250)) - np.arange(1000) * 1e-3


def build():
    raise RuntimeError("no weights here")


number = 3
'''

DRIVER = """
import json, os, sys, traceback
import bdjax.cli.scan, bdjax.networks.python, bdjax.scanning.render.html
from bdjax.cli import main

cases, folder = json.load(sys.stdin)
for i, argv in enumerate(cases):
    if not os.fork():
        for number, name in ((1, "out"), (2, "err")):
            flags = os.O_CREAT | os.O_WRONLY
            os.dup2(os.open(f"{folder}/{i}.{name}", flags), number)
        code = 0
        try:
            main(argv)
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)  # an orderly end takes half a second
    _, status = os.wait()
    print(i, os.waitstatus_to_exitcode(status), flush=True)
"""

# What is typed after `bdjax scan` -> what is said, of status 2.
MISTAKES = {
    # No network.
    "missing.onnx": "there is no file 'missing.onnx'; give a file",
    "note.txt": "'note.txt' is no network; give a file",
    "clean": "'clean' is no network; give a file",
    "words.onnx": "words.onnx cannot be read as ONNX",
    "words.pt2": "words.pt2 is no file of torch.export",
    "words.keras": "words.keras|pip install keras",
    "strange.onnx": "operators that bdjax lacks: somebody::Shuffle",
    "pickle.pth": r"a pickle, which may run anything.* by torch\.export\.save\(",
    "pickle.pkl": r"pickle.pkl is a pickle, .* by safetensors\.torch\.save_file",
    "nets:nope": "nets has no 'nope'; check the name",
    "nope:nope": "there is no module 'nope'",
    "nets:number": "nets:number is int, no network",
    "nets:build": r"nets:build\(\) failed: RuntimeError: no weights here",
    "nets:clean --weights nowhere.safetensors": "nowhere.safetensors cannot be read",
    "huge.onnx": r"huge\.onnx takes 4,194,304 MiB of memory, and [\d,]+ MiB are to sp",
    # None that answers.
    "http://localhost:1/predict": "what the network takes is not known; give images",
    "http://localhost:1/predict --shape 1,8,8": "localhost:1/predict cannot be reach",
    "SERVER/html --images clean": "HTML",
    "SERVER/html --images clean --auth-env NOT_THERE": "NOT_THERE",
    "nets:clean": "what the network takes is not known; give images, or shape",
    "nets:fails --images clean": "fails failed on inputs of shape .*: no such thing",
    "nets:nan --images clean": "answers 12 of 12 images with NaN or infinity; check",
    "nets:rows --images clean": r"rows answered \(3, 4\) to 12 inputs; it must give",
    "nets:one --images clean": r"one answered \(12, 2, 2\) to 12 inputs; it must",
    "nets:words --images clean": "the network answers with <U3; they must be numbers",
    # No images, or none that fit.
    "nets:clean --images nowhere": "nowhere: there is no such file or folder of images",
    "nets:clean --images empty": "empty holds no images, nor do folders in it",
    "nets:clean --images sizes": "images differ in size: .* is 8 x 8 and .* is 9 x 9",
    "nets:clean --images large": r"\(12, 1, 16, 16\); it must be \[N, 8, 8, 1\]",
    "nets:clean --images one": "all 3 images are of class 1; give images of each class",
    "nets:clean --images note.txt": "note.txt is no folder of images and no npz",
    "nets:clean --images huge.npz": "images do not fit into memory|huge.npz is no fol",
    "nets:clean --images clean --labels-from note.txt": "labels are given, and clean",
    "nets:clean --images beyond.npz": "label 7, and the network answers with 4 classes",
    # Anything else.
    "nets:clean --images clean --detector nowhere": "MNTD detector in nowhere",
    "nets:clean --images clean --calibration note.txt": "note.txt is no JSON",
    "nets:clean --images clean --out d.json": "d.json is a directory; give a file",
}  # fmt: skip


FEW = "scan nets:thousand --images ten.npz --quiet"
ASKED = (
    "scan SERVER/predict --images clean --request-field in.pixels --answer-field out "
    "--batch 5 --auth-env KEY --auth-header X-Key --retries 0 --format json"
)
OWN = [
    f"{command} --images clean --detectors dl_tnd --quiet"
    for command in (
        "calibrate nets:clean --false-alarms 0.5 --out mine.json",
        "scan nets:clean --calibration mine.json",
        "scan nets:trojaned --calibration mine.json",
    )
]
LINES = [FEW, f"{FEW} --fail-on trojaned", ASKED, *OWN]  # in this order


class _Served(http.server.BaseHTTPRequestHandler):
    """Answers with a page, or, to who may ask, with what `nets:clean` would."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind, status = "text/html", 200
        answer = b"<!DOCTYPE html><title>Log in</title>"
        if self.path == "/predict":
            kind = "application/json"
            x = np.array(json.loads(body)["in"]["pixels"])
            z = 4 * x.reshape(-1, 2, 4, 2, 4).mean((2, 4)).reshape(-1, 4)
            allowed = len(x) <= 5 and self.headers["X-Key"] == "secret"
            status = 200 if allowed else 403
            answer = json.dumps({"out": z.tolist() if allowed else None}).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def pictures(folder, labels, size=8):
    """Images whose quarter of the label is bright, a folder a class."""
    rng = np.random.default_rng(0)
    for label in labels:
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            pixels = rng.integers(0, 60, (size, size))
            half = size // 2
            row, column = (label // 2) * half, (label % 2) * half
            pixels[row : row + half, column : column + half] += 150
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(folder / str(label) / f"{size}-{i}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory of things that a user might give."""
    place = tmp_path_factory.mktemp("inputs")
    (place / "nets.py").write_text(NETS)
    pictures(place / "clean", range(4))
    pictures(place / "sizes", range(4))
    pictures(place / "sizes", [2], size=9)
    pictures(place / "large", range(4), size=16)
    pictures(place / "one", [1])
    (place / "empty" / "0").mkdir(parents=True)
    (place / "d.json").mkdir()
    for name in ("note.txt", "words.onnx", "words.pt2", "words.keras"):
        (place / name).write_text("Dear network, ...\n")
    for name in ("pickle.pth", "pickle.pkl"):
        (place / name).write_bytes(pickle.dumps({"weight": [1, 2, 3]}))
    _strange_operator(place / "strange.onnx")
    with open(place / "huge.onnx", "wb") as file:
        file.truncate(1 << 42)
    np.savez(place / "beyond.npz", images=np.zeros((4, 8, 8)), labels=[0, 1, 2, 7])
    rng = np.random.default_rng(0)
    np.savez(place / "ten.npz", images=rng.random((10, 8, 8)), labels=np.arange(10))
    return place


@pytest.fixture(scope="module")
def server():
    """The address of a server."""
    server = http.server.ThreadingHTTPServer(("localhost", 0), _Served)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def typed(place, server, tmp_path_factory):
    """What users see of each line; one process that has imported all forks them."""
    _sparse_npz(place / "huge.npz")
    folder = tmp_path_factory.mktemp("typed")
    lines = [*(f"scan {line} --retries 0" for line in MISTAKES), *LINES]
    argv = [line.replace("SERVER", server).split() for line in lines]
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([argv, str(folder)]),
        cwd=place,
        env=os.environ
        | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "KEY": "secret"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert driver.returncode == 0, driver.stderr
    ended = dict(map(int, line.split()) for line in driver.stdout.splitlines())
    each = [
        SimpleNamespace(
            status=ended[i],
            out=(folder / f"{i}.out").read_text(),
            err=(folder / f"{i}.err").read_text(),
        )
        for i in range(len(lines))
    ]
    return dict(zip((*MISTAKES, *LINES), each, strict=True))


def _strange_operator(path):
    """An ONNX file with an operator of somebody's own."""
    onnx = pytest.importorskip("onnx")
    floats = onnx.TensorProto.FLOAT
    x = onnx.helper.make_tensor_value_info("x", floats, ["N", 8, 8, 1])
    y = onnx.helper.make_tensor_value_info("y", floats, ["N", 4])
    node = onnx.helper.make_node("Shuffle", ["x"], ["y"], domain="somebody")
    graph = onnx.helper.make_graph([node], "strange", [x], [y])
    opsets = [
        onnx.helper.make_opsetid(name, 17 - 16 * bool(name))
        for name in ("", "somebody")
    ]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets), path)


def _sparse_npz(path):
    """An npz that says of itself that it is larger than any memory."""
    header = b"\x93NUMPY\x01\x00v\x00"
    shape = "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 32, 32), }"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", header + shape.ljust(117).encode() + b"\n")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake, typed):
    found = typed[mistake]
    assert re.fullmatch(rf"error: .*({MISTAKES[mistake]}).*\n", found.err), found.err
    assert found.status == 2
    assert found.out == ""


def test_few_images_of_a_thousand_classes(typed):
    found = typed[FEW]
    assert found.status == 2
    said = "nets:thousand: Inconclusive: the network gets 30% of the 10 images right.*"
    assert re.fullmatch(f"{said}\n", found.out)
    shown = typed[f"{FEW} --fail-on trojaned"]
    assert shown.status == 0
    assert (found.err, shown.out) == ("", found.out)


def test_a_server_is_asked_as_it_is_said(typed):
    found = typed[ASKED]
    assert found.status == 2, found.err
    report = json.loads(found.out)
    assert report["network"]["source"].endswith("/predict")
    assert report["preflight"]["candidates"][0]["accuracy"] == 1
    assert report["reasons"]
    assert "secret" not in found.out + found.err


def test_thresholds_of_ones_own_and_what_they_find(typed):
    calibrated, clean, trojaned = map(typed.get, OWN)
    assert calibrated.status == 0, calibrated.err
    assert re.match(r"DL-TND: threshold -?[\d.]+, of 1 clean net", calibrated.out)
    assert (clean.status, trojaned.status) == (0, 1), clean.err + trojaned.err
    assert clean.out == "nets:clean: Not flagged: no proof, by DL-TND\n"
    assert trojaned.out == "nets:trojaned: Trojaned, toward label 0\n"
