"""Why a server could not be asked, in the words of networks."""

import socket
import ssl
from http.client import BadStatusLine, HTTPException, IncompleteRead, LineTooLong, RemoteDisconnected


def reason_of(error: OSError | HTTPException) -> str:
    """Returns in a few words what went wrong on a connection, without names of Python's classes or error numbers."""
    match error:
        case RemoteDisconnected():
            return "the connection was closed without an answer"
        case IncompleteRead():
            return "the connection was closed in the middle of the answer"
        case BadStatusLine() | LineTooLong():
            return "what answers does not speak HTTP"
        case HTTPException():
            return f"not an answer of HTTP: {error}" if str(error) else "not an answer of HTTP"
        case ssl.SSLCertVerificationError():
            return f"the certificate cannot be verified: {error.verify_message or error.reason}"
        case ssl.SSLError() if error.reason:
            return f"TLS failed: {error.reason.replace('_', ' ').lower()}"
        case socket.gaierror():
            return f"the name cannot be resolved: {error.strerror}"
        case OSError():
            return error.strerror or str(error) or "the connection failed"
