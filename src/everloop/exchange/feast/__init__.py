"""A Feast repository: its entities, views and file sources become definitions and datasets here.

- `declared`: what a repository declares, as values
- `standin`: Feast's names, for the repository's Python files
- `running`: runs these files in a process of their own and writes down what they declare
- `reading`: a repository's folder, read by such a process
- `writing`: declarations as a definitions file of ours
- `bringing`: datasets added, definitions written and recorded, what was left listed
"""
