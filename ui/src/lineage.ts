// The graph of what came from what: columns from left to right, real links, searchable. Beyond fifty nodes a column shows
// its first ones and a node "n more"; in the explorer the server decides what is shown, and a sign beside a node asks for more.
import { toast } from "./toast";

/** Neighbours that are not shown, and the address that shows more of them. */
interface Beyond {
  count: number;
  href: string;
}

interface GraphNode {
  id: string;
  label: string;
  kind: string;
  column: number;
  href?: string;
  state?: "good" | "warn" | "bad" | "live" | "";
  /** The node the page is about. */
  focus?: boolean;
  /** More than its name says, on hover. */
  title?: string;
  above?: Beyond;
  below?: Beyond;
}

interface Graph {
  columns: string[];
  nodes: GraphNode[];
  /** From, to, and a word for what is drawn in another way: "through" hidden objects. */
  edges: [string, string, string?][];
  /** Every node is shown, however many there are. */
  whole?: boolean;
}

/** Where an edge that passes by columns goes through one of them. */
interface Bend extends GraphNode {
  bend: true;
}

interface Placed extends GraphNode {
  x: number;
  y: number;
  /** Stands for this many nodes of its column. */
  more?: number;
}

const HEIGHT = 40;
const GAP_Y = 12;
/** Room for an edge that passes by. */
const PASSING = 10;
const TOP = 28;
const MOST = 50;

function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | number>,
  ...children: (Node | string)[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** The middle of a long name says least. */
function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  const tail = Math.floor((most - 1) / 2);
  return `${text.slice(0, most - 1 - tail)}…${text.slice(text.length - tail)}`;
}

/** Edges that pass by columns get a place in each of them, so that they run between the nodes and not behind them. Those with
    one beginning, or one end, run together: whichever makes fewer lines. */
function withBends(graph: Graph): { graph: Graph; ways: Map<number, string[]> } {
  const column = new Map(graph.nodes.map((node) => [node.id, node.column]));
  const nodes = new Map<string, GraphNode | Bend>(graph.nodes.map((node) => [node.id, node]));
  const edges: Graph["edges"] = [];
  const ways = new Map<number, string[]>();
  const long = graph.edges.filter(([from, to]) => (column.get(to) ?? 0) - (column.get(from) ?? 0) > 1);
  const count = (which: 0 | 1, id: string): number => long.filter((edge) => edge[which] === id).length;
  graph.edges.forEach(([from, to], number) => {
    const [start, end] = [column.get(from) ?? 0, column.get(to) ?? 0];
    let before = from;
    const way: string[] = [];
    const bundle = end - start > 1 ? (count(1, to) > count(0, from) ? `to ${to}` : `from ${from}`) : "";
    for (let at = start + 1; at < end; at += 1) {
      const id = `${at} ${bundle}`;
      nodes.set(id, { id, label: "", kind: "", column: at, bend: true });
      edges.push([before, id]);
      way.push(id);
      before = id;
    }
    edges.push([before, to]);
    ways.set(number, way);
  });
  return { graph: { ...graph, nodes: [...nodes.values()], edges }, ways };
}

/** Orders every column so that nodes stand near what they are connected with (barycentres, four sweeps). */
function ordered(graph: Graph): (GraphNode | Bend)[][] {
  const columns = graph.columns.map((_, column) => graph.nodes.filter((node) => node.column === column));
  const neighbours = new Map<string, string[]>();
  for (const [from, to] of graph.edges) {
    neighbours.set(from, [...(neighbours.get(from) ?? []), to]);
    neighbours.set(to, [...(neighbours.get(to) ?? []), from]);
  }
  for (let sweep = 0; sweep < 4; sweep += 1) {
    const place = new Map(columns.flatMap((column) => column.map((node, at) => [node.id, at / column.length] as const)));
    for (const column of columns) {
      const weight = (node: GraphNode): number => {
        const known = (neighbours.get(node.id) ?? []).flatMap((id) => place.get(id) ?? []);
        return known.length > 0 ? known.reduce((sum, at) => sum + at, 0) / known.length : (place.get(node.id) ?? 0);
      };
      const weights = new Map(column.map((node) => [node.id, weight(node)]));
      column.sort((a, b) => (weights.get(a.id) ?? 0) - (weights.get(b.id) ?? 0));
    }
  }
  return columns;
}

