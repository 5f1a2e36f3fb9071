"""The variational autoencoder, as a declaration of parts and a Pyro program."""

from pyrovae.vae.suited import filling_for, likelihood_for
from pyrovae.vae.vae import ROLES, VAE

__all__ = ["ROLES", "VAE", "filling_for", "likelihood_for"]
