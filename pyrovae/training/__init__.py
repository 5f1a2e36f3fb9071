r"""Training: stochastic variational inference on any guide and model.

    theta, phi  <-  theta, phi + lr * gradient of objective(terms of a minibatch)

`fit` runs it, in a folder from which a killed run resumes. Files of this package:

    fit         the verb            preparing   data, device and checks before a run
    loop        the epochs          job         a run: program, data, settings, and the loss of a batch
    steps       eager or compiled   step, compiled, optimizers, layout, exchange     one step
    saver       when to write       checkpoint, folder, state                        what is on disk
    batches, schedules, settings, progress
"""

from pyrovae.training.fit import Run, fit, load

__all__ = ["Run", "fit", "load"]
