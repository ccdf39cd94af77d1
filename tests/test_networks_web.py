"""HTTP endpoints, against a real server in a thread."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from bdjax.networks import Web, open_network
from bdjax.types import UserError

SHAPE = (4, 4, 3)
QUICK = Web(retries=1, timeout=5.0)


def network(x):
    return (np.asarray(x).mean((1, 2)) * 3).tolist()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections += 1

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((time.monotonic(), json.loads(body), self.headers))
        status, headers, answer = self.server.answer(json.loads(body), self.headers)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer)
        data = data if isinstance(data, bytes) else data.encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Length": len(data), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # the client has gone
            pass

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def running():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}
    )
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(running):
    running.asked, running.connections = [], 0
    running.answer = lambda body, _: (
        200,
        {},
        {"predictions": network(body["instances"])},
    )
    running.url = f"http://127.0.0.1:{running.server_port}/v1/model:predict"
    return running


@pytest.fixture
def images():
    return np.random.default_rng(0).random((10, *SHAPE), np.float32)


def test_an_endpoint_answers_in_batches_over_one_connection(server, images):
    opened = open_network(server.url + "?key=secret", web=Web(batch=4))
    assert opened.name == server.url
    assert (opened.kind, opened.apply) == ("HTTP endpoint", None)
    np.testing.assert_allclose(opened.ask(images), network(images), rtol=1e-6)
    assert opened.ask(images).dtype == np.float32
    assert [len(body["instances"]) for _, body, _ in server.asked] == [4, 4, 2] * 2
    assert server.connections == 1


def test_fields_are_configurable(server, images):
    def answer(body, _):
        return 200, {}, {"result": {"scores": network(body["inputs"]["x"])}}

    server.answer = answer
    web = Web(request="inputs.x", answer="result.scores")
    np.testing.assert_allclose(
        open_network(server.url, web=web).ask(images), network(images), rtol=1e-6
    )
    server.answer = lambda body, _: (200, {}, network(body))
    web = Web(request="", answer="")
    np.testing.assert_allclose(
        open_network(server.url, web=web).ask(images), network(images), rtol=1e-6
    )


@pytest.mark.parametrize("form", ["flat", "column"])
def test_labels_are_whole_numbers(server, images, form):
    labels = np.asarray(network(images)).argmax(1)

    def answer(body, _):
        found = np.asarray(network(body["instances"])).argmax(1)
        return (
            200,
            {},
            {
                "predictions": found.tolist()
                if form == "flat"
                else found[:, None].tolist()
            },
        )

    server.answer = answer
    found = open_network(server.url).ask(images)
    np.testing.assert_array_equal(found, labels)
    assert found.dtype.kind == "i"


def test_a_number_an_input_is_one_logit(server, images):
    server.answer = lambda body, _: (
        200,
        {},
        {"predictions": [0.5] * len(body["instances"])},
    )
    assert open_network(server.url).ask(images).shape == (10, 1)


def test_the_secret_comes_from_the_environment(server, images, monkeypatch):
    def answer(body, headers):
        if headers.get("X-Key") != "s3cret":
            return 401, {}, {"error": "no"}
        return 200, {}, {"predictions": network(body["instances"])}

    server.answer = answer
    with pytest.raises(UserError, match="answered 401: it does not let us in; name"):
        open_network(server.url, web=QUICK).ask(images)
    web = Web(auth_env="BDJAX_KEY", auth_header="X-Key", retries=0)
    monkeypatch.delenv("BDJAX_KEY", raising=False)
    with pytest.raises(UserError, match="variable BDJAX_KEY is not set"):
        open_network(server.url, web=web)
    monkeypatch.setenv("BDJAX_KEY", "s3cret")
    opened = open_network(server.url, web=web)
    assert opened.ask(images).shape == (10, 3)
    assert opened.notes == ()
    server.answer = lambda body, headers: (400, {}, f"no {headers['X-Key']} here")
    with pytest.raises(UserError) as caught:
        opened.ask(images)
    assert "'no ... here'" in str(caught.value)
    monkeypatch.setenv("BDJAX_KEY", "Bearer s3cret")
    server.answer = lambda *_: (400, {}, "no s3cret here")  # as a part of it
    with pytest.raises(UserError, match=r"'no \.\.\. here'"):
        open_network(server.url, web=web).ask(images)
    monkeypatch.setenv("BDJAX_KEY", "s3cret\nX: y")
    with pytest.raises(UserError, match="no value of a header") as caught:
        open_network(server.url, web=web).ask(images)
    assert "s3cret" not in str(caught.value)
    assert "over http" in open_network("http://example.org/x", web=web).notes[0]


def test_a_password_in_the_address_is_refused():
    with pytest.raises(UserError, match="holds a password") as caught:
        open_network("https://user:hunter2@example.org/x")
    assert "hunter2" not in str(caught.value)


def test_a_server_in_trouble_is_asked_again(server, images):
    troubles = iter([(503, {"Retry-After": 0}, "busy"), (429, {}, "slow down")])

    def answer(body, _):
        return next(troubles, (200, {}, {"predictions": network(body["instances"])}))

    server.answer = answer
    assert open_network(server.url).ask(images).shape == (10, 3)
    assert len(server.asked) == 3


def test_the_rate_is_kept(server, images):
    open_network(server.url, web=Web(batch=3, rate=20.0)).ask(images)
    times = [at for at, _, _ in server.asked]
    assert len(times) == 4
    assert times[-1] - times[0] > 3 / 20 - 0.02


def reply(status=200, headers=None, answer=None):
    return lambda body, _: (status, headers or {}, answer)


HTML = {"Content-Type": "text/html"}
ROWS = [[0.1, 0.9]] * 10


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (reply(answer="<html>Sign in</html>", headers=HTML), "answered HTML; give the"),
        (reply(answer="hello"), "answered no JSON ('hello'); give"),
        (reply(answer={"scores": ROWS}), "it has ['scores']; say which field"),
        (reply(answer=[1, 2]), "it has no field; say which field"),
        (reply(answer={"predictions": ROWS[:3]}), "3 answers to 10 inputs"),
        (reply(answer={"predictions": "cat"}), "answered no list to 10 inputs"),
        (reply(answer={"predictions": [*ROWS[1:], [1]]}), "lists of several lengths"),
        (reply(answer={"predictions": ["cat"] * 10}), "'cat' an input; numbers are"),
        (reply(answer={"predictions": [{"a": 1}] * 10}), "an input; numbers are"),
        (reply(answer={"predictions": [[None, 1]] * 10}), "an input; numbers are"),
        (reply(answer={"predictions": [[float("nan"), 1]] * 10}), "NaN or infinite"),
        (reply(answer={"predictions": [[[1.0]]] * 10}), "answers of shape (10, 1, 1)"),
        (reply(403, answer="no"), "answered 403: it does not let us in"),
        (reply(302, {"Location": "/login"}, ""), "answered 302, a redirect"),
        (reply(500, answer="Traceback:\n boom"), "answered 500: 'Traceback: boom'"),
        (reply(503, answer=""), "answered 503 after 1 retries"),
    ],
)
def test_what_is_no_answer_is_said_in_one_line(server, images, answer, message):
    server.answer = answer
    with pytest.raises(UserError) as caught:
        open_network(server.url, web=QUICK).ask(images)
    assert message in str(caught.value)
    assert str(caught.value).startswith(server.url)
    assert "\n" not in str(caught.value)


def test_a_silent_server_times_out(server, images):
    done = threading.Event()

    def answer(body, _):
        done.wait(5)
        return 200, {}, {}

    server.answer = answer
    with pytest.raises(UserError, match=r"did not answer within 0\.1 s, 2 times"):
        open_network(server.url, web=Web(retries=1, timeout=0.1)).ask(images)
    done.set()


def test_a_server_that_is_not_there_is_said(images):
    web = Web(retries=0)
    with pytest.raises(UserError, match="cannot be reached; check the address"):
        open_network("http://127.0.0.1:9/x", web=web).ask(images)


def test_answers_that_change_their_width_are_refused(server, images):
    def answer(body, _):
        count = len(body["instances"])
        return 200, {}, {"predictions": [[0.5] * count] * count}

    server.answer = answer
    with pytest.raises(UserError, match="numbers an input"):
        open_network(server.url, web=Web(batch=4)).ask(images)
