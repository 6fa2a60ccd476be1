"""A proxy before an API that breaks chosen requests: by status, silence, cut or noise."""

import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _pass(self):
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with proxy.lock:
            proxy.seen.append((self.command, self.path, dict(self.headers), body))
            number = len(proxy.seen)
        fault = proxy.fault(self.command, self.path, number) if proxy.fault else None
        if fault is None or fault.get("after"):
            status, headers, data = self._forward(body)
        if fault is None:
            self._answer(status, headers, data)
        else:
            fault = {"headers": {}, "body": b"", **fault}
            self._break(fault)

    do_GET = do_POST = do_PUT = do_DELETE = _pass  # noqa: N815 - the library's names

    def _forward(self, body):
        proxy = self.server.proxy
        to = HTTPConnection(urlsplit(proxy.upstream).netloc, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        to.request(self.command, self.path, body or None, headers)
        answer = to.getresponse()
        data = answer.read()
        to.close()
        if proxy.rewrites:
            old, new = (text.encode() for text in proxy.rewrites)
            data = data.replace(old, new)
        return answer.status, dict(answer.getheaders()), data

    def _answer(self, status, headers, data, size=None):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(data) if size is None else size))
        self.end_headers()
        self.wfile.write(data)

    def _break(self, fault):
        self.close_connection = True
        try:
            if "hang" in fault:
                self.server.proxy.ended.wait(fault["hang"])
            elif "drip" in fault:
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                end = time.monotonic() + fault["drip"]
                while time.monotonic() < end and not self.server.proxy.ended.wait(0.2):
                    self.wfile.write(b" ")
                    self.wfile.flush()
            elif "cut" in fault:
                self._answer(200, {}, b'{"ports": [', size=5000)
            elif "close" not in fault:
                self._answer(fault.get("status", 200), fault["headers"], fault["body"])
        except OSError:
            pass


class Proxy:
    """`fault(method, path, number)` gives None, or how to break this request."""

    def __init__(self, upstream):
        self.upstream, self.fault, self.rewrites = upstream, None, ()
        self.seen, self.lock, self.ended = [], threading.Lock(), threading.Event()

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.proxy = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
