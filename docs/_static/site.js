// What Sphinx and furo leave out for those who read with the keyboard or with a screen reader.
"use strict";

// Whatever scrolls sideways on a page can be reached, and so scrolled, with the keyboard.
function reachable() {
  for (const one of document.querySelectorAll("article pre, article .table-wrapper")) {
    if (one.scrollWidth > one.clientWidth) {
      one.tabIndex = 0;
    } else {
      one.removeAttribute("tabindex");
    }
  }
}

// Cells that hold prose are marked, for columns that are wide enough to read, and so are those that hold a figure, with
// its interval or its unit, which stay on one line.
const PROSE_CHARACTERS = 50;
const FIGURE = /^[-+]?\d[\d.,\u2013 %[\]+()-]*( MB| ms| s)?$/;

function marked() {
  for (const cell of document.querySelectorAll("article td")) {
    const text = cell.textContent.trim();
    cell.classList.toggle("prose", text.length > PROSE_CHARACTERS);
    cell.classList.toggle("figure", FIGURE.test(text));
  }
}

// Captions in the list of pages are headings, whose level Sphinx does not say.
function levelled() {
  for (const caption of document.querySelectorAll('.caption[role="heading"]')) {
    caption.setAttribute("aria-level", "2");
  }
}

document.addEventListener("DOMContentLoaded", levelled);
document.addEventListener("DOMContentLoaded", marked);
window.addEventListener("load", reachable);
window.addEventListener("resize", reachable);
