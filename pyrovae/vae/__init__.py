"""The variational autoencoder, as a declaration of parts and a Pyro program."""

from pyrovae.vae.suited import filling_for, likelihood_for
from pyrovae.vae.vae import VAE

__all__ = ["VAE", "filling_for", "likelihood_for"]
