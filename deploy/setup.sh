#!/bin/sh
# deploy/setup.sh [GROUP]: make .venv and install requirements/GROUP.txt (default: local) into it.
# For running (local) the dashboard is built too. Does nothing where that has been done.
# PYTHON=python3.12 chooses the interpreter of a new .venv.
set -eu
cd "$(dirname "$0")/.."
group=${1:-local}

is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

choose_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if command -v "$candidate" >/dev/null 2>&1 && is_recent "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON is not a Python 3.11 or later." >&2
    else
        echo "Trainyard needs Python 3.11 or later, and there is none on the PATH." >&2
        echo "Where it has another name: make PYTHON=/path/to/python3.12" >&2
    fi
    exit 1
}

if ! is_recent .venv/bin/python || [ ! -e .venv/bin/pip ]; then
    python=$(choose_python)
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "This Python cannot make virtual environments: its module ensurepip is missing." >&2
        echo "On Debian and Ubuntu: apt install python$version-venv" >&2
        exit 1
    fi
    echo "Making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv || { rm -rf .venv; exit 1; }
fi
# -I: nothing in deploy/ may stand in for a module of the standard library.
.venv/bin/python -I deploy/install.py "$group"
[ "$group" != local ] || exec .venv/bin/python -I deploy/dashboard.py
