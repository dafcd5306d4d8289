// Draws every `<figure data-plot>` from the JSON beside it. Loaded only by pages that show a plot.
import { BarChart, BoxplotChart, CustomChart, HeatmapChart, LineChart, ParallelChart, ScatterChart } from "echarts/charts";
import {
  DataZoomInsideComponent,
  GridComponent,
  LegendScrollComponent,
  MarkLineComponent,
  ParallelComponent,
  TooltipComponent,
  VisualMapContinuousComponent,
} from "echarts/components";
import type { EChartsType } from "echarts/core";
import { init, use } from "echarts/core";
import { CanvasRenderer, SVGRenderer } from "echarts/renderers";
import { barPlot, boxPlot, linePlot, stepsPlot } from "./cartesian";
import { csvOf, download, pngOf, svgOf } from "./export";
import { forestPlot, heatmapPlot, parallelPlot } from "./grids";
import { currentLook, type Look } from "./look";
import type { Option } from "./parts";
import type { Spec } from "./spec";

use([
  BarChart,
  BoxplotChart,
  CanvasRenderer,
  CustomChart,
  DataZoomInsideComponent,
  GridComponent,
  HeatmapChart,
  LegendScrollComponent,
  LineChart,
  MarkLineComponent,
  ParallelChart,
  ParallelComponent,
  ScatterChart,
  SVGRenderer,
  TooltipComponent,
  VisualMapContinuousComponent,
]);

function optionOf(spec: Spec, look: Look, smoothing: number): Option {
  switch (spec.kind) {
    case "line":
    case "scatter":
      return linePlot(spec, look, smoothing);
    case "bar":
      return barPlot(spec, look);
    case "steps":
      return stepsPlot(spec, look);
    case "heatmap":
      return heatmapPlot(spec, look);
    case "parallel":
      return parallelPlot(spec, look);
    case "forest":
      return forestPlot(spec, look);
    case "box":
      return boxPlot(spec, look);
  }
}

/** The same plot with logarithmic axes where the reader wants them. What is not above zero has no place on them. */
function withLog(spec: Spec, logX: boolean, logY: boolean): Spec {
  if (spec.kind !== "line" && spec.kind !== "scatter") return spec;
  return {
    ...spec,
    x: logX ? { ...spec.x, type: "log" } : spec.x,
    y: logY ? { ...spec.y, type: "log" } : spec.y,
    series: spec.series.map((series) => ({
      ...series,
      points: series.points.map(([at, value]) => [
        logX && !(Number(at) > 0) ? NaN : at,
        logY && value !== null && value <= 0 ? null : value,
      ]),
    })),
  };
}

/** How much lines are smoothed, 0 to 0.99: what the page's slider says. */
function smoothingNow(): number {
  return Number(document.querySelector<HTMLInputElement>("input[data-smooth]")?.value ?? 0);
}

class Plot {
  readonly #figure: HTMLElement;
  readonly #spec: Spec;
  readonly #chart: EChartsType;
  #logX = false;
  #logY = false;

  constructor(figure: HTMLElement, canvas: HTMLElement, spec: Spec) {
    this.#figure = figure;
    this.#spec = spec;
    this.#chart = init(canvas, null, { renderer: "canvas" });
    this.#addTools();
    this.draw();
    if (spec.kind === "scatter") {
      this.#chart.on("click", ({ seriesIndex, dataIndex }: { seriesIndex?: number; dataIndex: number }) => {
        const href = spec.series[seriesIndex ?? 0]?.hrefs?.[dataIndex];
        if (href !== undefined) location.assign(href);
      });
    }
    new ResizeObserver(() => this.#chart.resize()).observe(canvas);
  }

  get smooths(): boolean {
    return this.#spec.kind === "line" && this.#spec.smooths === true;
  }

  get connected(): boolean {
    return this.#figure.isConnected;
  }

  dispose(): void {
    this.#chart.dispose();
  }

  #option(): Option {
    return optionOf(withLog(this.#spec, this.#logX, this.#logY), currentLook(), smoothingNow());
  }

  draw(): void {
    this.#chart.setOption(this.#option(), { notMerge: true });
  }

  #addTools(): void {
    const tools = document.createElement("div");
    tools.className = "tools";
    const name = this.#spec.name ?? this.#figure.querySelector("figcaption")?.firstChild?.textContent?.trim() ?? "plot";
    const file = name.replaceAll(/[^\w.-]+/g, "-").toLowerCase();
    const ground = (): string => currentLook().surface;
    const add = (label: string, title: string, act: (button: HTMLButtonElement) => void): void => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.title = title;
      button.ariaLabel = `${title}: ${name}`;
      button.addEventListener("click", () => act(button));
      tools.append(button);
    };
    if (this.#spec.kind === "line" || this.#spec.kind === "scatter") {
      add("log", "Logarithmic y axis", (button) => {
        this.#logY = !this.#logY;
        button.ariaPressed = String(this.#logY);
        this.draw();
      });
      if (this.#spec.x.type === undefined || this.#spec.x.type === "number") {
        add("log x", "Logarithmic x axis", (button) => {
          this.#logX = !this.#logX;
          button.ariaPressed = String(this.#logX);
          this.draw();
        });
      }
    }
    add("PNG", "Save as PNG", () => download(`${file}.png`, pngOf(this.#chart, ground())));
    add("SVG", "Save as SVG", () =>
      download(`${file}.svg`, svgOf(this.#option(), this.#chart.getWidth(), this.#chart.getHeight(), ground())),
    );
    add("CSV", "Save the points as CSV", () => download(`${file}.csv`, csvOf(this.#spec)));
    this.#figure.append(tools);
  }
}

let plots: Plot[] = [];

export function drawPlots(part: ParentNode): void {
  for (const gone of plots.filter((plot) => !plot.connected)) gone.dispose();
  plots = plots.filter((plot) => plot.connected);
  for (const figure of part.querySelectorAll<HTMLElement>("figure[data-plot]:not([data-drawn])")) {
    const source = figure.querySelector("script[type='application/json']")?.textContent;
    const canvas = figure.querySelector<HTMLElement>(".canvas");
    if (!source || canvas === null) continue;
    figure.dataset["drawn"] = "";
    try {
      plots.push(new Plot(figure, canvas, JSON.parse(source) as Spec));
    } catch (error) {
      canvas.classList.add("wrong");
      canvas.textContent = "This plot could not be drawn; the page's other parts are not affected.";
      console.error("plot", figure.id, error);
    }
  }
}

document.addEventListener("everloop:theme", () => {
  for (const plot of plots) plot.draw();
});

let settling: number | undefined;

document.addEventListener("input", (event) => {
  const slider = event.target;
  if (!(slider instanceof HTMLInputElement) || slider.dataset["smooth"] === undefined) return;
  for (const plot of plots) if (plot.smooths) plot.draw();
  window.clearTimeout(settling);
  settling = window.setTimeout(() => {
    const address = new URL(location.href);
    if (Number(slider.value) > 0) address.searchParams.set("smooth", slider.value);
    else address.searchParams.delete("smooth");
    history.replaceState(history.state, "", address);
  }, 300);
});
