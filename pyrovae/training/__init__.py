r"""Training: stochastic variational inference on any guide and model.

    theta, phi  <-  theta, phi + lr * gradient of objective(terms of a minibatch)

`fit` trains a program, and `loading` loads the VAE of a run folder. Files of this package:

    loop        epochs                      preparing   data, device and checks before a run
    job         a run                       saver       checkpoints and resuming
    steps       eager or compiled steps     step, compiled, optimizers, layout, exchange    one step
    folder, checkpoint, config, state       files of a run, and their content
    run                                     the result of `fit`
    marks, sources                          whose run it is, and of which data
    batches, schedules, settings, progress
    callbacks, calling                      code of the user, called by a run
"""

from pyrovae.training.callbacks import Callback, Running
from pyrovae.training.fit import fit, fit_to_end
from pyrovae.training.loading import load
from pyrovae.training.run import Run

__all__ = ["Callback", "Run", "Running", "fit", "fit_to_end", "load"]
