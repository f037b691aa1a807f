"""Row 36 of docs/FAULTS.md: requests from other machines and other sites."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SECRET = "[project]"  # the first line of pyproject.toml, which no answer may hold
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def listening(port: int) -> list[str]:
    """Local addresses of the sockets that listen on a port, in hex, from the kernel's tables."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == "0A" and int(address.rsplit(":", 1)[1], 16) == port:
                found.append(address.rsplit(":", 1)[0])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads the sockets from /proc")
def test_row_36_it_listens_on_loopback_only(server):
    assert listening(server.port) == ["0100007F"]  # 127.0.0.1


def test_row_36_another_address_of_this_machine_is_not_answered(server):
    # 127.0.0.1 is one address of many that are this machine's own.
    with socket.socket() as caller:
        caller.settimeout(5)
        refused = caller.connect_ex(("127.0.0.2", server.port))
    assert refused != 0


@pytest.fixture
def handshake(server):
    """handshake(Host=…, Origin=…): the status that answers a WebSocket's opening."""

    def ask(**changes: str | None) -> int:
        headers = {
            "Host": f"127.0.0.1:{server.port}",
            "Origin": f"http://127.0.0.1:{server.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY,
            "Sec-WebSocket-Protocol": "streamlit",
        }
        given = {name: value for name, value in (headers | changes).items() if value is not None}
        lines = ["GET /_stcore/stream HTTP/1.1", *(f"{k}: {v}" for k, v in given.items())]
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as caller:
            caller.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            answer = caller.recv(4096)
        return int(answer.split()[1])

    return ask


def test_row_36_a_browser_on_this_machine_is_let_in(server, handshake):
    assert handshake() == 101
    local = f"localhost:{server.port}"
    assert handshake(Host=local, Origin=f"http://{local}") == 101


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://evil.example:8501",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost@evil.example",
        "null",
    ],
)
def test_row_36_a_foreign_origin_is_refused(handshake, origin):
    assert handshake(Origin=origin) == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost.evil.example", "localhost@evil", ""]
)
def test_row_36_a_foreign_host_is_refused(server, handshake, host):
    """Also where the origin agrees: another site's name that was made to point here."""
    host = host.format(port=server.port)
    assert handshake(Host=host, Origin=f"http://{host}") in (400, 403)
    assert handshake(Host=host, Origin=None) in (400, 403)


def request(server, method: str, path: str, headers: dict | None = None, body: bytes = b""):
    """Status and content of the answer; the path is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    content, cookies = answer.read(), answer.headers.get_all("Set-Cookie") or []
    connection.close()
    return answer.status, content, cookies


FORM = (
    b'--cut\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\nbytes\r\n--cut--\r\n"
)


@pytest.fixture
def upload(server):
    """upload(method, headers): the status of an upload to a session that does not exist."""

    def send(method: str, **headers: str) -> int:
        kind = {"Content-Type": "multipart/form-data; boundary=cut"}
        return request(server, method, "/_stcore/upload_file/none/file", kind | headers, FORM)[0]

    return send


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_row_36_an_upload_without_the_token_is_refused(server, upload, method):
    cookies = request(server, "GET", "/_stcore/health")[2]
    cookie = next(c.split(";")[0] for c in cookies if c.startswith("_streamlit_xsrf="))
    token = cookie.split("=", 1)[1]
    assert upload(method) == 403
    assert upload(method, Cookie=cookie) == 403  # what another site's form would send
    assert upload(method, **{"X-Xsrftoken": token}) == 403
    assert upload(method, Cookie=cookie, **{"X-Xsrftoken": "2|0|0|0"}) == 403
    accepted = {"PUT": 400, "DELETE": 204}  # a token that fits: now it is the session that fails
    assert upload(method, Cookie=cookie, **{"X-Xsrftoken": token}) == accepted[method]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_row_36_nothing_else_takes_an_upload(upload, method):
    assert upload(method) == 405


PREFIXES = ["", "static/", "app/static/", "media/", "component/x/", "_stcore/", "pages/"]
STEPS = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "%252e%252e%252f", "....//"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("step", STEPS)
def test_row_36_no_path_leads_out(server, prefix, step):
    index = request(server, "GET", "/")[1]
    for target in ("pyproject.toml", "etc/passwd", "proc/self/environ"):
        status, content, _ = request(server, "GET", f"/{prefix}{step * 12}{target}")
        assert status in (400, 403, 404) or (status, content) == (200, index)
        assert not any(word in content for word in (SECRET.encode(), b"root:x:", b"PLAYGROUND"))


@pytest.mark.parametrize("path", ["pyproject.toml", "app.py", "pages/1_Train.py", "README.md"])
def test_row_36_no_file_of_the_app_is_served(server, path):
    index = request(server, "GET", "/")[1]
    file = REPOSITORY / path
    for address in (f"/{path}", f"/app/static/{path}", f"/app/static/..%2f{path}", f"/{file}"):
        status, content, _ = request(server, "GET", address)
        assert status != 200 or content == index
        assert content != file.read_bytes()


CALL = {"name": "interact", "arguments": {}}
AGENT = {
    "interact": {},
    "mcp": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL},
}


@pytest.mark.parametrize("place", list(AGENT))
def test_row_36_no_program_drives_the_app_through_the_agent_interface(server, place):
    kind = {"Content-Type": "application/json"}
    body = json.dumps(AGENT[place]).encode()
    status, content, _ = request(server, "POST", f"/_stcore/agent/{place}", kind, body)
    assert status in (400, 403)
    assert b"not_available" in content


def test_row_36_every_refusal_is_logged_without_a_traceback_and_it_still_works(server, handshake):
    assert handshake() == 101
    assert request(server, "GET", "/_stcore/health")[:2] == (200, b"ok")
    assert "Traceback" not in server.log.read_text()
