"""What the columns of a version are like.

- `profiling`: tables as sketches, batch by batch; `summaries`: the sketches for people
- `keeping`: profiles kept with versions, and put together from those of files that did not change
- `shifts`: what is different from another version; `datasheets`: a datasheet to be finished by people
"""
