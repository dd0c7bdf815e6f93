#!/bin/bash
# httpx-sse 0.4.3 makes an event of each empty line once it has seen an `id`, and of the empty line behind a lone `retry`. HTML's rule is
# that a block without data is no event, and EventSource and sseclient-py 1.9.0 hold it. So each comment that a server sends as ":\n\n" to
# keep a quiet stream open comes as an event with the id of the last one and no data, and code that decodes the data as JSON fails at the
# first heartbeat: not in a test whose stream ends before, nor with a server that sends no ids. A server can help: a comment needs no
# empty line, and `retry` can stand in front of the first event's own lines.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check httpx-sse==0.4.3 httpx==0.28.1 sseclient-py==1.9.0
cd "$folder"
cat >try.py <<'PY'
import httpx, httpx_sse, sseclient

def both(*blocks):
    made = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=iter(blocks))
    by_httpx = [(event.event, event.data, event.id, event.retry) for event in httpx_sse.EventSource(made).iter_sse()]
    by_sseclient = [(event.event, event.data, event.id) for event in sseclient.SSEClient(iter(blocks)).events()]
    print(b"".join(blocks), "\n  httpx-sse   ", by_httpx, "\n  sseclient-py", by_sseclient)
    return by_httpx, by_sseclient

one = b"id: 7\ndata: {}\n\n"
assert both(b":\n\n", b":\n\n") == ([], [])
assert both(b"retry: 2000\n\n") == ([("message", "", "", 2000)], [])
assert both(one, b":\n\n", b":\n\n") == (
    [("message", "{}", "7", None), ("message", "", "7", None), ("message", "", "7", None)],
    [("message", "{}", "7")],
)
assert both(b"retry: 2000\n", one, b":\n", b":\n") == ([("message", "{}", "7", 2000)], [("message", "{}", "7")])
PY
"$folder/venv/bin/python" try.py
