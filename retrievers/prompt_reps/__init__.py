"""PromptReps: one prompt to a causal language model gives a dense and a sparse vector of a text (Zhuang et al. 2024,
https://arxiv.org/abs/2404.18424); nothing is trained."""
