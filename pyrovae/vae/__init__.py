"""The variational autoencoder, as a declaration of parts and a Pyro program."""

from pyrovae.vae.vae import VAE

__all__ = ["VAE"]
