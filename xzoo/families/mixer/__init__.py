"""MixER: a ResNet-50 that erases the spectrum in one branch and keeps it in two others.

M. Alehdaghi, R. Bhattacharya, P. Shamsolmoali, R. M. O. Cruz, E. Granger, *From
Cross-Modal to Mixed-Modal Visible-Infrared Re-Identification*, arXiv 2501.13307. The residual
layers are timm's.
"""
