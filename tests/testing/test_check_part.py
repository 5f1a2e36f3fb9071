"""`check_part` passes parts that are right, and refuses planted errors with the right sentence."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae.networks import Wrapped
from pyrovae.testing import check_part, part_checks
from tests.support.broken_parts import BROKEN, Logistic
from tests.support.parts import HeavyTails, LaplaceGuide, LaplacePrior, raises_one_sentence

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")


@pytest.mark.parametrize(
    ("part", "name", "words"), BROKEN, ids=lambda v: type(v).__name__ if not isinstance(v, str) else v
)
def test_a_planted_error_is_refused_in_one_sentence(part, name, words):
    with pytest.raises(AssertionError) as caught:
        dict(part_checks(part))[name]()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert type(part).__name__ in sentence
    assert not sentence.endswith(".")
    for word in words:
        assert word in sentence, sentence


@pytest.mark.parametrize(
    "part", list({type(part): part for part, *_ in BROKEN}.values()), ids=lambda p: type(p).__name__
)
def test_no_planted_error_passes(part):
    """Whatever it finds first."""
    with pytest.raises(AssertionError):
        check_part(part)


@pytest.mark.parametrize("part", [Logistic(2.0), LaplacePrior(), LaplaceGuide(), HeavyTails()], ids=repr)
def test_parts_of_authors_pass(part):
    before = torch.get_rng_state()
    assert check_part(part) is None
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(part.parameters())


def test_a_network_that_is_made_for_one_size_says_so():
    decoder = Wrapped(nn.Sequential(nn.Linear(8, 6), nn.SiLU()), features=6)
    with pytest.raises(AssertionError, match="give check_part the event_shape or latent_dim"):
        check_part(decoder)
    check_part(decoder, latent_dim=8, event_shape=(4,))
    with pytest.raises(AssertionError, match="cannot be attached with a context"):
        check_part(decoder, latent_dim=8, event_shape=(4,), context_shape=(3,))


def test_what_is_no_part_is_refused():
    raises_one_sentence(lambda: check_part(3), "not a part", "a prior")
    raises_one_sentence(lambda: check_part(Logistic), "Logistic(...)")
    assert pv.testing.check_part is check_part


def test_checks_need_no_pytest():
    code = "import sys, pyrovae.testing; assert not {'pytest', 'matplotlib', 'sklearn'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
