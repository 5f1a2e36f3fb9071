"""A row without any weight: log p(x) = -inf for it, the numbers of the others unchanged."""

import json
import warnings

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.evidence import compare, iwae_bound, log_evidence
from tests.support.weightless import guide, model

pytestmark = pytest.mark.usefixtures("float64")
X = torch.tensor([0.0, 1.0, 100.0, 2.0])


@pytest.mark.parametrize("method", ["importance", "psis", "defensive", "laplace", "ais"])
def test_the_others_are_kept(method):
    count = 16 if method == "ais" else 200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evidence = log_evidence((model, guide), X, method=method, particles=count)
        said = str(evidence)
        content = json.loads(json.dumps(evidence.to_dict(), allow_nan=False))
    keep = [0, 1, 3]
    assert evidence.weightless.tolist() == [False, False, True, False]
    truth = dist.Normal(0.0, 2.0**0.5).log_prob(X).numpy()
    assert np.abs(evidence.log_px - truth)[keep].max() < 0.5
    assert evidence.mean == -np.inf
    assert np.isnan([evidence.mc_stderr[2], evidence.ess[2], evidence.khat[2]]).all()
    assert evidence.trusted[2] == False  # noqa: E712
    assert "1 of 4 observations (row 2) have no probability" in " ".join(said.split())
    assert content["weightless"] == 1
    assert content["log_px"] is None
    alone = log_evidence((model, guide), X[keep], method=method, particles=count)
    np.testing.assert_allclose(evidence.log_px[keep], alone.log_px, rtol=1e-6)


def test_the_bound_has_the_same_rows():
    curve = iwae_bound((model, guide), X, particles=(1, 200))
    assert (curve.bound[:, 2] == -np.inf).all()
    assert np.isfinite(curve.bound[:, [0, 1, 3]]).all()


def test_models_are_not_ranked_by_minus_infinity():
    evidence = log_evidence((model, guide), X)
    with pytest.raises(pv.InputError, match="b gives no probability to some rows .*row 2"):
        compare({"b": evidence, "a": evidence})
