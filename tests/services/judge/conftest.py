"""A real HTTP server that answers as a test tells it to, in the form of `/v1/chat/completions`."""

import json
import re
import select
import socket
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def completion(content, finish="stop", prompt_tokens=100, completion_tokens=10, **message):
    """The body of a completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def scored(score, reason="Because."):
    """An answer to a rubric."""
    return completion(json.dumps({"reason": reason, "score": score}))


@dataclass
class Reply:
    """What the server does with one request."""

    body: bytes = b""
    status: int = 200
    headers: dict = field(default_factory=dict)
    seconds: float = 0.0
    """Waits so long first, or until the client leaves."""
    drip_seconds: float = 0.0
    """Pause after each byte of the body, until the client leaves."""
    drop: bool = False
    """Closes the connection instead."""


class FakeEndpoint(ThreadingHTTPServer):
    """Answers requests that hold `script-NAME` with the replies of that script in turn, the last again and again; others
    by `default`, a function of the request's body."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scripts = {}
        self.default = lambda body: Reply(scored(4))
        self.requests = []
        self.times = defaultdict(list)
        self.left = set()
        self.under_way = self.most_under_way = self.connections = 0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def script(self, name, *replies):
        """Returns what a response has to hold for these replies."""
        self.scripts[name] = list(replies)
        return f"script-{name}"

    def reply_to(self, body):
        text = json.dumps(body["messages"])
        with self.lock:
            self.requests.append(body)
            found = re.search(r"script-(\w+)", text)
            name = found[1] if found else ""
            self.times[name].append(time.monotonic())
            replies = self.scripts.get(name)
            if replies:
                reply = replies.pop(0) if len(replies) > 1 else replies[0]
                return name, reply(body) if callable(reply) else reply
            return name, self.default(body)

    def asked(self, name):
        """The requests of a script, so far."""
        return [body for body in self.requests if f"script-{name}" in json.dumps(body["messages"])]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body["authorization"], body["path"] = self.headers.get("Authorization"), self.path
        with server.lock:
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        try:
            name, reply = server.reply_to(body)
            if reply.seconds and self.client_leaves(reply.seconds):
                server.left.add(name)
                self.close_connection = True
                return
            if reply.drop:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
        finally:
            with server.lock:
                server.under_way -= 1
        self.send_response(reply.status)
        for key, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if not reply.drip_seconds:
            self.wfile.write(reply.body)
            return
        for place in range(len(reply.body)):
            self.wfile.write(reply.body[place : place + 1])
            if self.client_leaves(reply.drip_seconds):
                self.close_connection = True
                return

    def client_leaves(self, seconds):
        readable, _, _ = select.select([self.connection], [], [], seconds)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def endpoint():
    server = FakeEndpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def replies():
    """Functions that make replies."""
    return Replies


class Replies:
    """Names for what tests need of this module, which they cannot import."""

    Reply = Reply
    completion = staticmethod(completion)
    scored = staticmethod(scored)

    @staticmethod
    def text(content, **more):
        return Reply(completion(content, **more))

    @staticmethod
    def score(number, **more):
        return Reply(scored(number), **more)

    @staticmethod
    def status(number, **headers):
        return Reply(b'{"error": {"message": "SECRET TEXT", "type": "SomeError", "code": null}}', number, headers)


@pytest.fixture
def free_port():
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
