"""The base install: `make demo` needs no extra, and importing the package imports none."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

NOT_EXTRAS = {"all", "bench", "test"}  # for everything, for benchmarks, for the tests

BLOCKED = """
import sys

from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {absent} else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""
IMPORTED = """
import sys
import pyrovae
from pyrovae.cli import main
main(["--help"])
pyrovae.VAE, pyrovae.fit, pyrovae.Callback
print("imported:", sorted({modules} & sys.modules.keys()))
"""
DEMO = """
from pyrovae.cli import main
sys.exit(main({words}))
"""


@pytest.fixture(scope="module")
def extras(project):
    """The modules of each extra; those of a package that is not installed are named like it."""
    groups = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    provided = importlib.metadata.packages_distributions()
    base = {_plain(Requirement(line).name) for line in groups["dependencies"]}
    modules = {}
    for extra, lines in groups["optional-dependencies"].items():
        if extra not in NOT_EXTRAS:
            names = {_plain(Requirement(line).name) for line in lines} - base
            modules[extra] = {name.replace("-", "_") for name in names} | {
                module for module, owners in provided.items() if names & set(map(_plain, owners))
            }
    return modules


def _plain(name):
    """The name of a package as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def python(code, folder, project):
    environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


def test_importing_the_package_imports_no_extra(extras, project, tmp_path):
    """Not of any extra in pyproject.toml, also those that later versions add."""
    assert {"app", "arviz", "excel", "parquet", "search"} <= extras.keys()
    assert all(extras.values())
    modules = set().union(*extras.values())
    assert {"panel", "arviz", "openpyxl", "pyarrow", "optuna"} <= modules
    # Public names that need torch and pandas, which imports pyarrow if it is installed.
    done = python(IMPORTED.format(modules=modules - {"pyarrow"}), tmp_path, project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("imported: []\n")
    done = python(f"import pyrovae, sys\nprint(sorted({modules} & sys.modules.keys()))", tmp_path, project)
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_the_job_of_make_demo_runs_without_extras(extras, project, tmp_path):
    recipe = re.search(r"^demo:.*\n\t(.+)$", (project / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    program, *words = recipe[1].replace('"$(OUT)"', "d").split()
    assert program.endswith("/pyrovae")
    blocked = BLOCKED.format(absent=set().union(*extras.values()))
    done = python(blocked + DEMO.format(words=[*words, "--epochs", "1"]), tmp_path, project)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "everything is in d: config.yaml" in done.stdout
    names = {path.name for path in (tmp_path / "d").rglob("*")}
    assert {"config.yaml", "best.ckpt", "evidence.json", "training.png", "bounds.png"} <= names
