"""Secrets in text that other people see."""

from __future__ import annotations

import base64
import html
import json
import quopri
import random
import shlex
import string
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest

from dpe_cli.errors import DpeError, InputError
from dpe_cli.safe_text import redaction
from dpe_cli.safe_text.redaction import HIDDEN, hide, redact, redact_start, remember

BEYOND_ASCII = "éßüñ中😀Ωж"
ALPHABETS = (
    string.ascii_letters + string.digits,
    string.printable,
    string.punctuation,
    string.ascii_letters + BEYOND_ASCII,
    string.printable + BEYOND_ASCII,
    # Strings that only look like something to decode.
    "%41\\u00n&amp;+ ",
)
# The characters that may be left around a secret: quotes, their escapes, and blanks.
LEFT = "\"'\\= \n[]"


def _secrets() -> Iterator[str]:
    chance = random.Random(7)
    for alphabet in ALPHABETS:
        for _ in range(15):
            secret = "".join(chance.choices(alphabet, k=chance.randint(6, 40))).strip(string.whitespace + "+")
            if len(secret) > 3:
                yield secret


def _utf_16(secret: str) -> Iterator[int]:
    yield from memoryview(secret.encode("utf-16-le")).cast("H")


def _every_other(secret: str) -> str:
    """Return a secret with every second character URL-escaped, and with every character that looks like an escape escaped."""
    pairs = enumerate(secret)
    return "".join("".join(f"%{byte:02x}" for byte in pair.encode()) if at % 2 or pair in "%\\" else pair for at, pair in pairs)


WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "in small letters": str.lower,
    "in the other case": str.swapcase,
    "in a URL": lambda secret: quote(secret, safe=""),
    "in a URL with small digits": lambda secret: "".join(
        quote(one, safe="").lower() if one not in string.ascii_letters else one for one in secret
    ),
    "in a URL's path": quote,
    "in a form": quote_plus,
    "in a URL in part": _every_other,
    "in a URL with each character escaped": lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()),
    "in a URL within a URL": lambda secret: quote(quote(secret, safe=""), safe=""),
    "in JSON": lambda secret: json.dumps(secret)[1:-1],
    "in JSON of more than ASCII": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "in JSON within JSON": lambda secret: json.dumps(json.dumps(secret))[3:-3],
    "in JSON that escapes slashes": lambda secret: json.dumps(secret)[1:-1].replace("/", r"\/"),
    "in JSON with each character escaped": lambda secret: "".join(f"\\u{unit:04X}" for unit in _utf_16(secret)),
    "in HTML": html.escape,
    "in HTML by numbers": lambda secret: "".join(f"&#{ord(one)};" for one in secret),
    "in HTML by hexadecimal numbers": lambda secret: "".join(f"&#x{ord(one):x};" for one in secret),
    "by Python": lambda secret: repr(secret)[1:-1],
    "by Python in ASCII": lambda secret: ascii(secret)[1:-1],
    "by Python as bytes": lambda secret: repr(secret.encode())[2:-1],
    "in hexadecimal digits": lambda secret: secret.encode().hex(),
    "in hexadecimal digits with colons": lambda secret: secret.encode().hex(":").upper(),
    "in UTF-8 that is read as Latin-1": lambda secret: secret.encode().decode("latin-1"),
    "in Latin-1 that is read as UTF-8": lambda secret: (
        secret.encode("latin-1").decode(errors="replace") if max(secret) <= "\xff" else secret
    ),
    "quoted by SQL": lambda secret: secret.replace("'", "''"),
    "quoted by SQL as a name": lambda secret: secret.replace('"', '""'),
    "quoted by MySQL as a name": lambda secret: secret.replace("`", "``"),
    "quoted by SQL within CSV": lambda secret: secret.replace("'", "''").replace('"', '""'),
    "quoted by a shell": shlex.quote,
    "quoted by a shell with a backslash": lambda secret: secret.replace("'", "'\\''"),
    "in quoted printable text": lambda secret: quopri.encodestring(secret.encode()).decode(),
    "in quoted printable text as a whole": lambda secret: "".join(f"={byte:02X}" for byte in secret.encode()),
    "as a list of bytes": lambda secret: str(list(secret.encode())),
    "as a list of hexadecimal bytes": lambda secret: ", ".join(f"0x{byte:02x}" for byte in secret.encode()),
    "as a list of characters": lambda secret: str(list(map(ord, secret))),
    "broken over two lines": lambda secret: f"{secret[:-9]}\n      {secret[-9:]}" if len(secret) > 20 else secret,
    "in a URL that is broken over two lines": lambda secret: (
        "%\n".join(quote(secret, safe="").split("%", 1)) if len(secret) > 20 else secret
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_hidden_however_it_is_written(way: str) -> None:
    """In any form that other programs' messages may have, without a remainder."""
    for secret in _secrets():
        written = WAYS[way](secret)
        _assert_hidden(written, redact(f"refused: <{written}>; try again", more=[secret]))


def _assert_hidden(written: str, shown: str, *, most_left: int = 0) -> None:
    assert (True, True) == (shown.startswith("refused: <"), shown.endswith(">; try again")), (written, shown)
    within = shown.removeprefix("refused: <").removesuffix(">; try again")
    assert HIDDEN in within, (written, shown)
    assert len(within.replace(HIDDEN, "").strip(LEFT)) <= most_left, (written, shown)


ENCODED: dict[str, Callable[[bytes], str]] = {
    "standard": lambda data: base64.b64encode(data).decode(),
    "of URLs": lambda data: base64.urlsafe_b64encode(data).decode(),
    "without padding": lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
    "in a URL": lambda data: quote(base64.b64encode(data).decode(), safe=""),
    "in JSON": lambda data: base64.b64encode(data).decode().replace("/", r"\/"),
    "in lines": lambda data: base64.encodebytes(data).decode(),
    "in lines within JSON": lambda data: json.dumps(base64.encodebytes(data).decode())[1:-1],
}


@pytest.mark.parametrize("before", ["", "a", "a:", "user:"])
@pytest.mark.parametrize("way", ENCODED)
def test_a_secret_is_hidden_in_base64(way: str, before: str) -> None:
    """With everything that was encoded along with it, whatever its offset within three bytes; also as a form or JSON writes it."""
    for secret in _secrets():
        for text in (secret, f"{secret}:b", quote_plus(secret), json.dumps(secret)):
            written = ENCODED[way](f"{before}{text}".encode())
            shown = redact(f"refused: <Basic {written}>; try again", more=[secret])
            # The last line may contain only the few characters after the secret.
            _assert_hidden(written, shown.replace("<Basic ", "<", 1), most_left=8 if "lines" in way else 0)


def test_text_without_secrets_is_unchanged() -> None:
    """Escapes, digits and base64 of other data stay."""
    text = 'Basic YTpi %41 \\u0041 &amp; 0xdeadbeef "C:\\new" the tap failed with exit status 1\n  and more: 12:34:56 é\ufffd'

    assert text == redact(text, more=["correct horse", "s3cr3t", "éa"])


@pytest.mark.parametrize("secret", ["a", "1", "abc", "x/1", "!", "é"])
def test_a_short_secret_is_hidden_as_a_word_only(secret: str) -> None:
    """Elsewhere it would turn every text into asterisks; as a word, or encoded, it is hidden."""
    remember(secret)
    basic = base64.b64encode(f"shop:{secret}".encode()).decode()

    assert "singer:tap-shop: bad format, line 12 of 1,000" == hide("singer:tap-shop: bad format, line 12 of 1,000").replace(HIDDEN, "1")
    assert f"the key is {HIDDEN}, or {HIDDEN}" == hide(f"the key is {quote(secret, safe='')}, or {basic}")


def test_a_short_value_that_is_not_named_a_secret_is_shown() -> None:
    """A region, a number, or a user name."""
    remember("eu", "dpe", "eu-central", is_called_one=False)

    assert f"run `dpe extract` in eu, not in {HIDDEN}" == hide("run `dpe extract` in eu, not in eu-central")


def test_errors_hide_remembered_secrets() -> None:
    """Wherever it is raised, and whatever it quotes."""
    remember("correct horse")

    assert f"shop.orders: no column {HIDDEN}; correct it" == str(InputError("shop.orders: no column Correct%20Horse; correct it"))
    assert issubclass(InputError, DpeError)


def test_a_long_message_loses_its_middle() -> None:
    """What a sender wrote may be of any length; a secret at either cut is hidden, not cut in two."""
    secret = "a-secret-at-the-cut-of-a-message"
    remember(secret)

    begin = time.process_time()
    said = str(InputError(f"shop: {'%41' * 3_327}{secret * 3_000_000}{'%41' * 3_327}; ask the sender"))

    assert time.process_time() - begin < 5
    assert said.startswith("shop: %41")
    assert said.endswith("%41; ask the sender")
    assert "characters are left out" in said
    assert len(said) < 21_000
    assert secret[:5] not in said
    assert secret[-5:] not in said


def test_a_secret_is_known_to_webhooks_as_well() -> None:
    """As are secrets in the environment, and in connection strings."""
    remember("correct horse")

    assert f'{HIDDEN} "password": {HIDDEN}, token={HIDDEN}' == redact('correct horse "password": "a", token=b')


def test_a_stream_is_not_cut_within_a_secret() -> None:
    """Each piece of a stream is shown as soon as no secret can continue in it."""
    secret = "correct horse battery staple"
    remember(secret)
    text = f"before {secret} between {secret} after"
    for length in range(1, 60):
        shown, waiting = "", ""
        for character in text:
            start, waiting = redact_start(waiting + character, length)
            shown += start
            if length >= len(secret):
                assert "horse" not in shown
        if length >= len(secret):
            assert f"before {HIDDEN} between {HIDDEN} after" == shown + redact(waiting)


HOSTILE = {
    "backslashes": "\\",
    "percent signs": "%",
    "escapes": "%41",
    "escapes of escapes": "%2525",
    "ampersands": "&a",
    "entities": "&amp;",
    "blanks": " ",
    "lines": "a\n",
    "words": "the tap failed ",
    "quotes": "pwd='",
    "addresses": "http://a",
    "digits": "00",
    "numbers": "116, ",
    "quoted printable text": "=41",
    "doubled quotes": "''a",
    "base64 of the secret": base64.b64encode(b"correct horse battery staple").decode(),
    "the secret": "correct horse battery staple",
    "beyond ASCII": "é",
}


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_long_line_takes_time_in_proportion(piece: str) -> None:
    """Whatever it is made of: four times the text does not take sixteen times as long."""
    remember("correct horse battery staple", "abc", *(f"secret-{number}" for number in range(5)))

    def seconds(length: int) -> float:
        text = HOSTILE[piece] * (length // len(HOSTILE[piece]))
        fastest = []
        for _ in range(3):
            started = time.process_time()
            redact(text)
            fastest.append(time.process_time() - started)
        return min(fastest)

    assert seconds(128 * 1024) < 9 * max(seconds(32 * 1024), 0.02)


def test_tests_begin_without_secrets() -> None:
    """Secrets of another test would hide parts of this one's text."""
    assert frozenset() == redaction._known
