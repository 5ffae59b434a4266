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

// Captions in the list of pages are headings, whose level Sphinx does not say.
function levelled() {
  for (const caption of document.querySelectorAll('.caption[role="heading"]')) {
    caption.setAttribute("aria-level", "2");
  }
}

document.addEventListener("DOMContentLoaded", levelled);
window.addEventListener("load", reachable);
window.addEventListener("resize", reachable);
