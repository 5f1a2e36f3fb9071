r"""Training: stochastic variational inference on any guide and model.

    theta, phi  <-  theta, phi + lr * gradient of objective(terms of a minibatch)

`fit` runs it, with a run folder that a killed run goes on from. Files of this package: `fit` (the verb),
`loop` (steps and epochs), `exchange` (what several processes tell each other at a step), `state` (parameters,
optimiser, random numbers and position, as one thing that is saved and restored), `folder` (what a run leaves
on disk), `progress` (what it shows).
"""

from pyrovae.training.fit import Run, fit, load

__all__ = ["Run", "fit", "load"]
