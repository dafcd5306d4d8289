// The order of all runs of a table, and which lines it has when some groups and parents are folded.

export interface Spread {
  runs: number;
  mean: number | null;
  min: number | null;
  max: number | null;
}

export interface Group {
  value: string | null;
  first: number;
  runs: number;
  spreads: Spread[];
}

/** As `everloop.domain.listing.Outline` writes it. */
export interface Outline {
  run_ids: string[];
  matching: number;
  depths: number[];
  context: number[];
  groups: Group[];
}

/** One line of the table: the head of a group, or a run. */
export type Line = { group: number } | { run: number };

export const groupKey = (group: Group): string => `group ${group.value ?? ""}`;

/** The lines that are there while `folded` groups (by `groupKey`) and parents (by identifier) are closed. */
export function linesOf(outline: Outline, folded: ReadonlySet<string>): Line[] {
  const lines: Line[] = [];
  const stretches = outline.groups.length > 0 ? outline.groups : [null];
  for (const [number, group] of stretches.entries()) {
    if (group !== null) {
      lines.push({ group: number });
      if (folded.has(groupKey(group))) continue;
    }
    const [from, to] = group === null ? [0, outline.run_ids.length] : [group.first, group.first + group.runs];
    let hiddenBelow = Infinity;
    for (let at = from; at < to; at += 1) {
      const depth = outline.depths[at] ?? 0;
      if (depth > hiddenBelow) continue;
      hiddenBelow = folded.has(outline.run_ids[at] ?? "") ? depth : Infinity;
      lines.push({ run: at });
    }
  }
  return lines;
}

/** Whether something stands below a run in this outline. */
export function isParent(outline: Outline, at: number): boolean {
  return (outline.depths[at + 1] ?? 0) > (outline.depths[at] ?? 0);
}
