r"""Checks for authors of parts: whether a part has the properties that PyroVAE relies on.

    check_part(MyPrior())       raises an AssertionError with one sentence, or returns
    part_checks(MyPrior())      the same checks as pairs (name, function)

In a test file with pytest:

    @pytest.mark.parametrize(("name", "check"), part_checks(MyPrior(scale=2.0)))
    def test_my_prior(name, check):
        check()

| kind | what is checked |
|---|---|
| every part | read and copied as written; stored arguments; nothing global changes; precision; gradients |
| prior | shapes; density and samples by quadrature; its own row's context and random numbers |
| guide | the same of q(z given x); gradients of samples against those of the density; strata |
| likelihood | density, samples, mean, variance; support; missing entries; float32 and far values; rows |
| network | shapes; rows apart in evaluation and training; all of input, context and parameters used |
| objective | log p(x) with the exact posterior; below it otherwise; order of particles; gradients |

All of them are trained for ten steps in a small VAE, saved, loaded, and captured as a graph or
refused with a reason. log p(x) of the VAE is compared with the integral over its latents.

The properties are those of the package's own tests, which call the same functions. Nothing here
needs pytest.

Reference:
    scikit-learn's `check_estimator` and `parametrize_with_checks`.
"""

from pyrovae.testing.entry import check_part, part_checks

__all__ = ["check_part", "part_checks"]
