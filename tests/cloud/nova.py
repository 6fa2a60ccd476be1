"""A fake of Nova's list of servers, for Nova itself is not installed here.

It answers GET /v2.1/servers as https://docs.openstack.org/api-ref/compute/#list-servers has it:
a token is needed, `name` is a regular expression, `limit` and `marker` make pages that end in a
link to the next, and no page is longer than the service's own max_limit.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        nova, url = self.server.nova, urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        nova.asked.append(self.path)
        if not self.headers.get("X-Auth-Token"):
            self._say(401, {"error": {"code": 401, "title": "Unauthorized"}})
        elif url.path == "/v2.1/servers":
            self._say(nova.status, nova.page(query))
        else:
            self._say(404, {"itemNotFound": {"code": 404, "message": "not here"}})

    def _say(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Nova:
    """`servers` is a list of (id, name)."""

    def __init__(self, *servers, max_limit=1000):
        self.servers, self.max_limit, self.status, self.asked = servers, max_limit, 200, []

    def page(self, query):
        named = re.compile(query.get("name", ""))
        rows = [row for row in self.servers if named.search(row[1])]
        ids = [row[0] for row in rows]
        begin = ids.index(query["marker"]) + 1 if "marker" in query else 0
        end = begin + min(int(query.get("limit", self.max_limit)), self.max_limit)
        found = {"servers": [{"id": i, "name": n, "links": []} for i, n in rows[begin:end]]}
        if end < len(rows):
            more = urlencode({**query, "marker": ids[end - 1]})
            found["servers_links"] = [{"rel": "next", "href": f"{self.url}/servers?{more}"}]
        return found

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.nova = self
        self.url = f"http://127.0.0.1:{self.server.server_port}/v2.1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
