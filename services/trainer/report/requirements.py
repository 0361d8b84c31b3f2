"""requirements.txt of a run: the exact versions that wrote its pickles, installable on every platform."""

from __future__ import annotations

from collections.abc import Mapping

CPU_WHEEL = (
    "(sys_platform == 'linux' and (platform_machine == 'x86_64' or platform_machine == 'aarch64'))"
    " or sys_platform == 'win32'"
)
"""Where xgboost-cpu has wheels (3.0 to 3.4). It is the same package as xgboost, without the GPU's files,
which make the plain one some 300 MB on Linux."""
PLAIN_WHEEL = (
    "sys_platform != 'win32' and (sys_platform != 'linux'"
    " or (platform_machine != 'x86_64' and platform_machine != 'aarch64'))"
)


def text(packages: Mapping[str, list[str]], best: str, python_version: str) -> str:
    """`packages`: slug → exact requirements ("joblib==1.6.0") of that model's pickle.

    Where two models were written with different versions (a fleet in the middle of an update), the best
    model's are pinned and the others named in a comment.
    """
    ordered = [best, *sorted(slug for slug in packages if slug != best)]
    pins: dict[str, str] = {}
    users: dict[str, list[str]] = {}
    otherwise: list[str] = []
    for slug in ordered:
        for requirement in packages[slug]:
            name, version = _pin(requirement)
            if pins.setdefault(name, version) != version:
                otherwise.append(f"# {slug}.pkl was written with {name} {version}")
            users.setdefault(name, []).append(slug)

    minor = ".".join(python_version.split(".")[:2])
    lines = [
        "# What the models in this folder import, in the versions that wrote them.",
        "# Install: python -m pip install -r requirements.txt",
        f"# Python {minor} (they were written with {python_version}); one model's pickle is not promised",
        "# to open under another.",
    ]
    if "lightgbm" in pins:
        lines.append("# LightGBM needs the OpenMP runtime: `apt-get install libgomp1` on Debian and Ubuntu,")
        lines.append("# `brew install libomp` on macOS.")
    if "xgboost" in pins:
        lines.append("# xgboost-cpu is xgboost without the GPU's files. On macOS: `brew install libomp`.")
    lines += [*otherwise, ""]
    for name in sorted(pins):
        only = "" if len(users[name]) == len(ordered) else f"  # for {', '.join(sorted(users[name]))}"
        if name == "xgboost":
            lines.append(f"xgboost-cpu=={pins[name]}; {CPU_WHEEL}{only}")
            lines.append(f"xgboost=={pins[name]}; {PLAIN_WHEEL}{only}")
        else:
            lines.append(f"{name}=={pins[name]}{only}")
    return "\n".join(lines) + "\n"


def _pin(requirement: str) -> tuple[str, str]:
    """Name and version; both distributions of xgboost count as one."""
    name, _, version = requirement.partition("==")
    return ("xgboost" if name == "xgboost-cpu" else name), version
