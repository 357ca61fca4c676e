"""
Find secrets in a text, in whatever form programs write them.

A text is searched as it is, and again with its escapes resolved (of URLs, JSON, HTML, Python, however deeply nested, or of quoted
printable text); each time a secret is searched for in any case, as SQL, CSV and shells quote it, across line breaks, in lists of the
numbers of its characters, and in what base64 and hexadecimal digits decode to. Each step takes time proportional to the text's length.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from html import escape, unescape
from urllib.parse import quote, quote_plus

# Secrets this short are hidden only as whole words: hidden within words, they would turn every text into asterisks.
LONGEST_SHORT = 3
# Shorter ones are not searched for across blanks, because two words may form them by chance.
_SHORTEST_BROKEN = 8
# JSON in a URL within JSON.
_MOST_ROUNDS = 4

Span = tuple[int, int]

_ESCAPE = re.compile(
    rb"""
      % (?P<percent>[0-9a-f]{2})
    | \\+ x (?P<byte>[0-9a-f]{2})
    | \\+ u (?P<high>d[89ab][0-9a-f]{2}) \\+ u (?P<low>d[c-f][0-9a-f]{2})
    | \\+ (?-i:U) 00 (?P<long>[0-9a-f]{6})
    | \\+ u (?P<code>[0-9a-f]{4})
    | \\+ u \{ (?P<braced>[0-9a-f]{1,6}) \}
    | \\+ (?P<octal>[0-3][0-7]{2})
    | \\+ (?P<blank>(?-i:[nrtfv]))
    | & \# (?P<number>[0-9]{1,7}) ;
    | & \#x (?P<digits>[0-9a-f]{1,6}) ;
    | & (?P<name>[a-z][a-z0-9]{1,30}) ;
    | \\+
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Not one of the escapes above: in URLs, what follows an equals sign is a value.
_QUOTED_PRINTABLE = re.compile(rb"=(?:(?P<byte>[0-9A-F]{2})|\r?\n)")
# The bytes or characters of a text as numbers: 0x70, 0x61 or [112, 97].
_NUMBER = rb"(?:0x[0-9a-f]{1,6}|[0-9]{1,7})"
_NUMBERS = re.compile(rb"(?<![0-9a-z])%b(?:[,;\s]{1,4}%b){3,}(?![0-9a-z])" % (_NUMBER, _NUMBER), re.IGNORECASE)
_EACH_NUMBER = re.compile(rb"[0-9a-z]+", re.IGNORECASE)
# SQL and CSV double quotes within quotes; a shell ends its quotes, and quotes the quote otherwise ('"'"'). A run of them is one quote.
_QUOTES = re.compile(rb"(?P<quotes>[\\'\"`\]]+)")
# An HTML form encodes a blank as a plus.
_BLANKS_AND_PLUS = bytes([*range(33), 127, ord("+")])
_PLAIN = bytes(0x20 if byte in _BLANKS_AND_PLUS else byte for byte in range(256)).lower()
_BEYOND_ASCII = re.compile(r"[^\0-\x7f]")
_WORD = rb"0-9a-z_\x80-\xff"


@dataclass(frozen=True)
class _Reading:
    """A text in one form, with the position in the original text of each of its bytes."""

    data: bytes
    starts: Sequence[int]
    ends: Sequence[int]

    def span(self, start: int, end: int) -> Span:
        return self.starts[start], self.ends[end - 1]


@dataclass(frozen=True)
class _Encoding:
    """Digits that encode bytes: the bits per digit, the digits per whole number of bytes, and the pattern of a word of such digits."""

    digits: bytes
    bits: int
    group: int
    decode: Callable[[bytes], bytes]
    token: re.Pattern[bytes]

    @cached_property
    def others(self) -> bytes:
        """The bytes that are not digits."""
        return bytes(set(range(256)) - set(self.digits))


