/**
 * A client for OpenTera gateways in browsers: logs in with one-time session keys, reconnects, returns
 * to the events that a break has missed, and reports gaps.
 *
 *         key or token, handshake            closed by the other side
 *     connecting ----------------> open --------------------------------+
 *       ^    |                                                          v
 *       |    +-----------------------  failed  --------------------> waiting
 *       +----- the delay is over, or the page is online or visible again ---+
 *
 *     close(), or a disconnect command (code 4000), in any state: closed permanently
 *
 * A browser hides the cause of a failed handshake from the page: a refused key and an unreachable
 * gateway look the same. So each login gets a new key, with exponential back-off. After a break, the
 * page shows a recovery token instead. When that fails, a plain request finds out if a gateway is
 * reachable. The gateway may have refused the token for good, or only for now, as when it stops. So a
 * login with a new key follows the third such failure.
 */

const CLOSED_BY_PAGE = 1000;
const DISCONNECTED_BY_COMMAND = 4000;
const RECOVERY = "opentera-bus.recovery.v1";
/** Name of the same frames without recovery: a browser fails unless one of its names is selected. */
const PLAIN = "opentera-events";
/** Failures of a token at a gateway that is reachable, before a key replaces it. */
const TOKEN_ATTEMPTS = 3;
const TYPE_PREFIX = /^.*\/(opentera\.protobuf\.)?/;

/**
 * @typedef {"connecting" | "open" | "waiting" | "closed"} State
 *
 * @typedef {object} StateChange
 * @property {State} state
 * @property {number | null} code - close code of the websocket if it was open, or 1000 after `close()`
 * @property {string} reason - reason that came with the code
 * @property {number | null} delay - milliseconds until the next attempt, while waiting
 * @property {number} failures - failed attempts and short connections since the last steady connection
 * @property {boolean} recovered - true if open again and nothing was missed
 *
 * @typedef {object} TeraEvent
 * @property {string} name - type, such as `UserEvent`; with its package if that is not OpenTera's own
 * @property {string | null} topic - topic of the event
 * @property {Date | null} time - time of publication
 * @property {Record<string, any>} data - fields as received, and `@type`
 *
 * @typedef {object} Gap
 * @property {Date} since - time at which the connection was lost; if the code is 1012, the gap may have begun earlier
 * @property {number} code - close code of the lost connection
 * @property {string} reason - reason that came with the code
 *
 * @typedef {object} Options
 * @property {string | URL} url - address of the gateway, without a key: `wss://host/wss/user`; may be relative to the
 *     page
 * @property {(options: {signal: AbortSignal}) => string | Promise<string>} key - supplier of a new session key for
 *     each attempt, since a key works once; the signal aborts when the key is no longer needed
 * @property {boolean} [recovery] - return to missed events after a break; default true; false for gateways of existing
 *     OpenTera servers
 * @property {number} [minDelay] - minimum milliseconds of delay after a failure; default 500
 * @property {number} [maxDelay] - maximum milliseconds of delay after a failure; default 30 000
 * @property {number} [steadyAfter] - milliseconds after which a connection is steady and resets the back-off; default
 *     10 000
 * @property {number} [timeout] - milliseconds for an attempt, including the key supplier; default 15 000
 *
 * @typedef {object} Events
 * @property {CustomEvent<TeraEvent>} event - one event from the gateway
 * @property {CustomEvent<Gap>} gap - reconnected after a gap: events in between are lost, so reload
 * @property {CustomEvent<StateChange>} statechange - new state
 * @property {CustomEvent<OpenteraBusError>} error - a problem from which the client recovers by itself
 */

/** Base class of the errors. Their messages never contain a key. */
export class OpenteraBusError extends Error {
  name = "OpenteraBusError";
  /** Consecutive failed attempts and short connections, including this one. */
  failures = 0;
}

/** The key supplier gave no key; `cause` is its error, if it threw one. The client retries. */
export class KeySupplierFailed extends OpenteraBusError {
  name = "KeySupplierFailed";
}

/** The websocket did not open: key refused, or gateway unreachable. The client retries. */
export class HandshakeFailed extends OpenteraBusError {
  name = "HandshakeFailed";
}

/** The gateway sent a malformed event, which the client dropped. */
export class BadMessage extends OpenteraBusError {
  name = "BadMessage";
}

/**
 * Parse the events in a frame: each event of a TeraEvent, or another message as an event without a topic.
 *
 * @param {unknown} frame
 * @returns {TeraEvent[]}
 * @throws {BadMessage} the frame is malformed
 */
