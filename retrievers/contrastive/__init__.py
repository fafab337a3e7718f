"""Training of encoders by pairs of a text and the document that answers it, on the common trainer.

Late interaction and learned sparse retrieval share it; a kind of encoder adds how a batch is scored.
"""

#: Modules that a training depends on.
MODULES = tuple(
    f"seekbench.retrievers.contrastive.{name}"
    for name in (
        "batches",
        "caching",
        "ensemble",
        "losses",
        "mining",
        "objective",
        "params",
        "trained",
        "training",
        "watch",
    )
)
