"""Every function of observations takes every kind of rows, or refuses them in one sentence."""

import numpy as np
import pandas
import pytest
import torch
from scipy import sparse
from torch.utils.data import DataLoader, TensorDataset

import pyrovae as pv
from pyrovae import datasets, report
from pyrovae.evidence import compare
from pyrovae.likelihoods import Normal
from pyrovae.networks import MLP
from pyrovae.priors import GaussianMixture
from tests.support.parts import raises_one_sentence

QUIET = {"progress": False}
FIT = {"progress": False, "figures": False}
X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
HOLES = np.where(np.random.default_rng(1).random(X.shape) < 0.2, np.nan, X)

ROWS = {
    "Rows": pv.Rows(torch.from_numpy(X)),
    "tensor": torch.from_numpy(X),
    "doubles": torch.from_numpy(X).double(),
    "half": torch.from_numpy(X).half(),
    "whole numbers": np.round(X).astype(np.int32),
    "array": X,
    "list": X.tolist(),
    "list of tensors": list(torch.from_numpy(X)),
    "DataFrame": pandas.DataFrame(X, columns=["a", "b", "c"]),
    "sparse": sparse.csr_matrix(X),
    "sparse tensor": torch.from_numpy(X).to_sparse(),
    "backwards": X[::-1, ::-1],
    "missing": HOLES,
    "masked": np.ma.masked_invalid(HOLES),
    "tensor data set": TensorDataset(torch.from_numpy(X), torch.arange(24) % 2),
    "loader": DataLoader(TensorDataset(torch.from_numpy(X)), batch_size=5),
    "pair": (X, np.arange(24) % 2),
}


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    vae = pv.VAE(
        (3,), 2, prior=GaussianMixture(2), likelihood=Normal("learned"), encoder=MLP(8), decoder=MLP(8)
    )
    pv.fit(vae, X, epochs=2, figures=False, **QUIET)
    return vae


def evidence(vae, rows):
    return pv.log_evidence(vae, rows, particles=30, **QUIET)


VERBS = {
    "fit": lambda vae, rows: pv.fit(vae.clone(), rows, epochs=1, figures=False, **QUIET).history[
        "validation"
    ],
    "fit of nothing": lambda vae, rows: pv.fit(None, rows, epochs=1, **FIT).history["train"],
    "report": lambda vae, rows: [len(report.figures(vae, datasets.load(rows)))],
    "log_evidence": lambda vae, rows: evidence(vae, rows).log_px,
    "iwae_bound": lambda vae, rows: pv.evidence.iwae_bound(vae, rows, particles=[1, 4]).bound,
    "gaps": lambda vae, rows: pv.gaps(vae, rows, steps=2, particles=4, method="importance").approximation,
    "diagnose": lambda vae, rows: pv.diagnose(vae, rows, particles=2).kl,
    "compare": lambda vae, rows: [len(str(compare({"a": evidence(vae, rows), "b": evidence(vae, rows)})))],
    "explore": lambda vae, rows: pv.explore(vae, rows, particles=4).z,
    "elpd": lambda vae, rows: [len(str(pv.elpd(evidence(vae, rows))))],
    "to_arviz": lambda vae, rows: [len(str(pv.to_arviz(vae, rows, draws=4)))],
    "encode": lambda vae, rows: vae.encode(rows).mean,
    "reconstruct": lambda vae, rows: vae.reconstruct(rows),
    "responsibilities": lambda vae, rows: vae.responsibilities(rows, particles=2),
    "rows": lambda vae, rows: vae.rows(rows).x.nan_to_num(),
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("verb", VERBS)
def test_every_function_takes_every_kind_of_rows(verb, kind, trained):
    result = VERBS[verb](trained, ROWS[kind])
    values = result.detach().numpy() if isinstance(result, torch.Tensor) else np.asarray(result)
    assert np.isfinite(values).all()


WRONG = {
    "words": [["a", "b", "c"]] * 24,
    "other columns": X[:, :2],
    "infinite": np.where(X == X[3, 1], np.inf, X),
    "nothing": X[:0],
    "complex": X.astype(complex),
    "an object": object(),
    "ragged": [[1.0, 2.0], [1.0]],
    "whole set": None,
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("verb", VERBS)
def test_every_function_refuses_other_things_in_one_sentence(verb, kind, trained):
    rows = datasets.load(X) if kind == "whole set" else WRONG[kind]
    may_pass = {
        "whole set": ("fit", "fit of nothing", "explore", "diagnose"),
        "other columns": ("fit of nothing", "rows"),
        "nothing": ("encode", "reconstruct", "responsibilities", "rows"),
        "infinite": ("encode", "reconstruct", "responsibilities", "rows"),
    }
    if verb in may_pass.get(kind, ()):
        return
    raises_one_sentence(lambda: VERBS[verb](trained, rows))
