"""Rows of X, in memory or on disk: what is asked of them, their covariates, their moments, minibatches of them."""
