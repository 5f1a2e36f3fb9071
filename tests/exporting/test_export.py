"""Exported functions are those of the VAE: in torch, in onnxruntime, for any number of rows."""

import importlib
import json
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import pyrovae as pv
from pyrovae import guides, likelihoods, networks
from pyrovae.cli import main
from pyrovae.errors import Uncapturable
from pyrovae.evidence.draws import GivenNoise, draw_from
from pyrovae.exporting import decompositions
from pyrovae.exporting.functions import Normals, Scorer, log_weights, noise_size
from pyrovae.terms import Runner
from tests.support import PROJECT
from tests.support.cells import cell_name, cover, declared
from tests.support.parts import data_for, raises_one_sentence, small_vae

pytestmark = pytest.mark.xdist_group("onnx")  # one export of a table

K = 3
exporting = importlib.import_module("pyrovae.exporting.exported")
ONE_SITE = [cell for cell in cover(1) if cell.guide.states is None]


@pytest.mark.parametrize("cell", ONE_SITE, ids=cell_name)
def test_the_score_is_the_weight_of_the_program_at_the_same_latents(cell):
    vae = declared(cell).eval()
    rows = pv.Rows(*data_for(vae, 4)).unlabelled()
    noise = torch.randn(K, 4, noise_size(vae, rows.x, rows.context))
    q = vae.encode(rows).expand((K, 4))
    with torch.no_grad():
        found = Scorer(vae).named(rows.x, noise, rows.context)
        values = {"z": draw_from(q, Normals(noise))}
        terms = Runner(vae).check(rows).terms_at(values, rows, particles=K)
    torch.testing.assert_close(found["log_w"], terms.log_w, rtol=1e-4, atol=1e-4)
    bound = terms.log_w.logsumexp(0) - np.log(K)
    torch.testing.assert_close(found["log_px"], bound, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guide", [guides.DiagonalNormal(), guides.FullRankNormal()], ids=repr)
def test_the_noise_is_that_of_the_program(guide):
    vae = small_vae(guide=guide).eval()
    rows = pv.Rows(*data_for(vae, 4))
    noise = torch.randn(K, 4, 2)
    runner = Runner(vae).check(rows)
    with torch.no_grad(), GivenNoise({"z": noise}):
        terms = runner.terms(rows, particles=K)
    with torch.no_grad():
        torch.testing.assert_close(Scorer(vae).named(rows.x, noise)["log_w"], terms.log_w)


def test_samples_of_a_low_rank_normal_have_its_covariance():
    vae = small_vae(guide=guides.LowRankNormal(1))
    q = vae.encode(data_for(vae, 1)[0])
    z = draw_from(q.expand((200_000, 1)), Normals()).squeeze(1)
    torch.testing.assert_close(torch.cov(z.T), q.covariance_matrix[0], rtol=0.03, atol=0.03)


def test_entries_that_are_missing_not_at_random_count():
    vae = small_vae(likelihood=likelihoods.Normal(), mechanism=likelihoods.SelfMasking()).eval()
    x = data_for(vae, 4)[0]
    x[::2, 1] = torch.nan
    rows, noise = pv.Rows(x), torch.randn(K, 4, 2)
    runner = Runner(vae).check(rows)
    with torch.no_grad(), GivenNoise({"z": noise}):
        terms = runner.terms(rows, particles=K)
    with torch.no_grad():
        torch.testing.assert_close(Scorer(vae).named(x, noise)["log_w"], terms.log_w)


# -------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A conditional VAE of a table with words and missing entries, and its ONNX files."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    words = (["a", "b", "c", ""], ["x", "y"])
    rows = [(f"{rng.normal(1e6, 10):.2f}", *map(rng.choice, words)) for _ in range(60)]
    (folder / "t.csv").write_text("\n".join(["height,kind,group", *map(",".join, rows)]))
    data = pv.datasets.load(folder / "t.csv", context=["group"])
    parts = {"encoder": networks.MLP(4), "decoder": networks.MLP(4), "guide": guides.DiagonalNormal()}
    vae = pv.VAE.suited(data, latent_dim=2, **parts)
    vae.start_from(data.train)
    vae.schema = data.schema
    return vae.eval(), data, pv.export(vae, out=folder / "onnx", functions=["encoder", "score"])


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("count", [1, 7])
def test_onnx_gives_the_numbers_of_the_vae_for_rows_in_the_units_of_the_user(table, count):
    vae, data, exported = table
    assert exported.left_out == {}
    assert max(exported.errors.values()) < 1e-5
    rows = data.train[:count]
    assert rows.x.dtype == torch.float64
    noise = torch.randn(K, count, noise_size(vae, rows.x, rows.context))
    inputs = {"x": rows.x.numpy(), "context": rows.context.numpy(), "noise": noise.numpy()}
    score, encoder = (session(exported.files[name]) for name in ("score", "encoder"))
    log_w, log_px = score.run(None, inputs)
    with torch.no_grad():
        wanted = log_weights(vae, rows.x, Normals(noise), (K, count), rows.context)
        np.testing.assert_allclose(log_w, wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(log_px, wanted.logsumexp(0) - np.log(K), rtol=1e-5, atol=1e-5)
        mean = encoder.run(["mean"], {name: inputs[name] for name in ("x", "context")})[0]
        np.testing.assert_allclose(mean, vae.encode(rows).mean, rtol=1e-5, atol=1e-5)


def test_the_files_say_what_their_inputs_and_outputs_are(table):
    _, _, exported = table
    about = json.loads(session(exported.files["score"]).get_modelmeta().custom_metadata_map["pyrovae"])
    assert about["inputs"]["x"] == {
        "shape": ["B", 2],
        "dtype": "float64",
        "meaning": "columns in their units; words as codes 0, 1, ... in the order listed; "
        "NaN is a missing entry",
    }
    assert [column["words"] for column in about["columns"]][1] == ["a", "b", "c"]
    readme = (exported.folder / "README.md").read_text()
    for words in ("| 1 | kind | categorical:3 |  | a, b, c |", "log p(x\\|z_k) + log p(z_k)", "score.onnx"):
        assert words in readme
    assert str(exported.folder) not in readme
    assert "(stride" not in readme


def test_programs_of_torch_give_the_numbers_of_the_vae(tmp_path):
    vae = small_vae((1, 8, 8), guide=guides.FullRankNormal(), networks=IMAGES).eval()
    vae.save(tmp_path / "m.pyrovae")
    exported = pv.export(tmp_path / "m.pyrovae", "torch", out=tmp_path / "out")
    score = torch.export.load(exported.files["score"]).module()
    for count in (1, 4):
        x, noise = data_for(vae, count)[0], torch.randn(2, count, 2)
        with torch.no_grad():
            wanted = Scorer(vae).named(x, noise)
            for output, name in zip(score(x, noise), wanted, strict=True):
                torch.testing.assert_close(output, wanted[name])
    assert "torch.export.load" in (exported.folder / "README.md").read_text()


IMAGES = (networks.ConvEncoder((2, 3), features=5), networks.ConvDecoder((3, 2)))


# -------------------------------------------------------------------- refusals


def test_a_file_that_gives_other_numbers_is_not_written(tmp_path, monkeypatch):
    exact = exporting.runner_of

    def wrong(kind, data):
        run = exact(kind, data)
        return lambda inputs: [output + 1e-4 for output in run(inputs)]

    monkeypatch.setattr(exporting, "runner_of", wrong)
    raises_one_sentence(
        lambda: pv.export(small_vae(), "torch", out=tmp_path / "out", functions=["encoder"]),
        "the exported encoder gives another mean than the VAE",
        "nothing was written",
    )
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_is_left_out_with_the_reason(tmp_path, monkeypatch):
    def no(*_):
        raise Uncapturable("a sample of Odd is not a function of normal noise")

    monkeypatch.setattr(exporting, "noise_size", no)
    exported = pv.export(small_vae(), "torch", out=tmp_path, functions=["decoder", "score"])
    assert list(exported.files) == ["decoder"]
    assert "left out: score, as a sample of Odd is not a function of normal noise" in str(exported)
    assert "score is left out, as a sample of Odd" in (tmp_path / "README.md").read_text()


def test_the_vae_and_the_random_state_do_not_change(tmp_path):
    vae = small_vae().train()
    state = torch.get_rng_state()
    pv.export(vae, "torch", out=tmp_path, functions=["score"])
    assert vae.training
    assert all(parameter.requires_grad for parameter in vae.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_no_folder_of_the_machine_is_in_the_files(table, tmp_path):
    _, _, exported = table
    programs = pv.export(small_vae(), "torch", out=tmp_path / "out", functions=["encoder"])
    with zipfile.ZipFile(programs.files["encoder"]) as file:
        contents = [file.read(name) for name in file.namelist()]
    contents += [path.read_bytes() for path in exported.files.values()]
    for word in (PROJECT, Path(torch.__file__).parent, tmp_path):
        assert all(str(word).encode() not in content for content in contents)


def test_functions_of_another_export_do_not_stay_in_the_folder(tmp_path):
    pv.export(small_vae(), "torch", out=tmp_path, functions=["decoder"])
    before = (tmp_path / "decoder.pt2").read_bytes()
    raises_one_sentence(
        lambda: pv.export(small_vae(), "torch", out=tmp_path, functions=["encoder"]),
        "decoder.pt2 is from another export",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "decoder.pt2"]
    assert (tmp_path / "decoder.pt2").read_bytes() == before


def test_bad_input_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    vae = small_vae()
    raises_one_sentence(lambda: pv.export(vae, "tflite", out="o"), "to must be", "'onnx'", "'torch'")
    raises_one_sentence(lambda: pv.export(vae, out="o", functions=["encode"]), "functions", "'encoder'")
    raises_one_sentence(lambda: pv.export(print, out="o"), "a VAE, a run folder or a model file is needed")
    raises_one_sentence(lambda: pv.export("no", out="o"), "is this the folder of a run?")
    raises_one_sentence(
        lambda: pv.export(vae, "torch", out=vae.save("file") / "o"), "cannot create the folder"
    )
    assert main(["export", "no"]) == 2
    assert "is this the folder of a run?" in capsys.readouterr().err
    assert sorted(Path().iterdir()) == [Path("file")]


# -------------------------------------------------------------------- operations


def test_operations_without_a_counterpart_in_onnx_have_their_digits():
    x = torch.logspace(-12, 12, 400, dtype=torch.float64)
    options = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(decompositions.log_gamma(x), torch.lgamma(x), **options)
    for sign in (-1, 1):
        y = sign * x[x < 700]
        torch.testing.assert_close(decompositions.expm1(y), torch.expm1(y), rtol=1e-13, atol=0)
        torch.testing.assert_close(decompositions.softplus(y), torch.nn.functional.softplus(y, threshold=50))
    y = torch.cat([-x[x < 1], x])
    torch.testing.assert_close(decompositions.log1p(y), torch.log1p(y), rtol=1e-13, atol=0)


def test_matrices_are_factorised_and_solved():
    a = torch.randn(5, 4, 4, dtype=torch.float64)
    a = a @ a.mT + torch.eye(4)
    factor = decompositions.cholesky(a)
    torch.testing.assert_close(factor, torch.linalg.cholesky(a))
    b = torch.randn(5, 4, 2, dtype=torch.float64)
    for upper, left in [(False, True), (True, True), (False, False), (True, False)]:
        matrix, right = (factor.mT if upper else factor), (b if left else b.mT)
        wanted = torch.linalg.solve_triangular(matrix, right, upper=upper, left=left)
        torch.testing.assert_close(decompositions.solved(matrix, right, upper=upper, left=left), wanted)
