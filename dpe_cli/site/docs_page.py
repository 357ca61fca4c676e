"""
dbt's docs page with its data embedded, without executing any of it.

Authors of models write descriptions and code, and a column's name may come from delivered data. The page shows them as text,
or through a Markdown renderer that escapes HTML, except in its search results: there, names, labels, descriptions, columns,
tags and code are HTML (CWE-79). So no text given to the page can open a tag, and a policy allows only the page's own scripts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from dpe_cli.safe_text.visible_text import visible

# dbt's page has these placeholders for the data of a page without a server (dbt/task/docs/generate.py).
_DATA = re.compile('"(MANIFEST|CATALOG)[.]JSON INLINE DATA"')
# How search results show code.
_CODE_AS_HTML = re.compile(r"""ng-bind-html\s*=\s*"highlight\((shorten\(result\.model\[\\?'raw_code\\?'\]\))\)\"""")
# Members that are shown as code, with a button to copy it.
_CODE = {"raw_code", "compiled_code", "macro_sql"}
_SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
_HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)

# Has no width. After `<`, it prevents a tag, in HTML, in Markdown and in code spans.
_WORD_JOINER = "\u2060"
# Also has no width, and is white space in JavaScript: the Markdown renderer ends an address before it.
_END_OF_ADDRESS = "\ufeff"
_TAG = re.compile(r"<(?=[A-Za-z/!?]|\Z)")
_LINK_TARGET = re.compile(r"(\]\(\s*|\]:\s*)<([^\s<>]*)>")
_ADDRESS = re.compile(r"<((?:https?|ftp)://[^\s<>]*|[^\s<>@/]+@[^\s<>@/]+)>")


def filled(page: str, manifest: Mapping[str, Any], catalog: Mapping[str, Any]) -> str:
    """Return dbt's page with an embedded manifest and catalog. It shows their texts but does not execute them."""
    page, replaced = _CODE_AS_HTML.subn(r'ng-bind="\1"', page)
    # Code stays exact only if that is known to be safe.
    code = _visible if replaced else without_tags
    data = {"MANIFEST": _as_script(manifest, code), "CATALOG": _as_script(catalog, code)}
    page = _DATA.sub(lambda place: data[place.group(1)], page)
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in _SCRIPT.findall(page))
    # AngularJS compiles the page's own expressions at run time.
    policy = f"script-src {hashes} 'unsafe-eval'; object-src 'none'; base-uri 'none'"
    return _HEAD.sub(lambda head: f'{head.group()}<meta http-equiv="Content-Security-Policy" content="{policy}">', page, count=1)


def without_tags(text: str) -> str:
    """
    Return a text that looks the same but is not HTML, with hidden characters as codes.

    It remains the same Markdown, including addresses between `<` and `>`.
    """
    text = _visible(text)
    if "<" not in text:
        return text
    text = _LINK_TARGET.sub(r"\1\2", text)
    return _TAG.sub(f"<{_WORD_JOINER}", _ADDRESS.sub(rf"<\1{_END_OF_ADDRESS}>", text))


def _visible(text: str) -> str:
    return visible(text.replace("\r\n", "\n"))


def _as_script(data: Mapping[str, Any], code: Callable[[str], str]) -> str:
    """Return data as JSON that can neither end the script that contains it nor begin another."""
    return json.dumps(_shown(data, code)).replace("<", "\\u003c")


def _shown(data: Any, code: Callable[[str], str]) -> Any:
    """Return data with its texts as they are shown, including members' names, by which the page looks up columns."""
    match data:
        case str():
            return without_tags(data)
        case list():
            return [_shown(item, code) for item in data]
        case dict():
            return {
                without_tags(name): code(item) if name in _CODE and isinstance(item, str) else _shown(item, code)
                for name, item in data.items()
            }
        case _:
            return data


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
