"""What every result can do: a short text, a table, named dimensions, a picture, a file.

``result``: the base that results derive from; ``experiment``: tables and a picture; ``storage``: the file. Imports errors,
arrays, version and output.
"""
