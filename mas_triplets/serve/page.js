// What Gradio's own parts do not do: one picture in a panel, a photograph that is dropped, the size of the run's page.
(() => {
  const find = (id) => document.getElementById(id);
  let before = null;

  async function ask(path, options) {
    const answer = await fetch(path, options);
    const text = await answer.text();
    if (answer.ok) return text;
    let sentence = "something went wrong, try again";
    try { sentence = JSON.parse(text).error || sentence; } catch { /* not ours */ }
    throw new Error(sentence);
  }

  function wrong(place, error) {
    const told = document.createElement("p");
    told.className = "mt-wrong";
    told.setAttribute("role", "alert");
    told.textContent = error instanceof TypeError ? "the server does not answer: is it still running?" : error.message;
    place.replaceChildren(told);
  }

  async function show(row) {
    const panel = find("mt-panel"), body = panel.querySelector(".mt-body");
    if (panel.hidden) before = document.activeElement;
    try { body.innerHTML = await ask(`page/row/${row}`); } catch (error) { wrong(body, error); }
    panel.hidden = false;
    body.scrollTop = 0;
    document.documentElement.classList.add("mt-open");
    panel.querySelector(".mt-close").focus();
  }

  function close() {
    find("mt-panel").hidden = true;
    document.documentElement.classList.remove("mt-open");
    before?.focus();
  }

  async function look(file) {
    const drop = find("mt-drop"), place = find("mt-photograph"), image = drop.querySelector("img");
    URL.revokeObjectURL(image.src);
    image.hidden = true;
    place.textContent = "Looking …";
    try {
      place.innerHTML = await ask("page/photograph", {
        method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
      });
      image.src = URL.createObjectURL(file);
      image.hidden = false;
    } catch (error) { wrong(place, error); }
  }

  document.addEventListener("click", (event) => {
    const row = event.target.closest("[data-row]"), fact = event.target.closest("[data-fact]");
    if (row) show(row.dataset.row);
    else if (fact) {
      document.dispatchEvent(new CustomEvent("mt-fact", { detail: fact.dataset.fact }));
      if (!find("mt-panel").hidden) close();
      window.scrollTo({ top: 0 });
    } else if (event.target.closest(".mt-close") || event.target.id === "mt-panel") close();
  });
  document.addEventListener("keydown", (event) => {
    const panel = find("mt-panel");
    if (!panel || panel.hidden) return;
    if (event.key === "Escape") close();
    if (event.key !== "Tab") return;
    const all = [...panel.querySelectorAll("button")], last = all[all.length - 1];
    const leaves = event.shiftKey ? all[0] : last;
    if (document.activeElement === leaves || !panel.contains(document.activeElement)) {
      event.preventDefault();
      (event.shiftKey ? last : all[0]).focus();
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.closest("#mt-drop") && event.target.files.length) {
      look(event.target.files[0]);
      event.target.value = "";
    }
  });
  for (const kind of ["dragover", "drop", "dragleave"]) {
    document.addEventListener(kind, (event) => {
      const drop = event.target.closest?.("#mt-drop");
      if (kind !== "dragleave") event.preventDefault(); // a picture that misses must not replace the page
      drop?.classList.toggle("mt-over", kind === "dragover");
      if (kind === "drop" && drop && event.dataTransfer.files.length) look(event.dataTransfer.files[0]);
    });
  }
  document.addEventListener("load", (event) => {
    if (event.target.id !== "mt-run") return;
    const frame = event.target, page = frame.contentDocument.documentElement;
    new ResizeObserver(() => { frame.style.height = `${page.getBoundingClientRect().height + 8}px`; }).observe(page);
  }, true);
})();
