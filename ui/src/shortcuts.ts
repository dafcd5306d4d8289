import { copy, meantReference } from "./copy";
import { moveInTable } from "./tables";

/** Typing into a field is never a shortcut. */
function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox], [type=radio])"))
  );
}

/** `/` searches, `g` and a letter goes to a room, `j` `k` space work in tables, `c` copies, `?` lists them. */
export function enableShortcuts(): void {
  let afterG = -Infinity;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape") (event.target as HTMLElement).blur();
      return;
    }
    if (document.querySelector("dialog[open]") !== null) return;

    if (event.timeStamp - afterG < 1500) {
      afterG = -Infinity;
      const room = document.querySelector<HTMLAnchorElement>(`a[data-room-key="${CSS.escape(event.key)}"]`);
      if (room !== null) {
        event.preventDefault();
        room.click();
      }
      return;
    }
    switch (event.key) {
      case "g":
        afterG = event.timeStamp;
        return;
      case "/":
        event.preventDefault();
        document.querySelector<HTMLInputElement>("[data-search]")?.select();
        return;
      case "?":
        event.preventDefault();
        document.querySelector<HTMLDialogElement>("#shortcuts")?.showModal();
        return;
      case "c": {
        const reference = meantReference();
        if (reference !== undefined) void copy(reference);
        return;
      }
      default:
        if (moveInTable(event.key, event.target)) event.preventDefault();
    }
  });
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest("[data-open-shortcuts]") !== null) {
      document.querySelector<HTMLDialogElement>("#shortcuts")?.showModal();
    }
  });
}
