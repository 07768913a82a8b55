// A browser in front of a running gateway: starts Chromium, opens visitors, signs in.
//
// Elements are found as a person finds them, by label and role; the words are gathered here.

import { chromium } from 'playwright-core';

export const USER = process.env.VESTIBULE_TEST_USER ?? 'alice';
export const PASSWORD = process.env.VESTIBULE_TEST_PASSWORD ?? 'correct horse battery staple';

export const LOGIN = '/.vestibule/login';
export const LOGOUT = '/.vestibule/logout';
export const ACCOUNT = '/.vestibule/account';

// What other browsers say they are.
export const AGENTS = {
  firefox: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
  iphone: 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) '
    + 'Version/26.0 Mobile/15E148 Safari/604.1',
};

const EXECUTABLE = process.env.VESTIBULE_TEST_CHROMIUM ?? '/usr/bin/chromium';
const ARGUMENTS = [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
];
const PATIENCE = 15_000;

export class Stage {
  constructor(browser, base, control) {
    this.browser = browser;
    this.base = base.replace(/\/$/, '');
    this.control = control?.replace(/\/$/, '');
  }

  // With `as`, the browser takes that origin for the gateway's.
  static async open(base, control, as = base) {
    const rules = as === base ? [] : [`--host-resolver-rules=MAP ${new URL(as).host} ${new URL(base).host}`];
    const browser = await chromium.launch({
      executablePath: EXECUTABLE,
      args: [...ARGUMENTS, ...rules],
      // The back button must show what a person's browser would show.
      ignoreDefaultArgs: ['--disable-back-forward-cache'],
    });
    return new Stage(browser, as, control);
  }

  // A visitor with a cookie jar of their own: one browser profile.
  async visitor(options = {}) {
    const context = await this.browser.newContext({
      baseURL: this.base,
      ignoreHTTPSErrors: true,
      ...options,
    });
    context.setDefaultTimeout(PATIENCE);
    return context;
  }

  // Moves the gateway's clock.
  async advance(seconds) {
    const answer = await fetch(`${this.control}/advance?seconds=${seconds}`, { method: 'POST' });
    if (!answer.ok) throw new Error(`the control server answers ${answer.status}`);
  }

  // What the gateway's clock shows, in milliseconds.
  async now() {
    return Number(await (await fetch(`${this.control}/now`)).text());
  }

  async close() {
    await this.browser.close();
  }
}

export const field = {
  user: (page) => page.getByLabel('User name', { exact: true }),
  password: (page) => page.getByLabel('Password', { exact: true }),
  remember: (page) => page.getByRole('checkbox', { name: 'Keep me signed in on this device' }),
  signIn: (page) => page.getByRole('button', { name: 'Sign in', exact: true }),
  signOut: (page) => page.getByRole('button', { name: 'Sign out', exact: true }),
};

// Fills the login form that `page` shows and sends it; returns the answer to the POST.
export async function submitLogin(page, { user = USER, password = PASSWORD, remember = false } = {}) {
  await field.user(page).fill(user);
  await field.password(page).fill(password);
  if (remember) await field.remember(page).check();
  const answer = page.waitForResponse((response) => response.request().method() === 'POST');
  await field.signIn(page).click();
  return answer;
}

// Plays a scene before a gateway; prints `ok` or `FAILED: why`.
export async function play(scene, base, control) {
  const stage = await Stage.open(base, control);
  try {
    await scene(stage);
    console.log('ok');
  } catch (error) {
    console.log(`FAILED: ${error.stack ?? error}`);
    process.exitCode = 1;
  } finally {
    await stage.close();
  }
}

// Goes to `path`, signs in on the way and comes back to it.
export async function signIn(page, path = '/', options = {}) {
  await page.goto(path);
  await submitLogin(page, options);
  await page.waitForURL((url) => !url.pathname.startsWith('/.vestibule/'));
}

export function pathOf(page) {
  return new URL(page.url()).pathname;
}
