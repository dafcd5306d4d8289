"""What `reproduce` needs beside running again (`everloop.pipelines.reproduce` and `rebuild`).

- `surroundings`: the interpreter to rebuild with, made from the packages that were captured
- `randomness`: where code draws what no seed decides
- `own_data`: datasets of a rebuild, apart from those of the original
"""
