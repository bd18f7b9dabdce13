"""Figures, tables and files: draws what it is handed and knows nobody.

``style``: palette, axes, matplotlib when it is needed. ``moments``, ``phase``, ``spectrum``, ``comparison``: a kind of
picture each, of any object with the attributes that the protocols there name. ``pictures`` and ``tables``: what experiments
share. ``files``: written whole or not at all. Imports errors and arrays only.
"""