function draw(graph: Graph, room: number, opened: Set<number>, reopen: (column: number) => void): SVGSVGElement {
  // The columns share the width there is; narrower than readable, and the graph scrolls.
  const opens = graph.nodes.some((node) => node.above ?? node.below);
  const margin = opens ? 44 : 0;
  const pitch = Math.min(240, Math.max(opens ? 208 : 124, (room + 32 - 2 * margin) / graph.columns.length));
  const gap = opens ? 76 : Math.round(pitch * 0.2);
  const wide = Math.floor(pitch - gap);
  // Folded columns have no room for edges that pass by.
  const { graph: bent, ways } = graph.whole ? withBends(graph) : { graph, ways: new Map<number, string[]>() };
  const columns = ordered(bent);
  const heightOf = (box: GraphNode | Bend): number => ("bend" in box ? PASSING : HEIGHT + GAP_Y);
  const crowded = !graph.whole && graph.nodes.length > MOST;
  const share = Math.max(3, Math.floor(MOST / graph.columns.length));
  const placed = new Map<string, Placed>();
  const standIn = new Map<string, string>();
  let tallest = 0;
  columns.forEach((nodes, column) => {
    const all = !crowded || opened.has(column) || nodes.length <= share + 1;
    const first = [...nodes].sort((a, b) => Number(b.focus ?? false) - Number(a.focus ?? false)).slice(0, share);
    const shown = all ? nodes : nodes.filter((node) => first.includes(node));
    const rest = nodes.filter((node) => !shown.includes(node));
    const boxes: Placed[] = shown.map((node) => ({ ...node, x: 0, y: 0 }));
    if (rest.length > 0) {
      const id = `more-${column}`;
      boxes.push({ id, label: `${rest.length} more`, kind: "show", column, x: 0, y: 0, more: rest.length });
      for (const node of rest) standIn.set(node.id, id);
    }
    let y = TOP;
    for (const box of boxes) {
      box.x = margin + column * (wide + gap) + 1;
      box.y = y;
      y += heightOf(box);
      placed.set(box.id, box);
    }
    tallest = Math.max(tallest, y - TOP);
  });
  // Columns are centred on one line, so that a chain of single nodes is straight.
  const full = tallest - GAP_Y;
  graph.columns.forEach((_, column) => {
    const boxes = [...placed.values()].filter((box) => box.column === column);
    const own = boxes.reduce((sum, box) => sum + heightOf(box), -GAP_Y);
    for (const box of boxes) box.y += (full - own) / 2;
  });

  const width = graph.columns.length * (wide + gap) - gap + 2 + 2 * margin;
  const height = TOP + full + 8;
  const drawing = svg("svg", { class: "graph", width, height, viewBox: `0 0 ${width} ${height}` });
  graph.columns.forEach((name, column) => {
    drawing.append(svg("text", { class: "column-name", x: margin + column * (wide + gap) + 1, y: 14 }, name));
  });
  const resolve = (id: string): Placed | undefined => placed.get(standIn.get(id) ?? id);
  const drawn = new Set<string>();
  for (const [number, [fromId, toId, how]] of graph.edges.entries()) {
    const [from, to] = [resolve(fromId), resolve(toId)];
    if (from === undefined || to === undefined || from === to || drawn.has(`${from.id}>${to.id}`)) continue;
    drawn.add(`${from.id}>${to.id}`);
    let [x, y] = [from.x + wide, from.y + HEIGHT / 2];
    let path = `M${x} ${y}`;
    const curve = (toX: number, toY: number): void => {
      const bend = Math.max(16, Math.abs(toX - x) / 2);
      path += `C${x + bend} ${y} ${toX - bend} ${toY} ${toX} ${toY}`;
      [x, y] = [toX, toY];
    };
    for (const id of ways.get(number) ?? []) {
      const by = placed.get(id);
      if (by === undefined) continue;
      curve(by.x, by.y + PASSING / 2);
      x = by.x + wide;
      path += `H${x}`;
    }
    curve(to.x, to.y + HEIGHT / 2);
    drawing.append(
      svg("path", {
        class: how === undefined ? "edge" : `edge ${how}`,
        "data-from": from.id,
        "data-to": to.id,
        d: path,
      }),
    );
  }
  for (const box of placed.values()) {
    if ("bend" in box) continue;
    const name = svg("text", { class: "label", x: box.x + 12, y: box.y + 17 }, cut(box.label, Math.floor((wide - 30) / 7.2)));
    const kind = svg("text", { class: "kind", x: box.x + 12, y: box.y + 32 }, cut(box.kind, Math.floor((wide - 20) / 5.6)));
    const group = svg(
      "g",
      { class: ["node", box.state ?? "", box.focus ? "focus" : "", box.more ? "more" : ""].join(" ").trim(), "data-id": box.id },
      svg("title", {}, [box.kind, box.label, box.title].filter(Boolean).join(" ")),
      svg("rect", { x: box.x, y: box.y, width: wide, height: HEIGHT, rx: 5 }),
      name,
      kind,
    );
    if (box.state) group.append(svg("circle", { class: "state", cx: box.x + wide - 13, cy: box.y + 13, r: 3.5 }));
    if (box.more) {
      group.setAttribute("tabindex", "0");
      group.setAttribute("role", "button");
      const show = (): void => reopen(box.column);
      group.addEventListener("click", show);
      group.addEventListener("keydown", (event) => event.key === "Enter" && show());
    }
    drawing.append(box.href ? svg("a", { href: box.href }, group) : group);
    if (box.above) drawing.append(beyond(box, box.above, "above", box.x - 4));
    if (box.below) drawing.append(beyond(box, box.below, "below", box.x + wide + 4));
  }
  traceOnHover(
    drawing,
    graph.edges.map(([from, to]): [string, string] => [standIn.get(from) ?? from, standIn.get(to) ?? to]),
  );
  return drawing;
}

