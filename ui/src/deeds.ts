// What a page changes is answered in the page, refusals too. Where the server says nothing that fits there, a word is due all the same.
import { toast } from "./toast";

export function enableDeeds(): void {
  document.addEventListener("htmx:responseError", () => toast("That was not done: load the page again."));
  document.addEventListener("htmx:sendError", () => toast("The server does not answer: nothing was done."));
}
