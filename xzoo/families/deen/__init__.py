"""DEEN: a two-stream ResNet-50 that sees every person three times.

Y. Zhang and H. Wang, *Diverse Embedding Expansion Network and Low-Light
Cross-Modality Benchmark for Visible-Infrared Person Re-Identification*, CVPR
2023, arXiv 2303.14481. The residual layers are timm's.
"""
