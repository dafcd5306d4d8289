"""The provenance of one thing as a PROV document: entities, activities and agents, and how they hang together.

Versions of data, features and models, endpoints and alerts are entities; runs are activities; users, and Everloop itself, agents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from everloop._version import __version__
from everloop.domain.runs import RunRecord

if TYPE_CHECKING:
    from everloop.workspace.provenance import Link, Why

NAMESPACE = "urn:everloop:"
SOFTWARE = f"everloop:agent-everloop-{__version__}"
Relation = tuple[str, dict[str, str]]


def document(why: Why, run_of: Callable[[str], RunRecord | None]) -> dict[str, Any]:
    """The document. `run_of`: what is known of a run by its reference; None where it is gone."""
    links = list(dict.fromkeys([*why.upward, *why.downward]))
    names = dict.fromkeys([why.reference, *(each for link in links for each in (link.source, link.target))])
    made: dict[str, dict[str, Any]] = {
        "prefix": {"everloop": NAMESPACE, "prov": "http://www.w3.org/ns/prov#"},
        "entity": {},
        "activity": {},
        "agent": {
            SOFTWARE: {"prov:type": _name("prov:SoftwareAgent"), "prov:label": f"Everloop {__version__}"}
        },
    }
    for name in names:
        if not name.startswith("run:"):
            made["entity"][qualified(name)] = {
                "prov:label": name,
                "prov:type": _name(f"everloop:{name.partition(':')[0]}"),
            }
            continue
        _activity(made, name, run_of(name))
    if why.code.commit or why.code.tree:
        _plan(made, why)
    for number, (relation, fields) in enumerate(_relations(links)):
        made.setdefault(relation, {})[f"_:r{number}"] = fields
    return {name: part for name, part in made.items() if part}


def qualified(reference: str) -> str:
    """A reference as a qualified name of PROV: what its grammar does not take is escaped as in addresses.

    >>> qualified("data:team/flights@v3")
    'everloop:data-team%2Fflights%40v3'
    """
    kind, _, name = reference.partition(":")
    escaped = re.sub(r"[^\w.\-]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name)
    return f"everloop:{kind}-{escaped}"


def _activity(made: dict[str, dict[str, Any]], name: str, record: RunRecord | None) -> None:
    activity: dict[str, Any] = {"prov:label": name}
    made["activity"][qualified(name)] = activity
    if record is None:
        return
    activity |= {"prov:startTime": record.start_time.isoformat(), "everloop:status": record.status}
    activity |= {"everloop:name": record.name}
    if record.end_time is not None:
        activity["prov:endTime"] = record.end_time.isoformat()
    activity |= {f"everloop:parameter-{_key(key)}": value for key, value in sorted(record.params.items())}
    agent = qualified(f"agent:{record.user or 'unknown'}")
    made["agent"][agent] = {"prov:type": _name("prov:Person"), "prov:label": record.user or "unknown"}
    for each in (agent, SOFTWARE):
        relation = {"prov:activity": qualified(name), "prov:agent": each}
        made.setdefault("wasAssociatedWith", {})[f"_:a{len(made.get('wasAssociatedWith', {}))}"] = relation


def _plan(made: dict[str, dict[str, Any]], why: Why) -> None:
    """The code that the nearest run executed."""
    run = str(why.facts.get("run", ""))
    if qualified(run) not in made["activity"]:
        return
    name = qualified(f"code:{why.code.tree or why.code.commit}")
    told: dict[str, Any] = {"prov:type": _name("prov:Plan"), "everloop:source": why.code.source}
    told |= {"everloop:commit": why.code.commit} if why.code.commit else {}
    made["entity"][name] = told
    made.setdefault("used", {})["_:code"] = {"prov:activity": qualified(run), "prov:entity": name}


def _relations(links: list[Link]) -> Iterator[Relation]:
    """Each edge of lineage as the relation that PROV has for it: between entities and activities there is one for each way."""
    for link in links:
        source, target = qualified(link.source), qualified(link.target)
        activities = link.source.startswith("run:"), link.target.startswith("run:")
        if activities == (True, True):
            yield "wasInformedBy", {"prov:informed": target, "prov:informant": source}
        elif activities == (True, False):
            yield "wasGeneratedBy", {"prov:entity": target, "prov:activity": source, "prov:role": link.role}
        elif activities == (False, True):
            yield "used", {"prov:activity": target, "prov:entity": source, "prov:role": link.role}
        else:
            yield "wasDerivedFrom", {"prov:generatedEntity": target, "prov:usedEntity": source}


def _name(qualified_name: str) -> dict[str, str]:
    """A qualified name as a value: as plain text it would be taken for a string that looks like one."""
    return {"$": qualified_name, "type": "prov:QUALIFIED_NAME"}


def _key(name: str) -> str:
    return re.sub(r"[^\w.\-]", "_", name)


def counts(made: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How much of what a document says, for people."""
    return {name: len(part) for name, part in made.items() if name != "prefix"}
