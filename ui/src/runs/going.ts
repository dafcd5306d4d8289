// From one state of the page to another without leaving it: the part #runs is fetched and exchanged, the address follows.

let enliven: (part: HTMLElement) => void = () => undefined;
let newest = 0;

/** Goes to another state of this page. `keep`: the history already stands there (the reader went back). */
export async function goTo(address: URL | string, keep = false): Promise<void> {
  const there = new URL(address, location.href);
  if (!keep) for (const momentary of ["page", "deleted", "restored", "purged"]) there.searchParams.delete(momentary);
  const mine = (newest += 1);
  const part = document.getElementById("runs");
  part?.setAttribute("aria-busy", "true");
  const response = await fetch(there, { headers: { Accept: "text/html" } }).catch(() => null);
  if (mine !== newest) return; // the reader has asked for something else since
  const text = response === null ? "" : await response.text();
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const replacement = fresh.getElementById("runs");
  if (part === null || replacement === null || mine !== newest) {
    location.assign(there);
    return;
  }
  if (!keep) history.pushState(null, "", there);
  const focused = focusOf(part);
  const open = part.querySelector("details.chooser")?.hasAttribute("open") ?? false;
  part.dispatchEvent(new CustomEvent("everloop:gone"));
  part.replaceWith(replacement);
  for (const outside of ["header.head .actions", "footer.command"]) {
    const [now, then] = [document.querySelector(outside), fresh.querySelector(outside)];
    if (now !== null && then !== null) now.replaceWith(then);
  }
  document.title = fresh.title;
  if (open && replacement.querySelector("details.chooser") === null) focused.name = "";
  enliven(replacement);
  focusAgain(replacement, focused);
}

interface Focus {
  name: string;
  at: number | null;
}

/** Which field has the focus, and where in it the reader is. */
function focusOf(part: HTMLElement): Focus {
  const field = document.activeElement;
  if (!(field instanceof HTMLInputElement || field instanceof HTMLSelectElement) || !part.contains(field)) {
    return { name: "", at: null };
  }
  return { name: field.name, at: field instanceof HTMLInputElement && field.type === "text" ? field.selectionStart : null };
}

function focusAgain(part: HTMLElement, { name, at }: Focus): void {
  if (name === "") return;
  const field = part.querySelector<HTMLInputElement>(`[data-filters] [name="${CSS.escape(name)}"]`);
  field?.focus({ preventScroll: true });
  if (at !== null) field?.setSelectionRange(at, at);
}

/** Links and the filter within the part go without leaving the page. */
export function enableGoing(revive: (part: HTMLElement) => void): void {
  enliven = revive;
  const path = location.pathname;
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const link = event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a[href]") : null;
    if (link === null || link.closest("#runs") === null || link.hasAttribute("download")) return;
    if (link.pathname !== path || link.origin !== location.origin) return;
    event.preventDefault();
    void goTo(link.href);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target as HTMLFormElement;
    if (!form.matches("form[data-filters]")) return;
    event.preventDefault();
    const address = new URL(form.action, location.href);
    for (const [name, value] of new FormData(form)) {
      if (typeof value === "string" && value !== "") address.searchParams.append(name, value);
    }
    void goTo(address);
  });
  document.addEventListener("change", (event) => {
    const field = event.target;
    const chooses = field instanceof HTMLSelectElement || (field instanceof HTMLInputElement && field.type === "checkbox");
    if (chooses && field.form?.matches("form[data-filters]")) field.form.requestSubmit();
  });
  addEventListener("popstate", () => void goTo(location.href, true));
}