/** The sign for neighbours that are not shown: before its node (`above` it in the lineage) or after it. */
function beyond(box: Placed, more: Beyond, side: "above" | "below", edge: number): SVGAElement {
  const text = `+${more.count > 999 ? `${Math.round(more.count / 1000)}k` : more.count}`;
  const wide = 10 + 7 * text.length;
  const x = side === "above" ? edge - wide : edge;
  const said = side === "above" ? `${more.count} more that it came from` : `${more.count} more that came of it`;
  const sign = svg(
    "a",
    { href: more.href, class: `opens ${side}`, "data-for": box.id, "aria-label": `${box.label}: ${said}` },
    svg("title", {}, said),
    svg("rect", { x, y: box.y + HEIGHT / 2 - 10, width: wide, height: 20, rx: 10 }),
    svg("text", { x: x + wide / 2, y: box.y + HEIGHT / 2 + 4, "text-anchor": "middle" }, text),
  );
  return sign;
}

/** Pointing at a node shows all it came from and all that came from it. */
function traceOnHover(drawing: SVGSVGElement, edges: [string, string][]): void {
  const reach = (start: string, from: 0 | 1): Set<string> => {
    const seen = new Set([start]);
    const waiting = [start];
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
      for (const edge of edges) {
        const next = edge[from === 0 ? 1 : 0];
        if (edge[from] === id && !seen.has(next)) {
          seen.add(next);
          waiting.push(next);
        }
      }
    }
    return seen;
  };
  const trace = (id: string | undefined): void => {
    drawing.classList.toggle("traced", id !== undefined);
    if (id === undefined) return;
    const [down, up] = [reach(id, 0), reach(id, 1)];
    for (const node of drawing.querySelectorAll<SVGElement>(".node")) {
      const own = node.dataset["id"] ?? "";
      node.classList.toggle("on", down.has(own) || up.has(own));
    }
    for (const edge of drawing.querySelectorAll<SVGElement>(".edge")) {
      const [from, to] = [edge.dataset["from"] ?? "", edge.dataset["to"] ?? ""];
      edge.classList.toggle("on", (down.has(from) && down.has(to)) || (up.has(from) && up.has(to)));
    }
  };
  const idOf = (event: Event): string | undefined =>
    (event.target as Element).closest<SVGElement>(".node")?.dataset["id"] ??
    (event.target as Element).querySelector<SVGElement>(".node")?.dataset["id"];
  drawing.addEventListener("pointerover", (event) => {
    trace((event.target as Element).closest<SVGElement>(".node")?.dataset["id"]);
  });
  drawing.addEventListener("pointerleave", () => trace(undefined));
  drawing.addEventListener("focusin", (event) => trace(idOf(event)));
  drawing.addEventListener("focusout", () => trace(undefined));
}

