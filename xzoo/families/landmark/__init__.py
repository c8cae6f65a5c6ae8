"""Networks that find the landmarks of a face: backbones of timm with a coordinate, a Gaussian or a heatmap head.

The layouts follow public descriptions (a pooled map and one linear layer, as the MobileNetV2 landmarker of T-FAKE, and
a soft arg-max over maps); the recipe of Q. Tong et al., *Lightweight Facial Landmark Detection in Thermal Images*,
arXiv 2510.11128, whose networks are not public, is not part of this family.
"""