function eventsOf(frame) {
  if (typeof frame !== "string") {
    throw new BadMessage("the gateway sent a binary frame; events are text");
  }
  const { message } = parsed(frame);
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

/**
 * Parse the JSON object in a frame.
 *
 * @param {string} frame
 * @returns {Record<string, any>}
 * @throws {BadMessage} the frame is malformed
 */
function parsed(frame) {
  try {
    const value = JSON.parse(frame);
    if (isObject(value)) {
      return value;
    }
  } catch {
    // reported below
  }
  throw new BadMessage(`the gateway sent ${frame.length} characters that are not a JSON object`);
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
 * Check and complete the websocket's URL, without a key.
 *
 * @param {string | URL} url
 * @returns {URL}
 */
function websocketUrl(url) {
  const wrong = new TypeError("url: must be a URL such as wss://host/wss/user");
  if (!url) {
    throw wrong; // `undefined` would be a valid relative URL
  }
  let found;
  try {
    found = new URL(url, globalThis.location?.href);
  } catch {
    throw wrong;
  }
  found.protocol = found.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(found.protocol)) {
    throw new TypeError(`url: must begin with wss: or ws:, not ${found.protocol}`);
  }
  if (["id", "recover", "received"].some((name) => found.searchParams.has(name))) {
    throw new TypeError("url: contains a session key, which works only once; pass a key supplier");
  }
  found.hash = "";
  return found;
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
 * A connection to a gateway that reconnects until it is closed. It connects when created; add the
 * listeners in the same task.
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
  /** Aborts the current attempt or connection, and its listeners. */
  #attempt = new AbortController();
  /** Aborts the whole client. */
  #life = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #failures = 0;
  #openedAt = 0;
  /** @type {Gap | null} */
  #gap = null;
  #recovery;
  /** True if the next login offers recovery: a browser fails at gateways that select none of its names. */
  #offers;
  #wasSelected = false;
  /** Recovery token, which stands for this client. @type {string | null} */
  #token = null;
  /** Number of event frames since the connection's first frame. */
  #received = 0;
  /** Time in milliseconds at which the recovery window is over. */
  #keptUntil = 0;
  #window = 0;
  #tokenFailures = 0;

  /** @param {Options} options */
  constructor({ url, key, recovery = true, minDelay = 500, maxDelay = 30_000, steadyAfter = 10_000, timeout = 15_000 }) {
    super();
    this.#url = websocketUrl(url);
    if (typeof key !== "function") {
      throw new TypeError("key: must be a function that returns a new session key each time");
    }
    this.#supplier = key;
    this.#recovery = this.#offers = Boolean(recovery);
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

  /** Close permanently. */
  close() {
    this.#end(CLOSED_BY_PAGE, "");
  }

  /**
   * Add a listener, as with any EventTarget; declared here for its types.
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
    this.#become("connecting");
    if (signal.aborted) {
      return;
    }
    if (this.#token !== null && Date.now() < this.#keptUntil) {
      this.#limit(() => new HandshakeFailed(`the websocket did not open within ${this.#timeout} ms`));
      this.#shakeHands({ recover: this.#token, received: `${this.#received}` }, signal);
    } else {
      await this.#logIn(signal);
    }
  }

  /**
   * Ask for a key, and connect with it.
   *
   * @param {AbortSignal} signal
   */
  async #logIn(signal) {
    const within = `within ${this.#timeout} ms`;
    /** @type {OpenteraBusError} */
    let late = new KeySupplierFailed(`the key supplier returned no key ${within}`);
    this.#limit(() => late);
    this.#token = null;
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
      this.#failed(new KeySupplierFailed("the key supplier must return a string without white space"));
      return;
    }
    late = new HandshakeFailed(`the websocket did not open ${within}`);
    this.#shakeHands({ id: key }, signal);
  }

  /** @param {() => OpenteraBusError} late - the error of an attempt that takes too long */
  #limit(late) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#failed(late()), this.#timeout);
  }

  /**
   * @param {Record<string, string>} credentials
   * @param {AbortSignal} signal
   */
  #shakeHands(credentials, signal) {
    const url = new URL(this.#url);
    for (const [name, value] of Object.entries(credentials)) {
      url.searchParams.set(name, value);
    }
    const offered = "recover" in credentials || this.#offers;
    /** @type {WebSocket} */
    let socket;
    try {
      socket = new WebSocket(url, offered ? [RECOVERY, PLAIN] : []);
    } catch (error) {
      // Do not attach the error as the cause: its message contains the URL with the key.
      const name = error instanceof Error ? error.name : "error";
      this.#failed(new HandshakeFailed(`the browser refused to open the websocket: ${name}`));
      return;
    }
    // The code 1000 ends the recovery, so an attempt that is given up closes without a code.
    signal.addEventListener("abort", () => socket.close(...(this.#life.signal.aborted ? [CLOSED_BY_PAGE] : [])));
    socket.addEventListener("open", () => this.#selected(socket.protocol, offered, signal), { signal });
    socket.addEventListener("message", ({ data }) => this.#message(data, signal), { signal });
    socket.addEventListener("close", ({ code, reason }) => this.#lost(code, reason, signal), { signal });
  }

  /**
   * The handshake is complete. With recovery, the first frame follows.
   *
   * @param {string} protocol
   * @param {boolean} offered
   * @param {AbortSignal} signal
   */
  #selected(protocol, offered, signal) {
    this.#wasSelected = offered;
    this.#offers = this.#recovery;
    if (protocol !== RECOVERY) {
      this.#token = null;
      this.#opened(false, signal);
    }
  }

  /**
   * @param {unknown} frame
   * @param {AbortSignal} signal
   */
  #message(frame, signal) {
    if (this.#state === "open") {
      this.#events(frame, signal);
      return;
    }
    let recovery;
    try {
      ({ recovery } = typeof frame === "string" ? parsed(frame) : {});
    } catch {
      // reported below
    }
    if (typeof recovery?.token !== "string" || typeof recovery.window !== "number") {
      this.#token = null;
      this.#failed(new HandshakeFailed("the gateway began with something else than a recovery token"));
      return;
    }
    // The previous token and its count are valid until this frame.
    this.#token = recovery.token;
    this.#received = 0;
    this.#tokenFailures = 0;
    this.#window = 1000 * recovery.window;
    this.#opened(recovery.recovered === true, signal);
  }

  /**
   * @param {boolean} recovered
   * @param {AbortSignal} signal
   */
  #opened(recovered, signal) {
    clearTimeout(this.#timer);
    this.#openedAt = performance.now();
    const gap = this.#gap;
    this.#gap = null;
    this.#become("open", { recovered });
    if (gap !== null && !recovered && !signal.aborted) {
      this.#dispatch("gap", gap);
    }
  }

  /**
   * @param {unknown} frame
   * @param {AbortSignal} signal
   */
  #events(frame, signal) {
    let events;
    try {
      events = eventsOf(frame);
    } catch (error) {
      this.#dispatch("error", error);
      return;
    }
    this.#received += 1;
    for (const event of events) {
      if (signal.aborted) {
        return; // a listener closed the client
      }
      this.#dispatch("event", event);
    }
  }

  /**
   * @param {number} code
   * @param {string} reason
   * @param {AbortSignal} signal
   */
  #lost(code, reason, signal) {
    if (this.#state !== "open") {
      this.#refused(signal);
    } else if (code === DISCONNECTED_BY_COMMAND) {
      this.#end(code, reason);
    } else {
      this.#gap = { since: new Date(), code, reason };
      this.#keptUntil = Date.now() + this.#window;
      if (performance.now() - this.#openedAt >= this.#steadyAfter) {
        this.#failures = 0;
      }
      this.#wait(code, reason);
    }
  }

  /**
   * Handle a failed handshake, whose cause the browser hides.
   *
   * @param {AbortSignal} signal
   */
  async #refused(signal) {
    if (this.#token !== null) {
      const isRefused = await this.#isTokenRefused(signal);
      if (signal.aborted) {
        return;
      }
      if (isRefused) {
        await this.#logIn(signal);
        return;
      }
    } else if (!this.#wasSelected) {
      this.#offers = this.#recovery && !this.#offers;
    }
    this.#failed(new HandshakeFailed("the websocket did not open: key refused, or gateway unreachable"));
  }

  /**
   * Find out if anything answers at the gateway's address. If so, repeatedly, the gateway refused the token.
   *
   * Without an answer, the network or the gateway is down, and the token may still be good. The same
   * holds when a proxy answers for a gateway that is down.
   *
   * @param {AbortSignal} signal
   * @returns {Promise<boolean>}
   */
  async #isTokenRefused(signal) {
    const url = new URL(this.#url);
    url.protocol = url.protocol.replace(/^ws/, "http");
    url.search = "";
    try {
      const { status } = await fetch(url, {
        signal, mode: "no-cors", credentials: "omit", cache: "no-store",
      });
      if (status < 500) { // 0 from another origin
        this.#tokenFailures += 1;
      }
      return this.#tokenFailures >= TOKEN_ATTEMPTS;
    } catch {
      return false;
    }
  }

  /** @param {OpenteraBusError} error */
  #failed(error) {
    this.#wait(null, "");
    error.failures = this.#failures;
    if (!this.#life.signal.aborted) {
      this.#dispatch("error", error);
    }
  }

  /**
   * @param {number | null} code
   * @param {string} reason
   */
  #wait(code, reason) {
    this.#attempt.abort();
    clearTimeout(this.#timer);
    // A gateway that answers ends the outage, so the token's next attempts follow soon.
    const failures = this.#token !== null && this.#tokenFailures > 0 ? this.#tokenFailures - 1 : this.#failures;
    const longest = Math.min(this.#maxDelay, this.#minDelay * 2 ** (failures + 1));
    // Randomise half of it, so that the pages do not all reconnect to a restarted gateway at once.
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
    this.#token = null;
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
    const nothing = { code: null, reason: "", delay: null, recovered: false };
    this.#dispatch("statechange", { state, failures, ...nothing, ...facts });
  }

  /**
   * Dispatch an event; the browser reports errors of listeners, which affect nothing else.
   *
   * @param {keyof Events} type
   * @param {unknown} detail
   */
  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
