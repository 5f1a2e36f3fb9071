r"""Checks that a custom part has the properties on which PyroVAE relies.

    check_part(MyPrior())       raises an AssertionError with one sentence, or returns
    part_checks(MyPrior())      the same checks as pairs (name, function)

In a test file with pytest:

    @pytest.mark.parametrize(("name", "check"), part_checks(MyPrior(scale=2.0)))
    def test_my_prior(name, check):
        check()

| kind | what is checked |
|---|---|
| every part | copies; stored hyperparameters; no global side effects; precision; gradients |
| prior | shapes; density and samples against quadrature; independence of rows |
| guide | as for a prior; gradients of samples against those of the density; strata |
| likelihood | density, samples, moments; support; missing entries; float32; independence of rows |
| network | shapes; independence of rows; use of the whole input, context and all parameters |
| objective | bound on log p(x), tight with the exact posterior; order of particles; gradients |

Every part is also trained for ten steps in a small VAE, saved and loaded. The training step must be
captured as a graph, or refused with a reason. log p(x) of the VAE is compared with the integral
over its latents.

The package's own tests call the same functions. Nothing here needs pytest.

Reference:
    scikit-learn's `check_estimator` and `parametrize_with_checks`.
"""

from pyrovae.testing.entry import check_part, part_checks

__all__ = ["check_part", "part_checks"]
