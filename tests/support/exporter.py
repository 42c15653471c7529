"""A process that serves metrics as Istio, vLLM and Triton name them, counting up with time.

`python -m tests.support.exporter` prints its port. Ten requests a second, of which `errors` fail, each of 0.2 s.
"""

import argparse
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shared.processes import follow_parent
from tests.support.service_series import lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--errors", type=float, default=2.0)
    errors = parser.parse_args().errors
    follow_parent()
    began = time.time() - 600

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "".join(f"{line}\n" for line in lines(time.time() - began, errors)).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
