"""Arguments and output of train.py."""
