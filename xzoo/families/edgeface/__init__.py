"""EdgeFace: a hybrid CNN-transformer for faces on small devices.

A. George et al., *EdgeFace: Efficient Face Recognition Model for Edge Devices*,
IEEE T-BIOM 6(2), 2024, arXiv 2307.01838. The backbone is timm's EdgeNeXt.
"""
