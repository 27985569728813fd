"""The VAE family: a convolutional variational autoencoder on images that earlier generations drew."""
