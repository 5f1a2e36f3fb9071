"""What is installed is what was written: one list of dependencies, one package in the wheel."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PACKAGED = ["pyproject.toml", "LICENSE", "README.md", "pyrovae", "tests", "conftest.py"]


@pytest.fixture(scope="session")
def pyproject(project):
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def declared(pyproject):
    return [Requirement(line) for line in pyproject["project"]["dependencies"]]


@pytest.fixture(scope="session")
def environment(project):
    return yaml.safe_load((project / "environment.yml").read_text(encoding="utf-8"))


def test_conda_installs_what_pyproject_names_and_names_nothing_else(environment):
    *conda, pip = environment["dependencies"]
    assert [Requirement(line).name for line in conda] == ["python", "pip"]
    assert pip == {"pip": ["-e .[test]"]}


def test_conda_takes_the_pythons_that_pyproject_supports(environment, pyproject):
    conda = Requirement(environment["dependencies"][0]).specifier
    pip = SpecifierSet(pyproject["project"]["requires-python"])
    classifiers = " ".join(pyproject["project"]["classifiers"])
    supported = re.findall(r"Python :: (3\.\d+)", classifiers)
    assert supported
    for minor in range(30):
        assert conda.contains(f"3.{minor}") == (f"3.{minor}" in supported)
    assert all(pip.contains(version) for version in supported)
    assert not pip.contains("3.10")


def test_continuous_integration_runs_every_supported_python(project, pyproject):
    workflow = yaml.safe_load((project / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    classifiers = " ".join(pyproject["project"]["classifiers"])
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == re.findall(
        r"Python :: (3\.\d+)", classifiers
    )


def test_every_dependency_has_a_lower_bound_that_is_met_here(declared):
    for requirement in declared:
        assert any(clause.operator == ">=" for clause in requirement.specifier), requirement
        assert requirement.specifier.contains(importlib.metadata.version(requirement.name)), requirement


def test_the_package_imports_nothing_that_is_not_declared(project, pyproject, declared):
    names = {requirement.name.lower() for requirement in declared}
    extra = {Requirement(line).name for line in pyproject["project"]["optional-dependencies"]["app"]}
    providers = importlib.metadata.packages_distributions()
    for path in sorted((project / "pyrovae").rglob("*.py")):
        names = names | extra if "app" in path.parts else names - extra
        for module in third_party(path):
            # one generation of ArviZ is one package, the next is three
            found = {provider.lower() for provider in providers.get(module, [module.split("_")[0]])}
            found |= {"arviz"} if found & {"arviz-stats", "arviz-base", "arviz-plots"} else set()
            assert found & names, f"{path.name} imports {module}, which pyproject.toml does not name"


def third_party(path: Path) -> set[str]:
    """The top-level names of other people's packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"pyrovae"}


@pytest.fixture(scope="session")
def wheel(project, tmp_path_factory):
    """A wheel built from a copy, so that nothing is written into the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in PACKAGED:
        if (project / name).is_dir():
            shutil.copytree(project / name, source / name)
        elif (project / name).exists():
            shutil.copy(project / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(source)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_package_and_nothing_else(wheel, project):
    package = project / "pyrovae"
    sources = {str(path.relative_to(project)) for path in package.rglob("*.py")} | {"pyrovae/py.typed"}
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == sources


def test_the_wheel_holds_the_licence_and_the_command(wheel):
    (licence,) = (name for name in wheel.namelist() if name.endswith("LICENSE"))
    assert "Apache License" in wheel.read(licence).decode()
    (scripts,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "pyrovae = pyrovae.cli:main" in wheel.read(scripts).decode()
