"""The commands in header values, `%REQ(x-id)%` and the like: what keeps a text from being a value for Envoy.

Istio's webhook looks at the form alone (`validateHeaderValue`); a command that Envoy does not know passes there and
makes Envoy refuse the whole configuration. The tables are what Envoy 1.40 accepted when each command was given to it
with and without an argument and a length.
"""

from __future__ import annotations

import re

_COMMAND = re.compile(r"%%|%(?P<name>[A-Z0-9_]+)(?:\((?P<argument>[^)]*)\))?(?P<length>:\d{1,9})?%")
_HEADER = re.compile(r"[-:A-Za-z0-9_]+(?:\?[-:A-Za-z0-9_]*)?")
_PARAMETER = re.compile(r"[-.A-Za-z0-9_]+")
_LONGEST = 16384  # bytes: Envoy's limit for names and values of headers

_PLAIN_NAMES = """
ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CONNECTION_ID CONNECTION_TERMINATION_DETAILS
DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_PORT
DOWNSTREAM_HANDSHAKE_DURATION DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT
DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_PORT
DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_DNS_SAN
DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_SERIAL
DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION
DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_WIRE_BYTES_SENT DURATION
FILTER_CHAIN_NAME GRPC_STATUS GRPC_STATUS_NUMBER HOSTNAME LOCAL_REPLY_BODY PACKETS_RETRANSMITTED PATH PROTOCOL
QUERY_PARAMS REQUESTED_SERVER_NAME REQUEST_DURATION REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE
RESPONSE_CODE_DETAILS RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES
RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION ROUNDTRIP_DURATION ROUTE_NAME SPAN_ID STREAM_ID TRACE_ID UNIQUE_ID
UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_CONNECTION_ID UPSTREAM_HEADER_BYTES_RECEIVED
UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST UPSTREAM_HOST_NAME UPSTREAM_HOST_NAME_WITHOUT_PORT
UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_LOCAL_PORT UPSTREAM_PEER_CERT
UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS
UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_TLS_CIPHER
UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_WIRE_BYTES_RECEIVED
UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME
"""
_HEADERS = frozenset(("REQ", "RESP", "TRAILER", "REQUEST_HEADER", "RESPONSE_TRAILER"))
_WITH_ARGUMENT = frozenset(
    ("ENVIRONMENT", "QUERY_PARAM", "DYNAMIC_METADATA", "FILTER_STATE", "UPSTREAM_FILTER_STATE")
)
_TIMES = frozenset(
    f"{name}{suffix}"
    for name, suffixes in {
        "START_TIME": ("", "_LOCAL"),
        "EMIT_TIME": ("",),
        "DOWNSTREAM_PEER_CERT": ("_V_START", "_V_END"),
        "UPSTREAM_PEER_CERT": ("_V_START",),
    }.items()
    for suffix in suffixes
)
_PLAIN = frozenset(_PLAIN_NAMES.split())


def fault(value: str) -> str | None:
    """What is wrong with the header value, as the rest of a sentence about it, or None when Envoy takes it."""
    if len(value.encode()) > _LONGEST:
        return f"is longer than {_LONGEST} bytes"
    at = 0
    while (at := value.find("%", at)) >= 0:
        command = _COMMAND.match(value, at)
        if command is None:
            return 'has a lone "%"; write "%%" for the sign'
        if command["name"] and not _known(command["name"], command["argument"], command["length"]):
            return f"has {command[0]}, which is no command that Envoy has for headers"
        at = command.end()
    return None


def _known(name: str, argument: str | None, length: str | None) -> bool:
    if name in _HEADERS:
        return bool(_HEADER.fullmatch(argument or ""))
    if name in _WITH_ARGUMENT:
        return bool(_PARAMETER.fullmatch(argument or ""))
    return length is None and (name in _TIMES or (name in _PLAIN and argument is None))
