"""Small networks for small faces.

Students that satisfy the budget of S. Ge et al., *Efficient Low-Resolution Face
Recognition via Bridge Distillation*, IEEE TIP 2020, arXiv 2409.11786 (their
layers are not public; these are designs of ours), and MobileFaceNet: S. Chen
et al., *MobileFaceNets: Efficient CNNs for Accurate Real-Time Face
Verification on Mobile Devices*, CCBR 2018, arXiv 1804.07573.
"""
