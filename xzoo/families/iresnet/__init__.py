"""IR-ResNet as AdaFace trains it.

M. Kim, A. K. Jain, X. Liu, *AdaFace: Quality Adaptive Margin for Face
Recognition*, CVPR 2022, arXiv 2204.00964. The block is the improved residual
unit of ArcFace (arXiv 1801.07698). insightface's network of the same name has
another first stage and cannot take these weights.
"""