function addSearch(figure: HTMLElement, graph: Graph, canvas: HTMLElement): void {
  const field = document.createElement("input");
  field.type = "search";
  field.className = "find";
  field.placeholder = "Find in the graph";
  field.ariaLabel = "Find in the graph";
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    const found = new Set(
      graph.nodes
        .filter((node) => `${node.kind} ${node.kind}:${node.label} ${node.label}`.toLowerCase().includes(wanted))
        .map((node) => node.id),
    );
    const drawing = canvas.querySelector("svg");
    drawing?.classList.toggle("traced", wanted !== "");
    for (const node of canvas.querySelectorAll<SVGElement>(".node")) {
      node.classList.toggle("on", found.has(node.dataset["id"] ?? ""));
    }
    for (const edge of canvas.querySelectorAll(".edge")) edge.classList.remove("on");
    if (wanted !== "") canvas.querySelector(".node.on")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  figure.querySelector("figcaption")?.append(field);
}

export function drawLineage(part: ParentNode): void {
  for (const figure of part.querySelectorAll<HTMLElement>("figure[data-lineage]:not([data-drawn])")) {
    const source = figure.querySelector("script[type='application/json']")?.textContent;
    const canvas = figure.querySelector<HTMLElement>(".canvas");
    if (!source || canvas === null) continue;
    figure.dataset["drawn"] = "";
    const graph = JSON.parse(source) as Graph;
    const opened = new Set<number>();
    const show = (): void => {
      canvas.replaceChildren(
        draw(graph, canvas.clientWidth, opened, (column) => {
          opened.add(column);
          show();
        }),
      );
    };
    show();
    const focus = canvas.querySelector<SVGGraphicsElement>(".node.focus");
    if (focus !== null) {
      const { x, y, width, height } = focus.getBBox();
      canvas.scrollTo(x + (width - canvas.clientWidth) / 2, y + (height - canvas.clientHeight) / 2);
    }
    if (graph.nodes.length > 12) addSearch(figure, graph, canvas);
  }
}

/** Where a node stands in the window, to keep it there when the picture grows. */
function placeOf(explorer: HTMLElement, id: string | undefined): DOMRect | undefined {
  if (id === undefined) return undefined;
  return explorer.querySelector(`.node[data-id="${CSS.escape(id)}"]`)?.getBoundingClientRect();
}

/** In the explorer, what opens, hides or goes a level further exchanges the picture and its table; the address follows. */
async function open(link: Element, explorer: HTMLElement): Promise<void> {
  const address = link.getAttribute("href") ?? "";
  const id = link.getAttribute("data-for") ?? explorer.querySelector(".node.focus")?.getAttribute("data-id") ?? undefined;
  const [before, label] = [placeOf(explorer, id), link.getAttribute("aria-label") ?? link.textContent];
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-explorer]");
  if (!answer.ok || fresh === null) {
    location.assign(address);
    return;
  }
  explorer.innerHTML = fresh.innerHTML;
  history.pushState({ explorer: true }, "", address);
  drawLineage(explorer);
  const [after, canvas] = [placeOf(explorer, id), explorer.querySelector(".canvas")];
  if (before !== undefined && after !== undefined && canvas !== null) {
    canvas.scrollBy(after.left - before.left, after.top - before.top);
  }
  const again = [...explorer.querySelectorAll<HTMLElement | SVGElement>("a")].find(
    (each) => (each.getAttribute("aria-label") ?? each.textContent) === label,
  );
  const node = id === undefined ? null : explorer.querySelector<SVGElement>(`.node[data-id="${CSS.escape(id)}"]`);
  (again ?? node?.closest<SVGElement>("a"))?.focus({ preventScroll: true });
  toast(`${explorer.querySelectorAll(".node").length} objects`);
}

document.addEventListener("click", (event) => {
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element).closest("a.opens, a[data-opens], .explore-tools a");
  const explorer = link?.closest<HTMLElement>("[data-explorer]");
  if (!link || !explorer) return;
  event.preventDefault();
  void open(link, explorer);
});
addEventListener("popstate", () => {
  if (document.querySelector("[data-explorer]") !== null) location.reload();
});
