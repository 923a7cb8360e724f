"""Every check with the oldest and with the newest dependencies that pyproject.toml allows.

    python tests/campaigns/versions.py python3.12 python3.13 --with oldest

Each line of the table at the end is a clone of what is committed here, with a lock of its own, in
which the README's commands have run. A line takes about eight minutes.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESOLUTIONS = {
    "oldest": "--upgrade --resolution lowest-direct",
    "newest": "--upgrade",
    "unreleased": "--upgrade --prerelease allow",
}
SUMMARY = re.compile(r"^=+ (.*\d (?:passed|failed|errors?).*) in .*=$", re.MULTILINE)


def make(folder: Path, *arguments: str) -> str:
    """Run make, show what it says as it comes, and return what became of it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    said = ""
    with subprocess.Popen(
        ["make", *arguments],
        cwd=folder,
        env=kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            said += line
    verdict = "FAILED" if process.returncode else "ok"
    return ", ".join([verdict, *SUMMARY.findall(said)])


def try_out(python: str, which: str, clone: Path) -> list[str]:
    """Return what became of the lock, the checks and the tests, up to the first that failed."""
    print(f"\n==== {python}, {which} dependencies", flush=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    pins = make(ROOT, "pins", f"LOCK={clone}/requirements.lock", f"ARGS={RESOLUTIONS[which]}")
    became = [pins]
    for target in ("check", "test"):
        if not became[-1].startswith("FAILED"):
            became.append(make(clone, target, f"PYTHON={python}", "ARGS="))
    return became


def main() -> int:
    """Try what the command line names, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pythons", nargs="*", default=[sys.executable], metavar="python")
    parser.add_argument("--with", dest="which", action="append", choices=RESOLUTIONS)
    asked = parser.parse_args()
    rows = []
    for python in asked.pythons:
        for which in asked.which or ("oldest", "newest"):
            with tempfile.TemporaryDirectory(prefix="tour-versions-") as scratch:
                rows.append([python, which, *try_out(python, which, Path(scratch) / "clone")])
    print("\npython | dependencies | lock | check | test")
    for row in rows:
        print(" | ".join(row))
    return any(cell.startswith("FAILED") for row in rows for cell in row)


if __name__ == "__main__":
    raise SystemExit(main())
