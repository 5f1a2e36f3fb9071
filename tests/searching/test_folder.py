"""The folder of a search: its plan is compared, it is locked, and names are safe."""

import subprocess
import sys

import pytest

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.searching.folder import SearchFolder, data_plan, safe_name

PLAN = {
    "space": {"lr": {"choose": [0.1, 0.2]}, "epochs": 3},
    "seeds": 2,
    "data": {"declaration": {"data": "x"}},
}


def test_the_same_plan_goes_on(tmp_path):
    folder = SearchFolder(tmp_path / "a", "sweep")
    assert not folder.begin(PLAN)
    assert SearchFolder(tmp_path / "a", "sweep").begin(PLAN)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"space": {"lr": {"choose": [0.1, 0.3]}, "epochs": 3}},
            r"space.lr.choose was \[0.1, 0.2\] and is \[0.1, 0.3\]",
        ),
        ({"space": {"lr": {"choose": [0.1, 0.2]}}}, "space.epochs was 3 and is missing"),
        ({"seeds": 3}, "seeds was 2 and is 3"),
        ({"seeds": 2.0}, "seeds was 2 and is 2.0"),
        ({"data": {"declaration": {"data": "y"}}}, "data.declaration.data was x and is y"),
        ({"split": "test"}, "split was missing and is test"),
    ],
)
def test_another_plan_is_refused_with_what_differs(change, words, tmp_path):
    folder = SearchFolder(tmp_path / "a", "sweep")
    folder.begin(PLAN)
    before = folder.plan_file.read_bytes()
    with pytest.raises(InputError, match=words):
        folder.begin(PLAN | change)
    assert folder.plan_file.read_bytes() == before


def test_what_is_free_may_change_and_the_last_is_kept(tmp_path):
    folder = SearchFolder(tmp_path / "a", "sweep")
    folder.begin(PLAN)
    assert folder.begin(PLAN | {"seeds": 5}, free={"seeds"})
    assert "seeds: 5" in folder.plan_file.read_text()


def test_the_data_are_part_of_the_plan(tmp_path):
    folder = SearchFolder(tmp_path / "a", "sweep")
    plans = [data_plan(pv.datasets.load("digits", binarize="threshold", count=n)) for n in (100, 101)]
    folder.begin({"data": plans[0]})
    assert folder.begin({"data": plans[0]})
    with pytest.raises(InputError, match="data.declaration.count was 100 and is 101"):
        folder.begin({"data": plans[1]})


@pytest.mark.parametrize("other", ["search.yaml", "bandit.yaml", "config.yaml"])
def test_a_folder_of_something_else_is_refused(other, tmp_path):
    (tmp_path / other).write_text("a: 1")
    with pytest.raises(InputError, match="needs its own folder: choose a new name"):
        SearchFolder(tmp_path, "sweep")


def test_two_in_one_folder_are_refused(tmp_path):
    folder = SearchFolder(tmp_path / "a", "sweep")
    code = "import sys\nfrom pyrovae.searching.folder import SearchFolder\n"
    code += "with SearchFolder(sys.argv[1], 'sweep').locked(): print('locked')"
    command = [sys.executable, "-c", code, str(folder.path)]
    with folder.locked():
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "another process is working in" in second.stderr
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout == "locked\n"


def test_a_file_in_the_place_of_the_folder_is_a_sentence(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(InputError, match="cannot create the folder"):
        SearchFolder(tmp_path / "a", "sweep")


def test_names_are_safe_and_different():
    names = ["latent_dim=2", "prior=a/b", "prior=a:b", "prior=a b", "prior=a,b", "..", "x" * 300, "x" * 301]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert safe[0] == "latent_dim=2"
    assert all("/" not in name and not name.startswith(".") and len(name) < 120 for name in safe)
