"""IDKL: a ResNet-50 whose upper half comes twice, for what spectra share and for what each has for itself.

K. Ren and L. Zhang, *Implicit Discriminative Knowledge Learning for
Visible-Infrared Person Re-Identification*, CVPR 2024, arXiv 2403.11708. The
residual layers are timm's.
"""
