"""IRM: the part transformer with an instruction, which for one task is always the same.

W. He et al., *Instruct-ReID: A Multi-purpose Person Re-identification Task with
Instructions*, CVPR 2024, arXiv 2306.07520. The transformer is timm's.
"""
