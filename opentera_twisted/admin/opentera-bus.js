/**
 * Events of an OpenTera gateway in a browser: logs in with one-time session keys, stays connected,
 * and tells what may have been missed.
 *
 *                 key, handshake             closed by the other side
 *     connecting ----------------> open --------------------------------+
 *       ^    |                                                          v
 *       |    +-----------------------  failed  --------------------> waiting
 *       +----- the delay is over, or the page is online or visible again ---+
 *
 *     close(), or a disconnect command (code 4000), in any state: closed, for good
 *
 * A browser does not tell a page why a handshake failed: a refused key and a gateway that is away
 * look the same, so each attempt asks for a new key, and attempts become rarer.
 */

const CLOSED_BY_PAGE = 1000;
const DISCONNECTED_BY_COMMAND = 4000;
const TYPE_PREFIX = /^.*\/(opentera\.protobuf\.)?/;

/**
 * @typedef {"connecting" | "open" | "waiting" | "closed"} State
 *
 * @typedef {object} StateChange
 * @property {State} state
 * @property {number | null} code - the websocket's close code, when it was open before, or 1000 after `close()`
 * @property {string} reason - that came with the code
 * @property {number | null} delay - milliseconds until the next attempt, while waiting
 * @property {number} failures - attempts and short connections since the last one that lasted
 *
 * @typedef {object} TeraEvent
 * @property {string} name - of its type: `UserEvent`; with its package when that is not OpenTera's own
 * @property {string | null} topic - on which it was published
 * @property {Date | null} time - when it was published
 * @property {Record<string, any>} data - its fields, and `@type`, as they came
 *
 * @typedef {object} Gap
 * @property {Date} since - when the connection was lost; before that, if the code is 1012
 * @property {number} code - with which it was lost
 * @property {string} reason - that came with the code
 *
 * @typedef {object} Options
 * @property {string | URL} url - of the gateway, without a key: `wss://host/wss/user`; may be relative to the page
 * @property {(options: {signal: AbortSignal}) => string | Promise<string>} key - gives a new session key for each
 *     attempt, since a key serves once; the signal aborts when nobody waits for it any more
 * @property {number} [minDelay] - milliseconds to wait after the first failure, at least
 * @property {number} [maxDelay] - milliseconds to wait after any failure, at most
 * @property {number} [steadyAfter] - milliseconds after which a connection has lasted, and failures are forgotten
 * @property {number} [timeout] - milliseconds for an attempt, from asking for the key to being open
 *
 * @typedef {object} Events
 * @property {CustomEvent<TeraEvent>} event - one event of the gateway
 * @property {CustomEvent<Gap>} gap - connected again: what was published meanwhile is gone, so reload
 * @property {CustomEvent<StateChange>} statechange
 * @property {CustomEvent<OpenteraBusError>} error - what went wrong; nothing needs to be done, it goes on
 */

/** What can go wrong. No message of an error holds a key. */
export class OpenteraBusError extends Error {
  name = "OpenteraBusError";
  /** How many attempts, and connections that did not last, failed in a row, this one included. */
  failures = 0;
}

/** There was no key; `cause` is what the supplier threw, if it did. It is asked again. */
export class KeySupplierFailed extends OpenteraBusError {
  name = "KeySupplierFailed";
}

/** The websocket did not open: the key was refused, or the gateway is away. It is tried again. */
export class HandshakeFailed extends OpenteraBusError {
  name = "HandshakeFailed";
}

/** The gateway sent what is no event; it was dropped. */
export class BadMessage extends OpenteraBusError {
  name = "BadMessage";
}

/**
 * The events in a frame: of a TeraEvent each one, anything else as one event without a topic.
 *
 * @param {unknown} frame
 * @returns {TeraEvent[]}
 * @throws {BadMessage} it is none
 */
function eventsOf(frame) {
  if (typeof frame !== "string") {
    throw new BadMessage("the gateway sent a binary frame; events are text");
  }
  let message;
  try {
    message = JSON.parse(frame).message;
  } catch {
    throw new BadMessage(`the gateway sent ${frame.length} characters that are not a JSON object`);
  }
  if (!isObject(message)) {
    throw new BadMessage("the gateway sent JSON without a message");
  }
  if (nameOf(message) !== "TeraEvent") {
    return [{ name: nameOf(message), topic: null, time: null, data: message }];
  }
  if (!Array.isArray(message.events) || !message.events.every(isObject)) {
    throw new BadMessage("the gateway sent a TeraEvent whose events are not a list of objects");
  }
  const { topic, time } = isObject(message.header) ? message.header : {};
  return message.events.map((data) => ({
    name: nameOf(data),
    topic: typeof topic === "string" ? topic : null,
    time: typeof time === "number" ? new Date(time * 1000) : null,
    data,
  }));
}

