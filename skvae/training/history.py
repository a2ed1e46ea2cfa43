"""Terms that training records after each epoch: one table of the names that users and skorch know them by."""

# Keys of the estimators' `history_`, and their names in the history of skorch. The first three are means over the rows
# of what a gradient step returns, in this order.
TERMS = {
    "loss": "train_loss",
    "reconstruction": "reconstruction",
    "kl": "kl",
    "kl_weight": "kl_weight",
    "validation": "validation",
}
N_STEP_TERMS = 3

# Recorded too, a list for each epoch: the mean KL of each latent dimension.
KL_BY_COMPONENT = "kl_by_component"