@dataclass(frozen=True)
class _Forms:
    """
    Secrets in the forms to search for, in lower case: with blanks, without blanks, in decoded text, and with one quote per run of quotes.

    `words` are the patterns of secrets that are too short for that.
    """

    plain: frozenset[bytes]
    unbroken: frozenset[bytes]
    encoded: frozenset[bytes]
    quoted: frozenset[bytes]
    words: frozenset[re.Pattern[bytes]]


def spans(text: str, secrets: Iterable[str]) -> list[Span]:
    """Return where a text holds secrets, unordered and with duplicates; an encoded text that contains one counts as a whole."""
    forms = _forms_of_all(frozenset(secrets))
    if not (forms.plain or forms.words) or not text:
        return []
    written = _as_bytes(text)
    found: list[Span] = []
    for reading in _readings(written):
        places = [*_as_they_are(reading, forms), *_as_numbers(reading, forms)]
        if forms.quoted and (quoted := _resolved(reading, _QUOTES)) is not None:
            plain = quoted.data.translate(_PLAIN)
            found += (quoted.span(*place) for form in forms.quoted for place in _occurrences(form, plain))
        for encoding in _ENCODINGS:
            places += _encoded(reading, forms, encoding)
            places += _encoded_words(reading, forms, encoding) if forms.words else ()
        found += (reading.span(start, end) for start, end in places)
    found += _unbroken(written, forms)
    if (printable := _resolved(written, _QUOTED_PRINTABLE)) is not None:
        found += (printable.span(*place) for place in _as_they_are(printable, forms))
    return found


def merged(found: Iterable[Span]) -> list[Span]:
    """Return spans in order, adjacent ones merged."""
    done: list[Span] = []
    for start, end in sorted(found):
        if done and start <= done[-1][1]:
            done[-1] = done[-1][0], max(end, done[-1][1])
        else:
            done.append((start, end))
    return done


def _readings(text: _Reading) -> Iterator[_Reading]:
    """Yield a text as it is, then with one layer of escapes after another resolved."""
    reading: _Reading | None = text
    for _ in range(_MOST_ROUNDS):
        if reading is None:
            return
        yield reading
        reading = _resolved(reading, _ESCAPE)


def _as_bytes(text: str | bytes) -> _Reading:
    if isinstance(text, bytes) or text.isascii():
        data = text if isinstance(text, bytes) else text.encode()
        return _Reading(data, range(len(data)), range(1, len(data) + 1))
    parts = [character.encode(errors="surrogatepass") for character in text]
    starts = [position for position, part in enumerate(parts) for _ in part]
    return _Reading(b"".join(parts), starts, [start + 1 for start in starts])


def _without_blanks(reading: _Reading) -> _Reading:
    data = reading.data.translate(None, _BLANKS_AND_PLUS)
    if len(data) == len(reading.data):
        return reading
    kept = [place for place, byte in enumerate(reading.data) if byte not in _BLANKS_AND_PLUS]
    return _Reading(data, [reading.starts[place] for place in kept], [reading.ends[place] for place in kept])


def _resolved(reading: _Reading, escapes: re.Pattern[bytes]) -> _Reading | None:
    """Resolve the outer layer of escapes; None if there are none."""
    parts: list[bytes] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for found in escapes.finditer(reading.data):
        meaning = _meaning(found)
        parts += reading.data[position : found.start()], meaning
        starts += reading.starts[position : found.start()]
        ends += reading.ends[position : found.start()]
        starts += [reading.starts[found.start()]] * len(meaning)
        ends += [reading.ends[found.end() - 1]] * len(meaning)
        position = found.end()
    if not position:
        return None
    return _Reading(b"".join([*parts, reading.data[position:]]), [*starts, *reading.starts[position:]], [*ends, *reading.ends[position:]])


def _meaning(found: re.Match[bytes]) -> bytes:
    """Return what an escape stands for; nothing for a lone backslash."""
    kind, value = found.lastgroup, found[found.lastgroup or 0]
    match kind:
        case "percent" | "byte" | "octal":
            return bytes([int(value, 8 if kind == "octal" else 16)])
        case "low":
            return _character(0x10000 + ((int(found["high"], 16) - 0xD800) << 10) + int(value, 16) - 0xDC00)
        case "code" | "long" | "braced" | "digits" | "number":
            return _character(int(value, 10 if kind == "number" else 16))
        case "quotes":
            return b"'"
        case "name":
            return unescape(f"&{value.decode()};").encode(errors="surrogatepass")
        case _:
            return b"\n" if kind == "blank" else b""


