// A secret that is shown once: until its owner says that they have it, the page holds it and warns whoever leaves.

export class Once {
  constructor(section, onKept) {
    this.section = section;
    this.onKept = onKept;
    addEventListener("beforeunload", (event) => { if (this.text) event.preventDefault(); });
  }

  show(text) {
    this.text = text;
    this.section.hidden = false;
    this.section.querySelector("h2").focus();
    this.section.scrollIntoView({ block: "nearest" });
  }

  async copy() {
    const button = this.section.querySelector("[data-act^=copy]");
    try {
      await navigator.clipboard.writeText(this.text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy it"; // no clipboard here: without https there is none
    }
  }

  kept() {
    this.text = null;
    this.section.hidden = true;
    this.onKept();
  }
}
