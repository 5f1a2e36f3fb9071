"""The words of the page, explained in one or two sentences, and tooltips that show them.

A tooltip opens with the mouse, with the keyboard (Tab) and by touch, and is as wide as its panel.
So it never leaves the screen of a phone. Each Panel component has its own shadow tree, so a
component that shows tooltips needs the style sheet `TIP`.
"""

from __future__ import annotations

from html import escape

__all__ = ["EXPLAINED", "TIP", "tip"]

EXPLAINED: dict[str, str] = {
    "doubt": "How unsure the model is about the component of a row: the entropy of p(c|x) in nats. "
    "It is 0 if one component is certain, and log K if all K are equally probable.",
    "overlap": "How much two components cover each other: 1 if they are the same distribution of z, "
    "and close to 0 if they are far apart.",
    "KL": "The Kullback-Leibler divergence KL(q(z|x) || p(z)) in nats: what it costs to say where in "
    "the latent space a row lies. It is 0 if the encoder says nothing about the row.",
    "component KL": "KL(q(z|x) || N_k) in nats, on average over the rows of component k: how much narrower "
    "than the component, or how far from it, the encodings of its rows are.",
    "log p(x)": "The logarithm of the probability (or density) that the model gives to this row, in nats. "
    "Higher is more typical; the error is that of the Monte Carlo estimate.",
    "log p(y)": "The logarithm of the probability (or density) of the known values alone, with the unknown "
    "ones summed out, in nats.",
    "log p(z)": "The logarithm of the density of the prior at this latent point, in nats. "
    "Where it is low, the decoder was hardly trained.",
    "L_K": "The lower bound on log p(x) from K samples of the guide. "
    "It rises with K towards log p(x), and L_1 is the ELBO.",
    "ELBO": "The lower bound on log p(x) that training maximises: the reconstruction minus the KL.",
    "reconstruction": "E[log p(x|z)] over the guide q(z|x), in nats: how well the row is decoded from its "
    "own latents.",
    "reconstructed": "The expected row E[x|z], decoded from the mean of the guide q(z|x).",
    "ESS": "The effective sample size: how many equally weighted samples are worth as much as the "
    "weighted ones. A small number means that few samples carry the estimate.",
    "k-hat": "The Pareto index of the largest importance weights. "
    "Above about 0.7 the stated error is too small and the estimate cannot be relied on.",
    "weight": "The prior probability p(c) of a component.",
    "data": "The number of rows whose most probable component is this one.",
    "posterior": "The distribution q(z|x) of the latents of this row, as the guide gives it.",
    "p(c|x)": "The probability that this row comes from each component, averaged over q(z|x). "
    "The lines show its standard deviation over q(z|x).",
    "bits/dim": "Minus log p(x) in bits, divided by the number of pixels and channels. Smaller is better.",
    "mean": "E[x|y]: the average of the completions, weighted by how probable they are.",
    "completion": "A sample of the whole row given its known part, from p(x|y). "
    "Samples differ as much as the known part leaves open.",
    "90 %": "The interval between the 5 % and the 95 % quantile of the samples given the known values.",
    "reliable": "The weights are even enough for the stated error to hold.",
    "doubtful": "Few samples carry the estimate, so the stated error may be too small.",
}

TIP = """
.tip { border-bottom: 1px dotted #8a8a86; cursor: help; text-decoration: none; }
.tip:focus { outline: none; }
.tip:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; border-radius: 2px; }
.tip::after { content: attr(data-tip); position: absolute; left: 0; right: 0; margin-top: 1.7em; z-index: 9;
  visibility: hidden; opacity: 0; transition: opacity .12s; padding: 8px 10px; border-radius: 6px;
  background: #262626; color: #fff; font-size: 12px; line-height: 1.45; font-weight: 400; white-space: normal;
  text-align: left; pointer-events: none; box-shadow: 0 2px 8px #0003; }
.tip:hover::after, .tip:focus::after { visibility: visible; opacity: 1; }
"""


def tip(name: str, text: str | None = None) -> str:
    """A word with its explanation as a tooltip, as HTML.

    Arguments:
        name: a word of `EXPLAINED`.
        text: the text that is shown, by default the word.

    Raises:
        KeyError: for a word without an explanation.

    Example:
        >>> tip("weight").partition(" data-tip=")[0], tip("weight", "p(c)").partition(">")[2]
        ('<abbr class="tip" tabindex="0"', 'p(c)</abbr>')
    """
    shown = escape(name if text is None else text)
    return f'<abbr class="tip" tabindex="0" data-tip="{escape(EXPLAINED[name])}">{shown}</abbr>'