/** @param {unknown} value @returns {value is Record<string, any>} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {Record<string, any>} message @returns {string} */
function nameOf(message) {
  const type = message["@type"];
  return typeof type === "string" ? type.replace(TYPE_PREFIX, "") : "";
}

/**
 * The websocket's URL, still without a key.
 *
 * @param {string | URL} url
 * @returns {URL}
 */
function websocketUrl(url) {
  const wrong = new TypeError("url: must be a URL such as wss://host/wss/user");
  if (!url) {
    throw wrong; // relative to the page, `undefined` would be a URL
  }
  let parsed;
  try {
    parsed = new URL(url, globalThis.location?.href);
  } catch {
    throw wrong;
  }
  parsed.protocol = parsed.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(parsed.protocol)) {
    throw new TypeError(`url: begins with ${parsed.protocol} and not with wss: or ws:`);
  }
  if (parsed.searchParams.has("id")) {
    throw new TypeError("url: holds a session key, which would serve once; give a key supplier");
  }
  parsed.hash = "";
  return parsed;
}

/**
 * @param {string} name
 * @param {number} value
 * @param {number} least
 * @returns {number}
 */
function milliseconds(name, value, least) {
  if (typeof value !== "number" || !(value >= least && value < 2 ** 31)) {
    throw new RangeError(`${name}: must be milliseconds, at least ${least} and below 2 ** 31`);
  }
  return value;
}

/**
 * A connection to a gateway, for as long as the page wants it. It connects when it is made; add the
 * listeners in the same turn.
 *
 *     const bus = new OpenteraBus({
 *       url: "wss://host/wss/user",
 *       key: async (options) => (await fetch("/login", options)).text(),
 *     });
 *     bus.addEventListener("event", ({ detail }) => console.log(detail.name, detail.data));
 *     bus.addEventListener("gap", () => reload());
 */
export class OpenteraBus extends EventTarget {
  /** @type {State} */
  #state = "connecting";
  /** @type {URL} */
  #url;
  /** @type {Options["key"]} */
  #supplier;
  #minDelay;
  #maxDelay;
  #steadyAfter;
  #timeout;
  /** Of the present attempt or connection; aborted, nothing of it is heard any more. */
  #attempt = new AbortController();
  /** Of the whole bus. */
  #life = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #failures = 0;
  #openedAt = 0;
  /** @type {Gap | null} */
  #gap = null;

