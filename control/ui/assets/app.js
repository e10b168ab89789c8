import * as api from "./api.js";
import * as views from "./views.js";

const WINDOW_SECONDS = 10;
const PERIOD_MS = 1000;
const STALE_AFTER_MS = 5000;

const page = document.getElementById("page");
const freshness = document.getElementById("freshness");
let freshAt = null;
let lastProblem = null;

const pages = {
  gateways: async () => views.gateways(await api.traffic(WINDOW_SECONDS), setWeights),
  deployments: async () => views.deployments(await api.deployments()),
  agents: async () => views.agents(await api.agents()),
  events: async () => views.events(await api.events()),
};

function current() {
  const name = location.pathname.split("/")[1] || "gateways";
  return pages[name] ? name : "gateways";
}

async function setWeights(name, weights) {
  try {
    const gateway = await api.gateway(name);
    for (const [path, weight] of Object.entries(weights)) {
      const route = Object.entries(gateway.routes).find(([key]) => path === key || path.endsWith(`/${key}`) || path.split("/").includes(key));
      if (!route) throw new Error(`Gateway ${name} has no route ${path} any more.`);
      route[1].weight = `${weight}%`;
    }
    await api.putGateway(gateway);
    lastProblem = null;
    document.activeElement?.blur();
  } catch (problem) {
    lastProblem = problem.message;
  }
  await refresh();
}

async function enter(token) {
  api.signIn(token);
  page.replaceChildren();
  await refresh();
}

document.getElementById("leave").addEventListener("click", () => {
  api.signOut();
  refresh();
});

const tokenForm = () => page.querySelector("form.token");

// What somebody is typing into is left alone; a token that is no longer asked for need not be typed.
const beingEdited = () => !tokenForm() && page.contains(document.activeElement) && document.activeElement.matches("input");

function askForToken(problem) {
  page.replaceChildren(views.tokenForm(problem, enter));
  tokenForm().querySelector("input").focus();
}

async function refresh() {
  const name = current();
  for (const link of document.querySelectorAll("nav a")) link.toggleAttribute("aria-current", link.dataset.page === name);
  try {
    const made = await pages[name]();
    if (name !== current()) return;
    if (!beingEdited()) {
      page.replaceChildren(...(lastProblem ? [views.element("p", { class: "bad", role: "alert" }, lastProblem)] : []), made);
    }
    freshAt = Date.now();
  } catch (problem) {
    if (problem instanceof api.Unauthorized) {
      // A token that is not good is not sent again.
      if (problem.token !== null) api.signOutOf(problem.token);
      if (!api.isSignedIn() && !tokenForm()) askForToken(problem.token === null ? null : problem.message);
      freshAt = null;
      freshness.textContent = "";
      document.getElementById("leave").hidden = true;
      return;
    }
    if (freshAt === null) page.replaceChildren(views.element("p", { class: "bad" }, `Control does not answer: ${problem.message}`));
  }
  // Old figures must never pass for new ones.
  const age = freshAt === null ? Infinity : Date.now() - freshAt;
  const stale = age > STALE_AFTER_MS;
  freshness.textContent = stale ? (freshAt === null ? "no data" : `stale: last update ${Math.round(age / 1000)} s ago`) : "live";
  freshness.className = stale ? "bad" : "good";
  document.getElementById("leave").hidden = !api.isSignedIn();
  document.body.classList.toggle("stale", stale);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || link.origin !== location.origin || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  refresh();
});
addEventListener("popstate", refresh);

async function forever() {
  // Without a token the answer is known.
  if (!document.hidden && (!tokenForm() || api.isSignedIn())) await refresh();
  setTimeout(forever, PERIOD_MS);
}
forever();
