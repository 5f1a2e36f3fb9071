"""The files around the code agree with it: dependencies, hooks, citation, templates, CI, and the tests."""

import ast
import re
import runpy
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

EXTRAS = (
    "app",
    "arviz",
    "docs",
    "excel",
    "hub",
    "mlflow",
    "onnx",
    "parquet",
    "search",
    "tensorboard",
    "wandb",
)


@pytest.fixture(scope="module")
def pyproject(project):
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


def read_yaml(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def lower_bounds(lines: list[str]) -> dict[str, Version]:
    """The oldest version that each requirement allows, by the package's name."""
    requirements = [Requirement(line) for line in lines]
    return {
        r.name.lower(): Version(clause.version)
        for r in requirements
        for clause in r.specifier
        if clause.operator in (">=", "==")
    }


def test_the_oldest_dependencies_are_the_lower_bounds(project, pyproject):
    extras = pyproject["project"]["optional-dependencies"]
    lines = pyproject["project"]["dependencies"] + [line for name in EXTRAS for line in extras[name]]
    text = (project / ".github/oldest.txt").read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lower_bounds(pins) == lower_bounds(lines)


def test_one_job_installs_the_oldest_dependencies_on_the_oldest_python(project, pyproject):
    job = read_yaml(project / ".github/workflows/ci.yml")["jobs"]["oldest"]
    assert any(".github/oldest.txt" in str(step.get("env", "")) for step in job["steps"])
    (python,) = (
        step["with"]["python-version"] for step in job["steps"] if "python-version" in step.get("with", {})
    )
    assert pyproject["project"]["requires-python"] == f">={python}"


def test_hooks_run_what_the_linters_of_make_run(project):
    config = read_yaml(project / ".pre-commit-config.yaml")
    entries = " ".join(hook["entry"] for repository in config["repos"] for hook in repository["hooks"])
    makefile = (project / "Makefile").read_text(encoding="utf-8")
    lint = makefile[makefile.index("\nlint:") : makefile.index("\nformat:")]
    tools = set(re.findall(r"\$\(RUN\) (\w+(?: check| format)?)", lint))
    assert tools == {"ruff check", "ruff format", "mypy"}
    assert all(f"-m {tool}" in entries for tool in tools)
    for hook in (hook for repository in config["repos"] for hook in repository["hooks"]):
        for path in re.findall(r"tests/\S+\.py", hook["entry"]):
            assert (project / path).is_file(), path


def test_the_citation_names_the_package_and_its_licence(project, pyproject):
    citation = read_yaml(project / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["title"].startswith("PyroVAE")
    assert citation["license"] == pyproject["project"]["license"]
    authors = [author["name"] for author in citation["authors"]]
    assert authors == [author["name"] for author in pyproject["project"]["authors"]]
    assert "version" not in citation  # the version is written in one place


def test_the_version_is_written_once(project):
    import pyrovae

    assert Version(pyrovae.__version__)
    assert "version" not in tomllib.loads((project / "pyproject.toml").read_text())["project"]


def test_templates_have_what_the_forms_need(project):
    templates = sorted((project / ".github/ISSUE_TEMPLATE").glob("*.md"))
    assert [path.stem for path in templates] == ["bug_report", "feature_request"]
    for path in templates:
        _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
        assert {"name", "about"} <= yaml.safe_load(head).keys()
        assert "**" in body
    assert "make test" in (project / ".github/pull_request_template.md").read_text(encoding="utf-8")


def test_each_planted_error_still_applies(project):
    """`benchmarks/planted_errors.py` changes text that occurs once, and names tests that there are."""
    script = runpy.run_path(str(project / "benchmarks/planted_errors.py"))
    assert len({error.name for error in script["ERRORS"]}) == len(script["ERRORS"])
    for error in script["ERRORS"]:
        text = (project / "pyrovae" / error.file).read_text(encoding="utf-8")
        assert text.count(error.old) == 1, error.name
        ast.parse(text.replace(error.old, error.new))
        for node in error.tests.split():
            assert _is_there(script["nodes"](node, project), project), node


def _is_there(nodes, project):
    """Whether there is one test file of that name, and in it the test, where one is named."""
    file, _, test = "".join(nodes).partition("::")
    return len(nodes) == 1 and f"def {test}" in (project / file).read_text(encoding="utf-8")


def test_a_folder_of_tests_is_a_folder_of_the_package(project):
    here = {path.parent for path in (project / "tests").rglob("test_*.py")}
    folders = {str(path.relative_to(project / "tests")) for path in here} - {".", "project"}
    assert {name for name in folders if not (project / "pyrovae" / name).is_dir()} == set()


def test_a_test_file_imports_no_other(project):
    """What several need is in `tests/support`."""
    for path in (project / "tests").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        names = [name for name in names if name.partition(".")[0] == "tests"]
        assert all(f"{name}.".startswith("tests.support.") for name in names), path
