/** Requests to the program, and their repetition. */

const PATIENCE = 4000; // milliseconds
const CALL_PATIENCE = 65000; // longer than the longest call

let pageToken = "";

/** An error that the program reported, or a failed request. */
export class Problem extends Error {
  constructor(message, { status = 0 } = {}) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}, patience = PATIENCE) {
  let response;
  let answer;
  try {
    response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(patience), ...options });
    answer = await response.json().catch((error) => {
      if (error.name === "TimeoutError") {
        throw error;
      }
      return null;
    });
  } catch {
    throw new Problem("The program does not answer.");
  }
  if (response.status === 401) {
    location.reload(); // to the login form
  }
  if (!response.ok || answer === null) {
    throw new Problem(answer?.message ?? `The program answered ${response.status}.`, response);
  }
  return answer;
}

/** @param {string} path @param {Record<string, any>} [query] */
export function get(path, query = {}, patience = PATIENCE) {
  return ask(`${path}?${new URLSearchParams(query)}`, {}, patience);
}

/** @param {string} path @param {any} body */
export function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-Opentera-Bus-Token": pageToken };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body) }, CALL_PATIENCE);
}

/** Fetch the page's permissions and token; needed again after a restart of the program. */
export async function begin() {
  const beginning = await get("/api/console");
  pageToken = beginning.token;
  return beginning;
}

/**
 * Repeat an action, with a pause in between, while the page and a panel are visible.
 *
 * @param {number} interval - milliseconds of pause; another view ends it
 * @param {() => Promise<void>} what - the action; must not reject
 * @param {any} panel - the panel that shows the result
 */
export async function repeat(interval, what, panel = document.body) {
  for (;;) {
    if (!document.hidden && panel.checkVisibility()) {
      await what();
    }
    await pause(interval);
  }
}

function pause(interval) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      document.removeEventListener("view", done);
      resolve();
    };
    const timer = setTimeout(done, interval);
    document.addEventListener("view", done);
  });
}
