"""Vision transformer with one global and three part tokens, for whole people.

A. Nanduri, S. Huang, R. Chellappa, *Multi-Domain Biometric Recognition using
Body Embeddings*, arXiv 2503.10931, on the part tokens of PASS: K. Zhu et al.,
*PASS: Part-Aware Self-Supervised Pre-Training for Person Re-Identification*,
ECCV 2022, arXiv 2203.03931. The transformer itself is timm's.
"""
