"""The model card, written from the ledger in the nine sections of Mitchell et al. 2019 ("Model Cards for Model Reporting").

Every number says where it came from. What the ledger does not know is listed as a gap, never filled in; what only a person can
know is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everloop.domain.models import CardEntry, CardSection, ModelCard, ModelVersionRecord, Promotion
from everloop.errors import InvalidInput, NotFound
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.registry.registry import Registry

TO_BE_WRITTEN = "to be written by a person"


def compose(
    registry: Registry, record: ModelVersionRecord, *, intended_use: str, limits: str, ethics: str
) -> ModelCard:
    """The card of one version as the ledger stands now."""
    promotions = registry.promotions(record.reference)
    sections = [
        CardSection("Model details", _details(registry, record)),
        CardSection(
            "Intended use", [_by_person(intended_use, "what it is for, for whom, and what it is not for")]
        ),
        CardSection("Factors", _factors(record, promotions)),
        CardSection("Metrics", _metrics(record)),
        CardSection("Evaluation data", _evaluation(promotions)),
        CardSection("Training data", _training(registry, record)),
        CardSection("Quantitative analyses", _analyses(promotions)),
        CardSection(
            "Ethical considerations", [_by_person(ethics, "who may be harmed, and what is done about it")]
        ),
        CardSection("Caveats and recommendations", [_by_person(limits, "where it should not be trusted")]),
    ]
    return ModelCard(record.reference, registry.context.clock(), sections)


def markdown(card: ModelCard) -> str:
    """The card for people; sources stand behind each line."""
    lines = [
        f"# Model card: {card.reference}",
        "",
        f"Written {card.time:%Y-%m-%d %H:%M} UTC from the ledger.",
    ]
    for section in card.sections:
        lines += ["", f"## {section.title}", ""]
        for entry in section.entries:
            source = f" `{entry.source}`" if entry.source else ""
            lines.append(f"- **Gap:** {entry.text}{source}" if entry.gap else f"- {entry.text}{source}")
    return "\n".join(lines) + "\n"


def _by_person(text: str, what: str) -> CardEntry:
    return CardEntry(text) if text else CardEntry(f"{what} ({TO_BE_WRITTEN})", gap=True)


def _details(registry: Registry, record: ModelVersionRecord) -> list[CardEntry]:
    packages = ", ".join(f"{name} {version}" for name, version in record.model.packages.items())
    entries = [
        CardEntry(f"{record.model.kind}, {record.model.signature.task}", record.reference),
        CardEntry(
            f"version {record.version}, registered {record.created:%Y-%m-%d} by {record.user}",
            record.reference,
        ),
        _trained_by(registry, record),
        CardEntry(f"stored with {packages}; Python {record.model.python}", record.reference),
        CardEntry(f"content digest {record.model.content}", record.reference),
        CardEntry(f"takes {', '.join(record.model.signature.names)}", record.reference),
    ]
    run = f"run:{record.run}" if record.run else ""
    if record.commit:
        entries.append(CardEntry(f"code at commit {record.commit}", run))
    elif record.run:
        entries.append(CardEntry("the code was not committed; it is kept with the run", run))
    entries += [CardEntry(f"{key} = {value}", run) for key, value in sorted(record.params.items())[:40]]
    entries += [
        CardEntry("input values come from this feature view", feature) for feature in record.model.features
    ]
    return entries


def _trained_by(registry: Registry, record: ModelVersionRecord) -> CardEntry:
    try:
        run = registry.context.room(Tracking).run(record.run)
    except (NotFound, InvalidInput):  # none was named, or it has been purged since
        return CardEntry("it is not known which run trained it", gap=True)
    return CardEntry(f"trained by run '{run.name}' of {run.user}", run.reference)


def _factors(record: ModelVersionRecord, promotions: list[Promotion]) -> list[CardEntry]:
    groups = [
        f"{each['column']} = {each['value']}"
        for promotion in promotions[:1]
        for gate in promotion.gates
        for each in gate.evidence.get("worst", [])
    ]
    if groups:
        return [CardEntry(f"compared by slice: {', '.join(groups)}", record.reference)]
    return [CardEntry("no groups have been compared: no gate looked at slices", gap=True)]


def _metrics(record: ModelVersionRecord) -> list[CardEntry]:
    logged = [
        CardEntry(f"{name} = {value:.6g}", f"run:{record.run}" if record.run else record.reference)
        for name, value in sorted(record.metrics.items())
        if value is not None
    ]
    return logged or [CardEntry("its run logged no metrics", gap=True)]


def _evaluation(promotions: list[Promotion]) -> list[CardEntry]:
    for promotion in promotions:
        for gate in promotion.gates:
            for each in gate.evidence.get("metrics", []):
                said = (
                    f"{each['rows']} rows in {each['blocks']} blocks, the same for both models ({gate.name})"
                )
                return [CardEntry(said, promotion.reference)]
    return [CardEntry("no gate has compared it on evaluation rows", gap=True)]


def _training(registry: Registry, record: ModelVersionRecord) -> list[CardEntry]:
    entries = [CardEntry("trained on data of this version", reference) for reference in record.data]
    if record.model.reference_rows:
        kept = f"{record.model.reference_rows} of its rows are kept to compare with"
        entries.append(CardEntry(kept, record.reference))
    return entries or [CardEntry("the training data is not known", gap=True)]


def _analyses(promotions: list[Promotion]) -> list[CardEntry]:
    entries = []
    for promotion in promotions[:1]:
        for gate in promotion.gates:
            entries.append(CardEntry(f"{gate.name}: {gate.reason}", promotion.reference))
            for each in gate.evidence.get("metrics", []):
                if each["low"] is not None:
                    interval = (
                        f"gain {each['gain']:+.4f}, 95 % interval [{each['low']:+.4f}, {each['high']:+.4f}]"
                    )
                    entries.append(
                        CardEntry(
                            f"{each['metric']} {each['candidate']:.4f}: {interval}", promotion.reference
                        )
                    )
    return entries or [CardEntry("no gates have been asked yet", gap=True)]
