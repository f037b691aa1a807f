"""Models, augmentations, data and training for the CIFAR-10 playground; no user interface."""
