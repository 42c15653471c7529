"""Attribute values in HTTP headers (CloudEvents 1.0.2, HTTP protocol binding, section 3.1.3.2).

A sender writes a space, a double quote, a percent sign and everything outside of U+0021 to U+007E percent-encoded. A
receiver decodes once. Brokers on Kafka neither encode nor decode: they pass the UTF-8 bytes of a structured event on as
they are, and so `Zürich` and `Z%C3%BCrich` both arrive, and are the same value. A percent sign that begins no character
is one that such a broker passed on, and stays.
"""

import re
from urllib.parse import quote, unquote_to_bytes

_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ESCAPED = re.compile(r"\\(.)")


def encoded(value: str) -> str:
    """The header of an attribute value: ASCII without spaces."""
    return quote(value, safe=_SAFE)


def decoded(header: str) -> str:
    """The attribute value of a header, as an HTTP library shows it: each byte is one character (ISO 8859-1).

    Bytes that are no UTF-8 become surrogates (PEP 383), which no attribute may hold.
    """
    try:
        text = header.encode("latin-1").decode(errors="surrogateescape")
    except UnicodeEncodeError:
        text = header  # the library has read it as UTF-8 already
    if len(text) > 1 and text[0] == text[-1] == '"':  # RFC 9110, section 5.6.4; senders by older versions quote
        text = _ESCAPED.sub(r"\1", text[1:-1])
    return _ENCODED.sub(_characters, text) if "%" in text else text


def _characters(match: re.Match[str]) -> str:
    try:
        return unquote_to_bytes(match[0]).decode()
    except UnicodeDecodeError:
        return match[0]
