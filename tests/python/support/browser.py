"""A real browser, for tests of pages that dpe writes; they are skipped if Chromium is not installed."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

# The page is in a frame of our own page, whose script acts on it like a person. Scripts that the page executes add to `executed`.
_DRIVER = """<!doctype html>
<pre id="answer"></pre>
<iframe id="page" width="1200" height="900" src="{address}"></iframe>
<script>
  var executed = [], blocked = [];  // The page finds what is a var of its parent.
  const wait = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));
  const frame = document.getElementById("page");
  async function act(view) {{ {script} }}
  frame.onload = async () => {{
    frame.onload = null;
    frame.contentDocument.addEventListener("securitypolicyviolation", event => blocked.push(event.violatedDirective));
    await wait(2000);
    let answer;
    try {{ answer = await act(frame.contentWindow); }} catch (error) {{ answer = String(error); }}
    document.getElementById("answer").textContent = JSON.stringify(answer);
  }};
</script>
"""


def dom(address: str, *options: str) -> str:
    """Return a page's DOM in a browser, some seconds (of the browser's time) after it was opened."""
    program = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000", *options, "--dump-dom", address]
    return subprocess.run(program, check=True, capture_output=True, text=True, timeout=120).stdout


def visit(page: Path, script: str, directory: Path) -> Any:
    """Open a page, run a JavaScript that gets its window as `view`, and return the script's result."""
    driver = directory / "driver.html"
    driver.write_text(_DRIVER.format(address=page.as_uri(), script=script), encoding="utf-8")
    # Otherwise no page from a disk may access another.
    shown = dom(driver.as_uri(), "--allow-file-access-from-files")
    found = re.search(r'<pre id="answer">(.*?)</pre>', shown, re.DOTALL)
    return json.loads(html.unescape(found.group(1))) if found and found.group(1) else shown
