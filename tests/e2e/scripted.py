"""A gateway that speaks as mobilgroup's does and fails as it is told to, in a thread."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Scripted:
    """``mode`` is what it does: ``ok``, ``hang``, ``reset``, ``http 500``, ``html``, or an error code to answer."""

    mode: str = "ok"
    requests: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    url: str = ""
    _closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                scripted.requests.append(body)
                scripted.times.append(time.monotonic())
                scripted._answer(self, body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def settings(self, name: str) -> str:
        """Its table in a settings file."""
        return f'[gateways.{name}]\nkind = "mobilgroup"\nurl = "{self.url}"\napi_key = "x"\ntimeout = 0.7\n'

    def codes(self, number: str) -> set[str]:
        """The codes that it was handed for a number."""
        return {request["code"] for request in self.requests if request["number"] == number.removeprefix("+")}

    def _answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        match self.mode:
            case "hang":
                self._closing.wait()
                handler.close_connection = True
            case "reset":
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                handler.close_connection = True
            case "http 500":
                _write(handler, 500, b"no")
            case "html":
                _write(handler, 200, b"<html>")
            case "ok":
                answer = {"result": "ok", "state": "delivered", "price": "1.00", "request_id": "scripted"}
                _write(handler, 200, json.dumps(answer | {"number": body["number"], "code": body["code"]}).encode())
            case error:
                _write(handler, 200, json.dumps({"result": "error", "error_code": error}).encode())


def _write(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
