// Elements. Text of others goes in as text only: there is no way through here to HTML.

/** An element with attributes (`false` and `null` leave one out) and children, which are nodes or text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** The element with this ID, which index.html has. */
export function byId(id) {
  return document.getElementById(id);
}

/** A sentence in an element that is only there while there is one. */
export function tell(place, sentence) {
  place.hidden = !sentence;
  // Only a change is written, because a screen reader reads out every one.
  if (place.textContent !== (sentence ?? "")) place.textContent = sentence ?? "";
}

/** A button that runs something. */
export function button(label, attributes, run) {
  const made = element("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", run);
  return made;
}

/** A button that copies text, and says so. */
export function copyButton(label, text) {
  const made = button(label, { class: "quiet" }, async () => {
    try {
      await navigator.clipboard.writeText(text());
      made.textContent = "Copied";
    } catch {
      made.textContent = "The browser does not let it";
    }
    setTimeout(() => {
      made.textContent = label;
    }, 1500);
  });
  return made;
}

/** A sentence in which `code` stands in back-ticks, as nodes. */
export function marked(sentence) {
  return sentence.split("`").map((part, place) => (place % 2 === 1 ? element("code", {}, part) : part));
}
