"""An empty Flask view on the service's own server, with its defaults: ``python -m bench.floor_server PORT``.

Whatever the service does beyond answering at all is what it is slower than this.
"""

from __future__ import annotations

import sys

from flask import Flask

from otpservice.config import ServerSettings
from otpservice.serving import http_server


def load() -> Flask:
    """The application, made in each of the server's processes."""
    app = Flask("floor")

    @app.get("/")
    def floor() -> str:
        return ""

    return app


if __name__ == "__main__":
    http_server(ServerSettings(port=int(sys.argv[1]))).serve(target_loader=load, wrap_loader=False)
