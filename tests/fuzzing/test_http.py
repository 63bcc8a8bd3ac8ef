"""What is no HTTP, or only just: the service stays up, and never takes the blame (5xx) for it."""

from __future__ import annotations

import re
import socket
from select import select
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.e2e.system import Caller
from tests.profiles import effort

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")
_HOST = b"Host: otp.example.com"
_LAST = _HOST + b"\r\nConnection: close"
_PATIENCE_SECONDS = 0.1
_HEALTHY = b"GET /healthz HTTP/1.1\r\n" + _HOST + b"\r\n\r\n"

ends_of_line = st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r", b"\n\r", b"\r\r\n", b""])
methods = st.sampled_from(
    [b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE", b"CONNECT", b"PRI", b"get", b"", b"G\x00T"]
) | st.binary(max_size=20)
targets = st.sampled_from(
    [
        *(b"/healthz", b"/v1/verifications", b"/v1/callbacks/a/b", b"*", b"", b"//", b"http://other/healthz", b"a:443"),
        *(b"/" + b"a" * 70_000, b"/%", b"/%zz", b"/%00", b"/../../etc/passwd", b"/v1/verifications/%2e%2e", b"/\xff"),
        b"/healthz?" + b"a=b&" * 500,
    ]
) | st.binary(max_size=40)
versions = st.sampled_from(
    [b"HTTP/1.1"] * 5 + [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/", b"", b"\x00"]
)
headers = st.one_of(
    st.sampled_from(
        [
            *(
                _HOST,
                _HOST,
                b"Host:",
                b"Host: a, b",
                b"Connection: close",
                b"Connection: upgrade",
                b"Upgrade: websocket",
            ),
            *(b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: -1", b"Content-Length: 5, 5"),
            *(
                b"Content-Length: 99999999999999999999",
                b"Content-Length: 5 ",
                b"Content-Length: 0x5",
                b"Content-Length:",
            ),
            *(
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: chunked, identity",
                b"Transfer-Encoding: \x0bchunked",
            ),
            *(b"Expect: 100-continue", b"Expect: 200", b"Content-Type: application/json", b"Content-Encoding: gzip"),
            *(b"Authorization: Bearer \xff\xfe", b"Authorization:", b"Authorization: Bearer", b"Idempotency-Key: \xe9"),
            *(
                b"X-Request-ID: \xe9\xff",
                b"X-Request-ID: " + b"a" * 5000,
                b"Prefer: wait=99999999999",
                b"Prefer: wait=" * 99,
            ),
            *(
                b" folded: value",
                b"no colon",
                b": no name",
                b"a b: c",
                b"a\x00b: c",
                b"a: b\x00c",
                b"a: b\rc",
                b"Cookie: =;,",
            ),
            *(b"X-Long: " + b"a" * 100_000, b"\r\n".join(b"X-Many-%d: 1" % number for number in range(300))),
        ]
    ),
    st.binary(max_size=60),
)
contents = st.one_of(
    st.sampled_from(
        [
            *(
                b"",
                b"hello",
                b"{}",
                b'{"number": "+79991234567"}',
                b"5\r\nhello\r\n0\r\n\r\n",
                b"5\r\nhel",
                b"0\r\n\r\n",
            ),
            *(
                b"zz\r\nhello\r\n0\r\n\r\n",
                b"-5\r\nhello\r\n0\r\n\r\n",
                b"FFFFFFFFFFFFFFFFF\r\nhello",
                b"5;a=b\r\nhello\r\n0\r\n\r\n",
            ),
            *(
                b"5\nhello\n0\n\n",
                b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
                b"4000\r\n" + b"a" * 0x4000 + b"\r\n0\r\n\r\n",
            ),
            *(b"a" * 40_000, _HEALTHY, _HEALTHY * 20),
        ]
    ),
    st.binary(max_size=100),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, each part of it as it should be or not at all."""
    between = draw(st.sampled_from([b" "] * 6 + [b"\t", b"  ", b""]))
    line = between.join([draw(methods), draw(targets), draw(versions)])
    end = draw(ends_of_line)
    lines = [line, *draw(st.lists(headers, max_size=6))]
    return end.join(lines) + end + end + draw(contents)


conversations = st.one_of(
    requests(), requests(), st.lists(requests(), min_size=2, max_size=4).map(b"".join), st.binary(max_size=3000)
)


def exchange(caller: Caller, sent: bytes, *, is_complete: bool = False) -> bytes:
    """Everything that comes back until the service closes.

    It is told that nothing more will come, but only once it has answered something or obviously waits for more: what
    it has begun to answer by then it may give up.
    """
    address = urlsplit(caller.url)
    received = b""
    with socket.create_connection((str(address.hostname), address.port or 80), timeout=10) as connection:
        try:
            connection.sendall(sent)
            select([connection], [], [], _PATIENCE_SECONDS)
            if not is_complete:
                connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                received += more
        except TimeoutError:
            raise AssertionError(f"neither answered nor hung up: {sent[:300]!r}") from None
        except OSError:
            pass  # it may hang up on what it does not understand
    return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in _STATUS.findall(received)]


@effort(400)
@given(sent=conversations)
@example(sent=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))  # TLS
@example(sent=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(50))  # HTTP/2
def test_whatever_is_sent_the_service_stays_up_and_takes_no_blame(caller: Caller, sent: bytes) -> None:
    received = exchange(caller, sent)
    assert all(status < 500 for status in statuses(received)), received[:300]
    assert caller.client.get("/healthz").status_code == 200


def test_pipelined_requests_are_answered_one_by_one(caller: Caller) -> None:
    sent = _HEALTHY * 9 + _HEALTHY.replace(_HOST, _LAST)
    assert statuses(exchange(caller, sent, is_complete=True)) == [200] * 10


@pytest.mark.parametrize(
    ("header", "content"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n" + _HEALTHY),
        (b"Content-Length: 5\r\nContent-Length: 6", b"hello" + _HEALTHY),
        (b"Transfer-Encoding: chunked, identity", b"0\r\n\r\n" + _HEALTHY),
    ],
)
def test_a_request_that_two_parsers_may_read_differently_is_not_followed_by_another(
    caller: Caller, header: bytes, content: bytes
) -> None:
    """Request smuggling (RFC 9112, 11.2): what follows may not be taken for a request of its own."""
    sent = b"POST /v1/verifications HTTP/1.1\r\n" + _HOST + b"\r\n" + header + b"\r\n\r\n" + content
    answered = statuses(exchange(caller, sent))
    assert 200 not in answered
    assert all(400 <= status < 500 for status in answered)


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000, b"GET /" + b"a" * 1_000_000, b"\r" * 1_000_000]
)
def test_what_never_ends_is_cut_off(caller: Caller, sent: bytes) -> None:
    assert all(400 <= status < 500 for status in statuses(exchange(caller, sent)))
    assert caller.client.get("/healthz").status_code == 200


def test_a_body_without_a_length_is_counted_too(caller: Caller) -> None:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    key = caller.api_key.encode()
    head = b"POST /v1/verifications HTTP/1.1\r\n" + _LAST + b"\r\nAuthorization: Bearer " + key
    head += b"\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert statuses(exchange(caller, head + chunk * 3 + b"0\r\n\r\n", is_complete=True)) == [413]
    assert statuses(exchange(caller, head + b"2\r\n{}\r\n0\r\n\r\n", is_complete=True)) == [422]
