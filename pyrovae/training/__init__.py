r"""Training: stochastic variational inference on any guide and model.

    theta, phi  <-  theta, phi + lr * gradient of objective(terms of a minibatch)

`fit` is the entry point. Files of this package:

    loop        epochs                      preparing   data, device and checks before a run
    job         a run                       saver       checkpoints and resuming
    steps       eager or compiled steps     step, compiled, optimizers, layout, exchange    one step
    folder, checkpoint, state               files of a run, and their content
    batches, schedules, settings, progress
"""

from pyrovae.training.fit import Run, fit, load

__all__ = ["Run", "fit", "load"]
