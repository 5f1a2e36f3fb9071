"""What is installed is what was written: one list of dependencies, one package in the wheel."""

import ast
import importlib
import importlib.metadata
import os
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

import pyrovae

EXTRAS = ["app", "arviz", "excel", "hub", "mlflow", "onnx", "parquet", "search", "tensorboard", "wandb"]
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
    """Dependencies are imported anywhere, modules of an extra only inside the functions that need them."""
    groups = pyproject["project"]["optional-dependencies"]
    base = {requirement.name.lower() for requirement in declared}
    extras = {Requirement(line).name for name in EXTRAS for line in groups[name]}
    providers = importlib.metadata.packages_distributions()
    for path in sorted((project / "pyrovae").rglob("*.py")):
        for module, is_local in third_party(path):
            # one generation of ArviZ is one package, the next is three
            found = {provider.lower() for provider in providers.get(module, [module.split("_")[0]])}
            found |= {"arviz"} if found & {"arviz-stats", "arviz-base", "arviz-plots"} else set()
            allowed = base | extras if is_local else base
            assert found & allowed, f"{path.name} imports {module}, which pyproject.toml does not name"


def third_party(path: Path) -> set[tuple[str, bool]]:
    """The packages that a file imports, and whether only a function or a type checker does."""
    return set(_imports(ast.parse(path.read_text(encoding="utf-8")), is_local=False))


def _imports(node, is_local):
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        names = [node.module]
    for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"pyrovae"}:
        yield name, is_local
    typed = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, is_local or typed or isinstance(node, ast.FunctionDef))


def test_the_tests_have_every_extra(pyproject):
    groups = pyproject["project"]["optional-dependencies"]
    assert groups["all"] == [f"pyrovae[{','.join(EXTRAS)}]"]
    assert "pyrovae[all]" in groups["test"]


WITHOUT_EXTRAS = """
import sys
sys.modules.update(dict.fromkeys({absent}))  # what is None there cannot be imported
import torch
import pyrovae as pv
from pyrovae.cli import main

x = (torch.rand(60, 4) < 0.5).float()
vae = pv.VAE(4, 2, encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8))
pv.fit(vae, x, epochs=1, batch_size=20, out="r", progress=False)
evidence = pv.log_evidence(vae, x, method="psis", particles=100, progress=False)
assert (evidence.khat < 2).all()
open("t.parquet", "wb").close()
open("t.xlsx", "wb").close()
for call in (
    lambda: pv.to_arviz(vae, x),
    lambda: pv.elpd(evidence),
    lambda: pv.datasets.load("t.parquet"),
    lambda: pv.datasets.load("t.xlsx"),
    lambda: pv.callbacks.TensorBoard(),
    lambda: pv.callbacks.MLflow(),
    lambda: pv.callbacks.WandB(),
    lambda: pv.callbacks.Pruning(None),
):
    try:
        call()
    except pv.InputError as error:
        print(error)
print(main(["explore", "r"]))
"""


def test_what_an_extra_is_for_is_refused_without_it_and_the_rest_works(project, pyproject, tmp_path):
    groups = pyproject["project"]["optional-dependencies"]
    absent = {Requirement(line).name for name in EXTRAS for line in groups[name]} | {"arviz_stats", "mlflow"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS.format(absent=absent)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "what goes to ArviZ needs the extra `arviz`: pip install 'pyrovae[arviz]'",
        "what goes to ArviZ needs the extra `arviz`: pip install 'pyrovae[arviz]'",
        "reading t.parquet needs the extra `parquet`: pip install 'pyrovae[parquet]'",
        "reading t.xlsx needs the extra `excel`: pip install 'pyrovae[excel]'",
        "TensorBoard needs the extra `tensorboard`: pip install 'pyrovae[tensorboard]'",
        "MLflow needs the extra `mlflow`: pip install 'pyrovae[mlflow]'",
        "WandB needs the extra `wandb`: pip install 'pyrovae[wandb]'",
        "Pruning needs the extra `search`: pip install 'pyrovae[search]'",
        "2",
    ]
    assert done.stderr.endswith("the app needs the extra `app`: pip install 'pyrovae[app]'\n")


def test_any_subpackage_can_be_imported_first(project):
    """Names are imported when they are first used, in whatever order that is."""
    names = sorted(path.parent.name for path in (project / "pyrovae").glob("*/__init__.py"))
    code = f"""
import sys
for name in {names}:
    for module in [m for m in sys.modules if m.partition(".")[0] == "pyrovae"]:
        del sys.modules[module]
    __import__("pyrovae." + name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project)
    assert done.returncode == 0, done.stderr


def test_lazy_names_are_those_that_type_checkers_see(project):
    """A package that imports its names late lists them for Python, for type checkers and in `__all__`."""
    for package in ("pyrovae", "pyrovae.datasets"):
        module = importlib.import_module(package)
        path = project.joinpath(*package.split("."), "__init__.py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typed = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
        homes = {alias.name: node.module for node in typed.body for alias in node.names}
        assert homes.keys() <= set(module.__all__) <= set(dir(module))
        for name, home in homes.items():
            assert getattr(module, name) is getattr(importlib.import_module(home), name)
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing


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


def test_the_wheel_has_the_version_of_the_package(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    assert f"\nVersion: {pyrovae.__version__}\n" in wheel.read(metadata).decode()


def test_the_wheel_holds_the_licence_and_the_command(wheel):
    (licence,) = (name for name in wheel.namelist() if name.endswith("LICENSE"))
    assert "Apache License" in wheel.read(licence).decode()
    (scripts,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "pyrovae = pyrovae.__main__:run" in wheel.read(scripts).decode()
