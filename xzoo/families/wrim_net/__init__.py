"""WRIM-Net: a ResNet-50 whose every stage looks at the whole picture once more.

Y. Wu, L.-C. Meng, Y. Zichao, S. Chan, H.-Q. Wang, *WRIM-Net: Wide-Ranging
Information Mining Network for Visible-Infrared Person Re-Identification*, arXiv 2408.10624. The residual layers
are timm's.
"""