  /** @param {Options} options */
  constructor({ url, key, minDelay = 500, maxDelay = 30_000, steadyAfter = 10_000, timeout = 15_000 }) {
    super();
    this.#url = websocketUrl(url);
    if (typeof key !== "function") {
      throw new TypeError("key: must be a function that gives a new session key each time");
    }
    this.#supplier = key;
    this.#minDelay = milliseconds("minDelay", minDelay, 1);
    this.#maxDelay = milliseconds("maxDelay", maxDelay, minDelay);
    this.#steadyAfter = milliseconds("steadyAfter", steadyAfter, 0);
    this.#timeout = milliseconds("timeout", timeout, 1);
    const { signal } = this.#life;
    globalThis.addEventListener("online", () => this.#wake(), { signal });
    const page = globalThis.document; // a worker has none
    const seen = () => page.visibilityState === "visible" && this.#wake();
    page?.addEventListener("visibilitychange", seen, { signal });
    queueMicrotask(() => this.#connect());
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /** Close for good. */
  close() {
    this.#end(CLOSED_BY_PAGE, "");
  }

  /**
   * As of any EventTarget; here for its types.
   *
   * @template {keyof Events} T
   * @param {T} type
   * @param {((event: Events[T]) => void) | {handleEvent: (event: Events[T]) => void} | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, /** @type {EventListener} */ (listener), options);
  }

  async #connect() {
    if (this.#state === "closed") {
      return;
    }
    clearTimeout(this.#timer);
    this.#attempt = new AbortController();
    const { signal } = this.#attempt;
    const within = `within ${this.#timeout} ms`;
    /** @type {OpenteraBusError} */
    let late = new KeySupplierFailed(`the key supplier gave no key ${within}`);
    this.#timer = setTimeout(() => this.#failed(late), this.#timeout);
    this.#become("connecting");
    if (signal.aborted) {
      return;
    }
    let key;
    try {
      key = await this.#supplier({ signal });
    } catch (cause) {
      if (!signal.aborted) {
        this.#failed(new KeySupplierFailed("the key supplier failed", { cause }));
      }
      return;
    }
    if (signal.aborted) {
      return;
    }
    if (typeof key !== "string" || !/^[!-~]+$/.test(key)) {
      this.#failed(new KeySupplierFailed("the key supplier gave no key: a text without white space"));
      return;
    }
    late = new HandshakeFailed(`the websocket did not open ${within}`);
    this.#shakeHands(key, signal);
  }

  /**
   * @param {string} key
   * @param {AbortSignal} signal
   */
  #shakeHands(key, signal) {
    const url = new URL(this.#url);
    url.searchParams.set("id", key);
    /** @type {WebSocket} */
    let socket;
    try {
      socket = new WebSocket(url);
    } catch (error) {
      // Not as the cause: its message holds the URL, and so the key.
      const name = error instanceof Error ? error.name : "error";
      this.#failed(new HandshakeFailed(`the browser does not open such a websocket here: ${name}`));
      return;
    }
    signal.addEventListener("abort", () => socket.close(CLOSED_BY_PAGE));
    socket.addEventListener("open", () => this.#opened(signal), { signal });
    socket.addEventListener("message", ({ data }) => this.#received(data, signal), { signal });
    socket.addEventListener("close", ({ code, reason }) => this.#lost(code, reason), { signal });
  }

  /** @param {AbortSignal} signal */
  #opened(signal) {
    clearTimeout(this.#timer);
    this.#openedAt = performance.now();
    const gap = this.#gap;
    this.#gap = null;
    this.#become("open");
    if (gap !== null && !signal.aborted) {
      this.#tell("gap", gap);
    }
  }

  /**
   * @param {unknown} frame
   * @param {AbortSignal} signal
   */
  #received(frame, signal) {
    let events;
    try {
      events = eventsOf(frame);
    } catch (error) {
      this.#tell("error", error);
      return;
    }
    for (const event of events) {
      if (signal.aborted) {
        return; // a listener has closed us
      }
      this.#tell("event", event);
    }
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    if (this.#state !== "open") {
      this.#failed(new HandshakeFailed("the websocket did not open: key refused, or gateway away"));
    } else if (code === DISCONNECTED_BY_COMMAND) {
      this.#end(code, reason);
    } else {
      this.#gap = { since: new Date(), code, reason };
      if (performance.now() - this.#openedAt >= this.#steadyAfter) {
        this.#failures = 0;
      }
      this.#wait(code, reason);
    }
  }

  /** @param {OpenteraBusError} error */
  #failed(error) {
    this.#wait(null, "");
    error.failures = this.#failures;
    if (!this.#life.signal.aborted) {
      this.#tell("error", error);
    }
  }

  /**
   * @param {number | null} code
   * @param {string} reason
   */
  #wait(code, reason) {
    this.#attempt.abort();
    clearTimeout(this.#timer);
    const longest = Math.min(this.#maxDelay, this.#minDelay * 2 ** (this.#failures + 1));
    // Half of it at random, so that the pages of a restarted gateway do not all come at once.
    const delay = Math.max(this.#minDelay, longest * (0.5 + Math.random() / 2));
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#become("waiting", { code, reason, delay });
  }

  #wake() {
    if (this.#state === "waiting") {
      this.#connect();
    }
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #end(code, reason) {
    if (this.#life.signal.aborted) {
      return;
    }
    this.#life.abort();
    this.#attempt.abort();
    clearTimeout(this.#timer);
    this.#become("closed", { code, reason });
  }

  /**
   * @param {State} state
   * @param {Partial<StateChange>} [facts]
   */
  #become(state, facts) {
    this.#state = state;
    const failures = this.#failures;
    this.#tell("statechange", { state, code: null, reason: "", delay: null, failures, ...facts });
  }

  /**
   * A listener that throws is the browser's to report; it harms no other, and not us.
   *
   * @param {keyof Events} type
   * @param {unknown} detail
   */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
