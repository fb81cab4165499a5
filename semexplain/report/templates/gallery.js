"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const gallery = document.getElementById("gallery");
  const [sort, filter, search, count, none] = ["sort", "filter", "search", "count", "none"].map((id) => document.getElementById(id));
  const cards = [...gallery.children];
  const keys = {
    index: (image, index) => index,
    residual: (image) => -image.residual,
    entropy: (image) => image.entropy,
    high: (image) => -image.score,
    low: (image) => image.score,
  };
  const tests = {
    all: () => true,
    wrong: (image) => image.wrong,
    disagrees: (image) => image.disagrees,
    positive: (image) => image.score > 0,
    negative: (image) => image.score <= 0,
  };
  const update = () => {
    const concept = /^c(\d+)$/.exec(sort.value);
    const key = concept ? (image) => -image.contributions[Number(concept[1])] : keys[sort.value];
    const wanted = search.value.trim().toLowerCase();
    const order = cards.map((card, index) => index).sort((a, b) => key(data[a], a) - key(data[b], b) || a - b);
    let shown = 0;
    for (const index of order) {
      const fits = tests[filter.value](data[index]) && data[index].id.toLowerCase().includes(wanted);
      cards[index].hidden = !fits;
      shown += fits;
      gallery.append(cards[index]);
    }
    count.textContent = shown === 1 ? "1 image" : `${shown} images`;
    none.hidden = shown > 0;
  };
  for (const control of [sort, filter]) control.addEventListener("change", update);
  search.addEventListener("input", update);
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
})();
