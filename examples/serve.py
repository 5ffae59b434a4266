#!/usr/bin/env python3
"""Offer a bundle as a small HTTP service.

    python examples/serve.py BUNDLE [--host 127.0.0.1] [--port 8080]

    curl --data-binary @shirt.jpg http://127.0.0.1:8080/classify
    curl -F photo=@shirt.jpg http://127.0.0.1:8080/classify
    curl http://127.0.0.1:8080/health

A photo is the body of the request, or the form field ``photo``. Each class in the answer has its index among the
outputs, its label and its probability. The service runs one inference at a time, because the threads of the runtime
already use all cores. It listens only on this machine unless --host says otherwise. It does not ask for a password, so
put it behind a server that does. Flask and waitress are needed: pip install flask waitress.
"""

from __future__ import annotations

import argparse
import io
import threading
import time
from typing import Any

from PIL import Image, UnidentifiedImageError

import xedge

try:
    from flask import Flask, Response, jsonify, request
    from waitress import serve
except ImportError as error:
    raise SystemExit(f"{error.name} is not installed: pip install flask waitress") from None

LARGEST_PHOTO_BYTES = 20_000_000


def service(model: xedge.Model) -> Flask:
    """Return the web application for a model."""
    app, one_at_a_time = Flask("xedge"), threading.Lock()
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_PHOTO_BYTES
    manifest, execution = model.manifest, model.execution

    @app.post("/classify")
    def classify() -> Any:
        data = sent_photo()
        try:
            photo = Image.open(io.BytesIO(data))
            photo.load()
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return refused("the request has no readable photo; send one in the form field 'photo' or as the body", 400)
        start = time.perf_counter()
        with one_at_a_time:
            found = model.classify(photo, top=request.args.get("top", 3, type=int))
        classes = [{"index": one.index, "label": one.label, "probability": one.probability} for one in found]
        return jsonify(classes=classes, ms=1000 * (time.perf_counter() - start))

    @app.get("/health")
    def health() -> Response:
        return jsonify(
            model=manifest.model.name,
            target=manifest.target,
            precision=manifest.precision,
            runtime=f"{execution.runtime} {execution.version}",
            labels=model.labels,
        )

    @app.errorhandler(413)
    def too_large(_: Exception) -> Any:
        return refused(f"the photo is larger than {LARGEST_PHOTO_BYTES // 1_000_000} MB", 413)

    return app


def sent_photo() -> bytes:
    """Return the bytes of the photo in the request; without a type of its own, curl calls any body a form."""
    if request.mimetype != "multipart/form-data":
        return request.get_data()
    sent = request.files.get("photo")
    return sent.read() if sent is not None else b""


def refused(why: str, code: int) -> tuple[Response, int]:
    """Return an answer that says what is wrong.

    Args:
        why: The reason, in words.
        code: The HTTP status code.
    """
    return jsonify(error=why), code


def main() -> int:
    """Serve requests until the program is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="the bundle's folder or zip file")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="the port to listen on (8080)")
    options = parser.parse_args()
    with xedge.load(options.bundle) as model:
        print(f"http://{options.host}:{options.port}/classify", flush=True)
        serve(service(model), host=options.host, port=options.port, threads=4)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
