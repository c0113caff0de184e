"""What an experiment needs before it can begin, and the one line that says how to get it.

Imports nothing outside the standard library, and runs on Pythons that are too old for the rest.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from calico_mn import command_line

_ROOT = Path(__file__).resolve().parent.parent.parent
#: only searched for: importing them takes a second
_MODULES = ("yaml", "rich", "mininet", "matplotlib")
_PROGRAMS = ("ip", "ping", "iperf3")
_OLDEST = (3, 10)


def require_python() -> None:
    """Exit with status 1 and one line on standard error if this Python lacks something."""
    lack = _lacking()
    if not lack:
        return
    version = "{}.{}".format(*sys.version_info)
    environment = Path(os.environ.get("CALICO_MN_VENV") or _ROOT / ".venv")
    python = environment / "bin" / "python"
    if python.exists() and Path(sys.prefix).resolve() != environment.resolve():
        remedy = f"run: {_again(python)}"
    else:
        remedy = _install()
    sys.exit(f"{sys.executable} (Python {version}) {lack}; {remedy}")


def require_root_and_programs() -> None:
    """Exit with status 1 and one line if this is not root, or a program is not installed."""
    if os.geteuid() != 0:
        sys.exit(f"making network namespaces needs root; run: {_again(Path(sys.executable))}")
    absent = [name for name in _PROGRAMS if shutil.which(name) is None]
    if absent:
        sys.exit(f"not installed: {', '.join(absent)}; {_install()}")


def _lacking() -> str:
    if sys.version_info < _OLDEST:
        return "is older than 3.10"
    for name in _MODULES:
        if importlib.util.find_spec(name) is None:
            return f"lacks the module {name}"
    return ""


def _install() -> str:
    """What to do about it: in a checkout its install.sh, of which a wheel has none."""
    script = _ROOT / "install.sh"
    return (f"run first: {_shown(script)}" if script.exists() else
            "install it: a checkout's install.sh names the Debian packages")


def _again(python: Path) -> str:
    """This very command as root, with another Python, ready to paste."""
    command = [_shown(python), _shown(Path(sys.argv[0])), *sys.argv[1:]]
    return command_line.sudo_command(command, os.environ)


def _shown(path: Path) -> str:
    """The path from here where it lies below, else in full; links are kept as they are."""
    full = Path(os.path.abspath(path))
    try:
        short = full.relative_to(Path.cwd())
    except ValueError:
        return str(full)
    return str(short) if len(short.parts) > 1 else f"./{short}"
