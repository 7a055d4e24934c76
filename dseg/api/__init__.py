"""The functions load, train and evaluate of ``import dseg``, as of the command line."""
