// Parts that stay up to date: `<div id="state" data-live="/…/events">`. All parts with one address share one stream
// (browsers allow six connections). An event named like a part's id carries its new HTML; the event `refresh` means
// that the page is fetched again and its live parts are exchanged; a part with `data-news` is only told (`everloop:news`) and
// sees to itself. A hidden tab listens to nothing.

type Enliven = (part: HTMLElement) => void;

function exchange(part: HTMLElement, html: string, enliven: Enliven): void {
  if (part.innerHTML === html || part.contains(document.activeElement)) return;
  part.innerHTML = html;
  part.dispatchEvent(new CustomEvent("everloop:swap", { bubbles: true }));
  enliven(part);
}

function parts(address?: string): HTMLElement[] {
  const all = [...document.querySelectorAll<HTMLElement>("[data-live][id]")];
  return address === undefined ? all : all.filter((part) => part.dataset["live"] === address);
}

async function refresh(address: string, enliven: Enliven): Promise<void> {
  const told = parts(address).filter((part) => part.dataset["news"] !== undefined);
  for (const part of told) part.dispatchEvent(new CustomEvent("everloop:news"));
  if (told.length === parts(address).length) return;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of parts(address)) {
    const replacement = fresh.getElementById(part.id);
    if (replacement !== null && part.dataset["news"] === undefined) exchange(part, replacement.innerHTML, enliven);
  }
}

export function enableLive(enliven: Enliven): void {
  const streams = new Map<string, EventSource>();

  function open(): void {
    for (const address of new Set(parts().map((part) => part.dataset["live"] ?? ""))) {
      if (address === "" || streams.has(address)) continue;
      // What happened since the page was made, and before this stream is open, is told too.
      const after = `${address.includes("?") ? "&" : "?"}after=${document.body.dataset["asOf"] ?? ""}`;
      const stream = new EventSource(address + after);
      streams.set(address, stream);
      let waiting: number | undefined;
      stream.addEventListener("refresh", () => {
        window.clearTimeout(waiting);
        waiting = window.setTimeout(() => void refresh(address, enliven), 250);
      });
      stream.addEventListener("end", () => close(address));
      for (const part of parts(address)) {
        stream.addEventListener(part.id, (event) => {
          const now = document.getElementById(part.id);
          if (now !== null) exchange(now, (event as MessageEvent<string>).data, enliven);
        });
      }
    }
  }

  function close(address: string): void {
    streams.get(address)?.close();
    // The key stays: a stream that said `end` is not opened again.
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      for (const [address, stream] of streams) {
        if (stream.readyState !== EventSource.CLOSED) {
          stream.close();
          streams.delete(address);
        }
      }
    } else {
      open();
    }
  });
  addEventListener("pagehide", () => streams.forEach((stream) => stream.close()));
  open();
}
