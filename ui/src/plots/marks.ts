// What happened, on a time axis: an upright line for each mark, its sign at the top, its words beside the line where there is room.
// Signs that would touch become one; words that find no free row are left out, since hovering says them all.
import type { Look } from "./look";
import { faded } from "./look";
import type { Option } from "./parts";
import type { Mark, Place } from "./spec";

type Kind = NonNullable<Mark["kind"]>;

/** The louder first: of marks that share a sign, its colour is the loudest's. */
const KINDS: Kind[] = ["alert", "retrain", "deployment", "note"];
const SIGNS: Record<Kind, string> = { deployment: "▲", alert: "!", retrain: "↻", note: "•" };
const SIGN = 12;
const ROW = 14;
const LETTER = 6.1;
const MOST_ROWS = 3;
const MOST_LETTERS = 30;
const GAP = 6;
/** Words may cover at most this share of a plot's height. */
const SHARE = 0.3;

interface Area {
  coordSys: { x: number; y: number; width: number; height: number };
  dataIndexInside: number;
}
interface RenderApi {
  coord(point: [Place, number]): [number, number];
}

/** Marks whose signs share one place. x: of its first line; left, right: of its signs. */
interface Cluster {
  marks: Mark[];
  lines: number[];
  left: number;
  right: number;
}

interface Words {
  text: string;
  row: number;
  left: number;
  cluster: Cluster;
}

export function kindOf(mark: Mark): Kind {
  return mark.kind ?? "note";
}

function signsOf(cluster: Cluster): Kind[] {
  return KINDS.filter((kind) => cluster.marks.some((mark) => kindOf(mark) === kind));
}

/** Signs in order of place, those that would touch put together, all within the plot. */
export function clustered(marks: { mark: Mark; x: number }[], from: number, to: number): Cluster[] {
  const found: Cluster[] = [];
  for (const { mark, x } of [...marks].sort((a, b) => a.x - b.x)) {
    let fresh: Cluster = { marks: [mark], lines: [x], left: 0, right: 0 };
    for (;;) {
      const middle = ((fresh.lines[0] ?? x) + (fresh.lines.at(-1) ?? x)) / 2;
      const width = SIGN * signsOf(fresh).length;
      fresh.left = Math.max(from, Math.min(to - width, middle - width / 2));
      fresh.right = fresh.left + width;
      const before = found.at(-1);
      if (before === undefined || before.right <= fresh.left) break;
      found.pop();
      fresh = { marks: [...before.marks, ...fresh.marks], lines: [...before.lines, ...fresh.lines], left: 0, right: 0 };
    }
    found.push(fresh);
  }
  return found;
}

/** Words of clusters on the first row where nothing is in their way, on the right of their line or else on its left. */
export function worded(clusters: Cluster[], from: number, to: number, rows: number): Words[] {
  const taken: [number, number][][] = Array.from({ length: rows }, () => []);
  const found: Words[] = [];
  for (const cluster of clusters) {
    const all = [...new Set(cluster.marks.map((mark) => mark.label))].join(", ");
    const text = all.length > MOST_LETTERS ? `${all.slice(0, MOST_LETTERS - 1)}…` : all;
    const width = text.length * LETTER + 4;
    const [first, last] = [cluster.lines[0] ?? 0, cluster.lines.at(-1) ?? 0];
    const place = [last + 4, first - 4 - width]
      .filter((left) => left >= from && left + width <= to)
      .flatMap((left) => taken.map((row, index) => ({ left, row, index })))
      .find(({ left, row }) => row.every(([start, end]) => left + width + GAP <= start || end + GAP <= left));
    if (place === undefined) continue;
    place.row.push([place.left, place.left + width]);
    found.push({ text, row: place.index, left: place.left, cluster });
  }
  return found;
}

/** The marks as a series of their own: laid out anew for every width and zoom, since it is drawn in pixels. `anchor` is one of the
 *  points that were measured: a series needs one, and this one makes neither axis longer. */
export function markSeries(marks: Mark[], anchor: [Place, number | null] | undefined, look: Look): Option[] {
  if (marks.length === 0 || anchor === undefined) return [];
  const colours: Record<Kind, string> = { deployment: look.accent, alert: look.bad, retrain: look.good, note: look.muted };
  const draw = (area: Area, api: RenderApi): Option | null => {
    if (area.dataIndexInside !== 0) return null;
    const { x: from, y: top, width, height } = area.coordSys;
    const to = from + width;
    const shown = marks
      .map((mark) => ({ mark, x: api.coord([mark.at, 0])[0] }))
      .filter(({ x }) => x >= from - 0.5 && x <= to + 0.5);
    const clusters = clustered(shown, from, to);
    const rows = Math.max(1, Math.min(MOST_ROWS, Math.floor((height * SHARE) / ROW)));
    const words = worded(clusters, from, to, rows);
    const font = `11px ${look.font}`;
    return {
      type: "group",
      children: [
        ...shown.map(({ mark, x }) => ({
          type: "line",
          shape: { x1: x, y1: top, x2: x, y2: top + height },
          style: { stroke: colours[kindOf(mark)], lineWidth: 1.25, lineDash: kindOf(mark) === "alert" ? [] : [4, 3] },
        })),
        ...clusters.flatMap((cluster) =>
          signsOf(cluster).map((kind, index) => ({
            type: "text",
            style: {
              text: SIGNS[kind],
              x: cluster.left + SIGN * (index + 0.5),
              y: top + 2,
              align: "center",
              verticalAlign: "top",
              fill: colours[kind],
              font: `bold ${font}`,
              backgroundColor: faded(look.surface, 0.85),
            },
          })),
        ),
        ...words.map(({ text, row, left, cluster }) => ({
          type: "text",
          style: {
            text,
            x: left,
            y: top + 2 + (row + 1) * ROW,
            verticalAlign: "top",
            fill: colours[signsOf(cluster)[0] ?? "note"],
            font,
            backgroundColor: faded(look.surface, 0.85),
            padding: [0, 2],
          },
        })),
      ],
    };
  };
  return [
    {
      type: "custom",
      silent: true,
      tooltip: { show: false },
      data: [anchor],
      renderItem: draw,
      z: 4,
    },
  ];
}

/** What happened near a place that is pointed at: words for the hover. `reach` is how far away still counts. */
export function marksNear(marks: Mark[], place: Place, reach: number): Mark[] {
  return marks.filter((mark) => Math.abs(Number(mark.at) - Number(place)) <= reach);
}

/** The sign and the words of a mark, in one line. */
export function said(mark: Mark): string {
  return `${SIGNS[kindOf(mark)]} ${mark.label}`;
}
