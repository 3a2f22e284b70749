// Elements. Text is inserted as text only, never as HTML.

/** An element with attributes (`false` and `null` omit one) and children, which are nodes or text. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The element with this ID, which index.html has. */
export function byId(id) {
  return document.getElementById(id);
}

/** A sentence in an element that is only there while there is one. */
export function tell(place, sentence) {
  place.hidden = !sentence;
  // Written only if it changed, because screen readers announce every write.
  if (place.textContent !== (sentence ?? "")) place.textContent = sentence ?? "";
}

/** A button that runs something. */
export function button(label, attributes, run) {
  const node = element("button", { type: "button", ...attributes }, label);
  node.addEventListener("click", run);
  return node;
}

/** A button that copies text, and says so. */
export function copyButton(label, text) {
  const node = button(label, { class: "quiet" }, async () => {
    try {
      await navigator.clipboard.writeText(text());
      node.textContent = "Copied";
    } catch {
      node.textContent = "Blocked by the browser";
    }
    setTimeout(() => {
      node.textContent = label;
    }, 1500);
  });
  return node;
}

/** A sentence with `code` in back-ticks, as nodes. */
export function marked(sentence) {
  return sentence.split("`").map((part, place) => (place % 2 === 1 ? element("code", {}, part) : part));
}
