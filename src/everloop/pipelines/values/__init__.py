"""What may pass between steps.

- `plain`: numbers, text, containers, dates, structs: as tagged JSON that comes back as the same types
- `arrays`, `tables`, `models`: what lies in objects of its own, with digests of content rather than of files
- `files`: a file by name and content
- `formats`: which of them takes a value; users' own types
- `encoding`: a whole value into the store and back
"""
