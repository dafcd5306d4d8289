"""Provenance as W3C PROV-JSON (https://www.w3.org/submissions/prov-json/): `document` is the mapping."""
