import { toast } from "./toast";

/** Copies text, also where the page is not served over HTTPS (a colleague's machine in the local network). */
export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(`Copied ${text.length > 60 ? `${text.slice(0, 57)}…` : text}`);
}

/** `<button data-copy="…">` copies its text. */
export function enableCopying(): void {
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-copy]") : null;
    if (button === null) return;
    event.preventDefault();
    void copy(button.dataset["copy"] ?? "");
  });
}

/** The reference a reader means by pressing `c`: of the chip or row that has the focus, else of the page. */
export function meantReference(): string | undefined {
  const focused = document.activeElement?.closest<HTMLElement>("[data-ref]");
  return focused?.dataset["ref"] ?? document.querySelector<HTMLElement>("main[data-ref]")?.dataset["ref"];
}
