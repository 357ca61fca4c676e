"""
What DuckDB takes for JSON and RFC 8259 does not: a comma after the last member, NaN and Infinity; and members that are named twice.

Whole blocks are examined at C speed; only records with such a fault are examined one by one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dpe_cli.blocks.patterns import repeated
from dpe_cli.sources.json import parsing

# A string that is never closed ends with its record, so that it spoils no other record, and no quote within it is tried as the start of
# another string, which would take quadratic time.
STRING = rb'"[^"\\\n\x1e]*(?:"|%b(?:"|\\?(?=[\n\x1e]|\Z)))' % repeated(rb'\\[^\n\x1e][^"\\\n\x1e]*')
_STRING = re.compile(STRING)
_TRAILING_COMMA = re.compile(rb",[ \t\r\n]*[}\]]")
# Outside strings. DuckDB takes NaN and Infinity in any case.
_FAULT = re.compile(rb"(%b)|(?i:nan|inf)" % _TRAILING_COMMA.pattern)
_BLANKS = b" \t\r\n"
# What comes before a value as a colon, the letters of NaN and Inf in lower case, and all others as a blank.
_STARTS = bytes(0x3A if byte in b":[,-" else byte | 0x20 if byte in b"nNaAiIfF" else 0x20 for byte in range(256))


def faults(data: bytes, separator: bytes) -> Mapping[int, str]:
    """Return, by index, why records are not JSON although DuckDB reads them; there is seldom one."""
    if not _may_have_fault(data) or not _FAULT.search(_STRING.sub(b'""', data)):
        return {}
    found = ((index, _FAULT.search(_STRING.sub(b'""', raw))) for index, raw in enumerate(data.split(separator)) if _may_have_fault(raw))
    return {index: "a comma follows the last value" if fault[1] else "NaN and Infinity are not JSON" for index, fault in found if fault}


def _may_have_fault(data: bytes) -> bool:
    """Return whether there is what looks like a fault, perhaps within a string."""
    if _TRAILING_COMMA.search(data):
        return True
    starts = data.translate(_STARTS, _BLANKS)
    return b":nan" in starts or b":inf" in starts


def repeated_name(raw: bytes) -> str | None:
    """Return a name that two members of one object have; None if it is not found, as in a record that is nested too deeply."""
    try:
        parsing.parse(raw, pairs=parsing.distinct)
    except parsing.RepeatedError as error:
        return error.name
    except ValueError:
        pass
    return None
