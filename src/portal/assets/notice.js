// Says before a session ends, keeps it when asked to, and lets people sign in again in a small window, so that what
// they typed on the page survives. What it does when stands in docs/expiry-notice.md.
(() => {
  'use strict';
  const MARK = Symbol.for('vestibule.notice');
  const source = document.currentScript?.src;
  if (!source || window[MARK]) return;
  window[MARK] = true;

  const portal = location.origin + new URL(source).pathname.replace(/\/[^/]*$/, '');
  const SECOND = 1_000;
  const EARLY = 120 * SECOND;
  const AGAIN = 30 * SECOND;

  let owner; // Whose page this is: null without a session, undefined until known.
  let told; // What the gateway said last: { user, end, last }, the ends in milliseconds.
  let longest = 0; // The most time that was ever left.
  let due = 0; // When to ask next.
  let asked = 0; // When it was asked last.
  let asking = false;
  let askAgain = false;
  let waved; // What was waved away.
  let words;
  let panel;
  let channel;
  let timer;

  async function call(path, method = 'GET') {
    const answer = await fetch(portal + path, { method, cache: 'no-store', redirect: 'error' });
    if (answer.status !== 401 && !answer.ok) throw new Error(`${answer.status}`);
    return answer;
  }

  // One question at a time; what happens meanwhile is asked for afterwards.
  async function ask(path = '/session', method = 'GET') {
    if (asking) {
      askAgain = true;
      return;
    }
    asking = true;
    asked = Date.now();
    try {
      const answer = await call(path, method);
      const { user = null, idle_seconds_left: idle, absolute_seconds_left: all } = await answer.json();
      const now = Date.now();
      const heard = user === null ? { user } : { user, end: now + idle * SECOND, last: now + all * SECOND };
      channel?.postMessage({ told: heard });
      await take(heard);
    } catch {
      later();
    }
    asking = false;
    if (askAgain) {
      askAgain = false;
      await ask();
    }
    wait();
  }

  // Nothing is known as long as the gateway does not answer, so nothing is said.
  function later() {
    due = Date.now() + AGAIN;
  }

  async function take(heard) {
    if (owner === undefined) owner = heard.user;
    told = heard;
    due = Infinity;
    if (owner !== null && told.user === owner) {
      const left = told.end - Date.now();
      longest = Math.max(longest, left);
      due = told.end - early();
      if (due <= Date.now()) due = Date.now() + Math.max(SECOND, Math.min(AGAIN, left));
    }
    await show();
  }

  // Two minutes, less where a session lives hardly longer.
  const early = () => Math.min(EARLY, longest / 2);

  function state() {
    if (!owner || !told) return undefined;
    if (told.user === null) return 'over';
    if (told.user !== owner) return 'other';
    if (told.last - Date.now() <= EARLY) return 'last';
    return told.end - Date.now() <= early() ? 'soon' : undefined;
  }

  // Asks when it is time, by the clock on the wall: timers stand still while a computer sleeps. A page that
  // nobody sees does not ask.
  function wait() {
    clearTimeout(timer);
    if (document.hidden || due === Infinity) return;
    const now = Date.now();
    const next = panel?.clock ? SECOND : 300 * SECOND;
    timer = setTimeout(() => {
      panel?.tick();
      if (Date.now() >= due) ask();
      else wait();
    }, Math.max(0, Math.min(due - now, next)));
  }

  async function show() {
    const now = state();
    if (now === undefined) waved = undefined;
    if (panel?.state === now && panel?.user === told?.user) return;
    panel?.close();
    panel = undefined;
    if (now === undefined || now === waved || isShownOutside()) return;
    words ??= await (await call('/session/words')).json();
    if (panel || now !== state()) return;
    panel = open(now);
    wait();
  }

  // Of pages in frames, the outermost one speaks.
  function isShownOutside() {
    try {
      return window !== top && top[MARK] === true;
    } catch {
      return false;
    }
  }

  function open(now) {
    const host = document.createElement('vestibule-notice');
    const root = host.attachShadow({ mode: 'open' });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const box = add(root, 'section', '', { role: 'alertdialog', 'aria-labelledby': 'title', 'aria-describedby': 'lead' });
    box.lang = words.lang;
    add(box, 'h2', words[now].title, { id: 'title' });
    const [before, after = ''] = words[now].lead.replace('{user}', () => told.user).split('{time}');
    const lead = add(box, 'p', before, { id: 'lead' });
    const clock = words[now].lead.includes('{time}') ? add(lead, 'span', '', { role: 'timer', 'aria-live': 'off' }) : undefined;
    lead.append(after);
    const row = add(box, 'div', '');
    const first = act(row, now);
    add(row, 'button', words.later).onclick = () => wave(now);
    box.onkeydown = (event) => {
      if (event.key === 'Escape') wave(now);
    };
    // What a page shows as modal leaves no life outside of it.
    (document.querySelector('dialog:modal') ?? document.body ?? document.documentElement).append(host);
    const typed = document.activeElement;
    const isTyping = typed?.matches('input, textarea, select, iframe, [contenteditable]');
    // Who is typing hears of it, and keeps their place.
    if (isTyping) lead.setAttribute('role', 'alert');
    else first.focus();
    const tick = () => {
      const left = Math.max(0, Math.round((told.end - Date.now()) / SECOND));
      if (clock) clock.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
    };
    const close = () => {
      const hadFocus = document.activeElement === host;
      host.remove();
      if (hadFocus) typed?.focus?.();
    };
    tick();
    return { state: now, user: told.user, clock, tick, close };
  }

  // What helps in each case, as a button or a link.
  function act(row, now) {
    if (now === 'soon' || now === 'other') {
      const button = add(row, 'button', now === 'soon' ? words.stay : words.reload, { class: 'first' });
      button.onclick = () => (now === 'soon' ? ask('/session/extend', 'POST') : location.reload());
      return button;
    }
    const prompt = told.user === null ? '' : 'prompt=login&';
    const href = `${portal}/login?${prompt}next=${encodeURIComponent(new URL(portal).pathname + '/login/done')}`;
    const link = add(row, 'a', words.sign_in, { class: 'first', href, target: '_blank' });
    link.onclick = (event) => {
      if (window.open(href, '_blank', 'popup,width=480,height=720')) event.preventDefault();
    };
    return link;
  }

  function wave(now) {
    channel?.postMessage({ waved: now });
    drop(now);
  }

  function drop(now) {
    waved = now;
    if (panel?.state !== now) return;
    panel.close();
    panel = undefined;
  }

  function add(parent, name, text, attributes = {}) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    parent.append(element);
    return element;
  }

  function hear({ data }) {
    if (data.look && owner !== null) ask();
    if (data.waved) drop(data.waved);
    if (data.told && owner !== undefined) take(data.told).catch(later).then(wait);
  }

  // A page that is kept for the back button must not hold a channel.
  function begin() {
    channel ??= new BroadcastChannel('vestibule');
    channel.onmessage = hear;
    ask();
  }

  addEventListener('pagehide', () => {
    channel?.close();
    channel = undefined;
    clearTimeout(timer);
  });
  addEventListener('pageshow', ({ persisted }) => persisted && begin());
  for (const event of ['visibilitychange', 'online', 'focus']) {
    (event === 'visibilitychange' ? document : window).addEventListener(event, () => {
      if (owner === null || document.hidden) return;
      if (Date.now() - asked > 5 * SECOND) ask();
      else wait();
    });
  }

  // The size of letters is the reader's own, not the page's.
  const STYLE = `
    :host { all: initial !important; position: fixed !important; inset: auto 1em 1em auto !important;
      z-index: 2147483647 !important; display: block !important; color-scheme: light dark !important; }
    section { box-sizing: border-box; width: min(24em, calc(100vw - 2em)); padding: 1.25em; border-radius: 12px;
      font: medium/1.5 system-ui, sans-serif; color: #1f2328; background: #fff; border: 1px solid #8b8f94;
      box-shadow: 0 12px 32px #0003; animation: rise .2s ease-out; }
    h2 { margin: 0 0 .25em; font-size: 1.125em; line-height: 1.3; }
    p { margin: 0 0 1em; overflow-wrap: anywhere; }
    span { font-variant-numeric: tabular-nums; font-weight: 600; }
    div { display: flex; flex-wrap: wrap; gap: .5em; }
    button, a { font: inherit; font-weight: 600; padding: .5em 1em; border-radius: 8px; border: 1px solid;
      color: inherit; background: none; cursor: pointer; text-decoration: none; }
    .first { color: #fff; background: #22564f; border-color: #22564f; }
    :focus-visible { outline: 3px solid #2f7fd0; outline-offset: 2px; }
    @keyframes rise { from { opacity: 0; transform: translateY(8px); } }
    @media (prefers-reduced-motion: reduce) { section { animation: none; } }
    @media (prefers-color-scheme: dark) {
      section { color: #e8e6e1; background: #1d2125; }
      .first { color: #10211f; background: #8fc7bd; border-color: #8fc7bd; }
    }`;

  begin();
})();