def _character(code: int) -> bytes:
    return chr(code).encode(errors="surrogatepass") if code <= 0x10FFFF else b""


@lru_cache(maxsize=16)
def _forms_of_all(secrets: frozenset[str]) -> _Forms:
    forms = [_forms(secret.strip()) for secret in secrets if secret.strip()]
    nothing: frozenset[bytes] = frozenset()
    return _Forms(
        nothing.union(*(form.plain for form in forms)),
        nothing.union(*(form.unbroken for form in forms)),
        nothing.union(*(form.encoded for form in forms)),
        nothing.union(*(form.quoted for form in forms)),
        frozenset[re.Pattern[bytes]]().union(*(form.words for form in forms)),
    )


@lru_cache(maxsize=4096)
def _forms(secret: str) -> _Forms:
    if len(secret) <= LONGEST_SHORT:
        return _Forms(frozenset(), frozenset(), frozenset(), frozenset(), frozenset([_word(secret)]))
    read = [reading.data for variant in _variants(secret) for reading in _readings(_as_bytes(variant))]
    # With its escapes resolved, a secret may be too short to search for.
    plain = {form.translate(_PLAIN) for form in read if len(form) > LONGEST_SHORT}
    unbroken = {form.lower().translate(None, _BLANKS_AND_PLUS) for form in read}
    written = {quote(secret), quote(secret, safe=""), quote_plus(secret), escape(secret)}
    written |= {json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    encoded = plain | {form.encode(errors="surrogatepass").translate(_PLAIN) for form in written}
    unbroken = {form for form in unbroken if len(form) >= _SHORTEST_BROKEN}
    quoted = {form for form in (_QUOTES.sub(b"'", form) for form in plain if _QUOTES.search(form)) if len(form) > LONGEST_SHORT}
    return _Forms(frozenset(plain), frozenset(unbroken), frozenset(encoded), frozenset(quoted), frozenset())


def _variants(secret: str) -> Iterator[str | bytes]:
    """Yield a secret, also in other cases beyond ASCII, and as it looks when written in one encoding and read in another."""
    yield secret
    if secret.isascii():
        return
    yield from (secret.lower(), secret.upper(), secret.casefold(), secret.swapcase())
    # Also as Python shows it in ASCII.
    yield b"".join(letter.encode("latin-1" if letter <= "\xff" else "utf-8", errors="surrogatepass") for letter in secret)
    yield secret.encode(errors="surrogatepass").decode("latin-1")
    if sum(character.isascii() for character in secret) > LONGEST_SHORT:
        for mark in ("?", "\ufffd"):
            yield _BEYOND_ASCII.sub(mark, secret)
            yield "".join(letter if letter.isascii() else mark * len(letter.encode(errors="surrogatepass")) for letter in secret)


def _word(secret: str) -> re.Pattern[bytes]:
    """Return the pattern of a secret as a word; if it begins or ends with a sign, it has to stand between blanks or like a value."""
    word = secret.encode(errors="surrogatepass").translate(_PLAIN)
    before = rb"(?<![%b])" % _WORD if re.match(rb"[%b]" % _WORD, word) else rb"(?<![^\s\"':=])"
    after = rb"(?![%b])" % _WORD if re.search(rb"[%b]\Z" % _WORD, word) else rb"(?![^\s\"',;&])"
    return re.compile(before + re.escape(word) + after)


def _as_they_are(reading: _Reading, forms: _Forms) -> Iterator[Span]:
    """Yield where a reading contains secrets, in any case."""
    plain = reading.data.translate(_PLAIN)
    for form in forms.plain:
        if form in plain:
            yield from _occurrences(form, plain)
    for word in forms.words:
        yield from (found.span() for found in word.finditer(plain))


def _as_numbers(reading: _Reading, forms: _Forms) -> Iterator[Span]:
    """Yield the lists of numbers that are the bytes, or the characters, of a text with a secret."""
    for found in _NUMBERS.finditer(reading.data):
        numbers = [int(number[0], 16 if number[0][:2].lower() == b"0x" else 10) for number in _EACH_NUMBER.finditer(found[0])]
        decoded = b"".join(bytes([number]) if number <= 0xFF else _character(number) for number in numbers).translate(_PLAIN)
        if any(form in decoded for form in forms.encoded):
            yield found.span()


def _unbroken(written: _Reading, forms: _Forms) -> Iterator[Span]:
    """Yield where a text contains secrets that are broken over lines, possibly within escapes."""
    bare = written.data.translate(None, _BLANKS_AND_PLUS)
    if not _ESCAPE.search(bare) and not any(form in bare.lower() for form in forms.unbroken):
        return
    for reading in _readings(_without_blanks(written)):
        unbroken = _without_blanks(reading)
        plain = unbroken.data.lower()
        yield from (unbroken.span(*place) for form in forms.unbroken for place in _occurrences(form, plain))


def _encoded(reading: _Reading, forms: _Forms, encoding: _Encoding) -> Iterator[Span]:
    """Yield the runs of digits that decode to a secret, wherever in a group it begins, ignoring other characters between them."""
    data = reading.data
    digits = data.translate(None, encoding.others)
    places: list[int] = []
    for offset in range(encoding.group if len(digits) > LONGEST_SHORT else 0):
        decoded = encoding.decode(digits[offset:]).translate(_PLAIN)
        for form in forms.encoded:
            if form not in decoded:
                continue
            covered = -1
            for start, end in _occurrences(form, decoded):
                places = places or [place for place, byte in enumerate(data) if byte in encoding.digits]
                first, last = (places[offset + (bit // encoding.bits)] for bit in (8 * start, 8 * end - 1))
                if last > covered:
                    run = _whole_run(data, first, last, encoding.digits)
                    covered = run[1] - 1
                    yield run


def _encoded_words(reading: _Reading, forms: _Forms, encoding: _Encoding) -> Iterator[Span]:
    """Yield the words that decode to a short secret within readable text: most words decode to something."""
    for found in encoding.token.finditer(reading.data):
        decoded = encoding.decode(found[0])
        if _is_readable(decoded) and any(word.search(decoded.translate(_PLAIN)) for word in forms.words):
            yield _whole_run(reading.data, found.start(), found.end() - 1, encoding.digits)


def _is_readable(data: bytes) -> bool:
    try:
        return data.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _whole_run(data: bytes, first: int, last: int, digits: bytes) -> Span:
    """Return a run of digits, extended to the digits before and after it and to its padding."""
    while first > 0 and data[first - 1] in digits:
        first -= 1
    end = last + 1
    while end < len(data) and data[end] in digits:
        end += 1
    while end < len(data) and data[end] == ord("="):
        end += 1
    return first, end


def _occurrences(form: bytes, data: bytes) -> Iterator[Span]:
    position = data.find(form)
    while position >= 0:
        yield position, position + len(form)
        position = data.find(form, position + len(form))


def _of_base64(digits: bytes) -> bytes:
    # A single digit after the last group encodes nothing.
    whole = digits.translate(_OF_URLS)[: len(digits) - (len(digits) % 4 == 1)]
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def _of_hex(digits: bytes) -> bytes:
    return binascii.unhexlify(digits[: len(digits) // 2 * 2])


_OF_URLS = bytes.maketrans(b"-_", b"+/")
_ENCODINGS = (
    _Encoding(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_", 6, 4, _of_base64, re.compile(rb"[A-Za-z0-9+/_-]{4,}")),
    _Encoding(b"0123456789abcdefABCDEF", 4, 2, _of_hex, re.compile(rb"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{2}){3,}(?![0-9A-Za-z])")),
)
