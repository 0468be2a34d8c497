// The pictures of this visit: thumbnails in memory, newest first, each for as long as its picture lives.

const FAREWELL_MS = 1600;

export class Visit {
  constructor(section, onChosen) {
    this.section = section;
    this.list = section.querySelector("ol");
    this.entries = new Map();
    this.onChosen = onChosen;
  }

  get pictures() { return [...this.entries.keys()]; }

  add(picture) {
    if (this.entries.has(picture)) return;
    const image = Object.assign(new Image(), { src: picture.source, alt: picture.order.prompt });
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const entry = document.createElement("li");
    button.append(image);
    button.addEventListener("click", () => this.onChosen(picture));
    entry.append(button);
    this.list.prepend(entry);
    this.entries.set(picture, entry);
    this.section.hidden = false;
  }

  mark(shown) {
    for (const [picture, entry] of this.entries) {
      entry.firstElementChild.setAttribute("aria-pressed", String(shown.includes(picture)));
    }
  }

  drop(picture) {
    const entry = this.entries.get(picture);
    if (!entry) return;
    this.entries.delete(picture);
    entry.classList.add("gone");
    entry.firstElementChild.disabled = true;
    setTimeout(() => {
      entry.remove();
      this.section.hidden = this.entries.size === 0;
    }, FAREWELL_MS);
  }
}
