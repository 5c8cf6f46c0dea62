/** What the page asks the program, and how often. */

let pageToken = "";

/** What the program said was wrong, or that it could not be asked. */
export class Problem extends Error {
  constructor(message, { status = 0 } = {}) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch {
    throw new Problem("The program does not answer.");
  }
  if (response.status === 401) {
    location.reload(); // to the form that asks for the token
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok || answer === null) {
    throw new Problem(answer?.message ?? `The program answered ${response.status}.`, response);
  }
  return answer;
}

/** @param {string} path @param {Record<string, any>} [query] */
export function get(path, query = {}) {
  return ask(`${path}?${new URLSearchParams(query)}`);
}

/** @param {string} path @param {any} body */
export function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-Opentera-Bus-Token": pageToken };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body) });
}

/** What the page may do; asked again when the program has been started anew. */
export async function begin() {
  const beginning = await get("/api/console");
  pageToken = beginning.token;
  return beginning;
}

/**
 * Do something again and again, one after another, while the page can be seen.
 *
 * @param {number} interval - milliseconds
 * @param {() => Promise<void>} what - must not reject
 */
export async function repeat(interval, what) {
  for (;;) {
    if (!document.hidden) {
      await what();
    }
    await new Promise((resolve) => setTimeout(resolve, interval));
  }
}
