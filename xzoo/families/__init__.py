"""Families: the code of one kind of network each, every folder alike.

A family has ``options.py`` (typed options, standard library only), ``model.py``
(``build(options)``) and ``convert.py`` (``VERSION`` and ``convert(state)``:
other people's parameter names to ours). Where an option changes the shape of
a tensor that a file can be resized to, ``convert.py`` has ``fit(tensors, network)`` too.
"""
