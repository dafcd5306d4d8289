"""Label Studio: its configuration (XML) and its tasks (JSON) in and out.

- `config`: what is asked, as XML
- `regions`: an answer as Label Studio's list of regions, and back
- `tasks`: the file of tasks, read and written
- `moving`: a file into a project, a project into a file

What has no place here is listed as skipped, with where it stood and why.
"""
