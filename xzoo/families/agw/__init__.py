"""AGW: two stems and one shared ResNet-50, for people in visible and infrared light.

M. Ye et al., *Deep Learning for Person Re-Identification: A Survey and Outlook*,
TPAMI 2021, arXiv 2001.04193. The residual layers are timm's.
"""
