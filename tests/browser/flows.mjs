// What a person does in a browser, one function a flow; each throws when the gateway disappoints.

import assert from 'node:assert/strict';
import { ACCOUNT, AGENTS, LOGIN, LOGOUT, PASSWORD, USER, field, pathOf, signIn, submitLogin } from './stage.mjs';

const COOKIE = '__Host-vestibule';
const DAY = 86_400;

export const flows = {
  // A page asks for a login and comes back to the same path and query, byte for byte.
  async redirect_to_login_and_back(stage) {
    const target = '/page/a%20b/%C3%BC?q=1&space=%20&plus=a+b&q=2&slash=%2F&empty=&percent=%25';
    const page = await (await stage.visitor()).newPage();
    const response = await page.goto(target);
    assert.equal(response.status(), 200);
    const first = response.request().redirectedFrom();
    assert.ok(first, 'the first answer is a redirect');
    assert.equal((await first.response()).status(), 303);
    assert.equal(pathOf(page), LOGIN);
    await submitLogin(page);
    await page.locator('#target').waitFor();
    assert.equal(await page.locator('#target').textContent(), target);
    assert.equal(page.url(), stage.base + target);
  },

  async login_shows_the_page_with_the_user(stage) {
    const page = await (await stage.visitor()).newPage();
    await signIn(page, '/');
    assert.equal(await page.locator('#user').textContent(), USER);
    await page.getByRole('link', { name: 'Who am I' }).click();
    await page.locator('#x-user-id').waitFor();
    assert.equal(await page.locator('#x-user-id').textContent(), USER);
  },

  // Nothing but the keyboard: the user's name has the focus, Enter sends the form.
  async login_by_keyboard_alone(stage) {
    const page = await (await stage.visitor()).newPage();
    await page.goto('/');
    assert.equal(await field.user(page).evaluate((element) => element === document.activeElement), true);
    await page.keyboard.type(USER);
    await page.keyboard.press('Tab');
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press('Enter');
    await page.locator('#user').waitFor();
    assert.equal(await page.locator('#user').textContent(), USER);
  },

  async second_tab_is_signed_in(stage) {
    const visitor = await stage.visitor();
    await signIn(await visitor.newPage(), '/');
    const second = await visitor.newPage();
    await second.goto('/whoami');
    assert.equal(await second.locator('#x-user-id').textContent(), USER);
  },

  async another_browser_is_not_signed_in(stage) {
    await signIn(await (await stage.visitor()).newPage(), '/');
    const other = await (await stage.visitor()).newPage();
    await other.goto('/');
    assert.equal(pathOf(other), LOGIN);
  },

  async logout_ends_the_session_in_every_tab(stage) {
    const visitor = await stage.visitor();
    const first = await visitor.newPage();
    await signIn(first, '/');
    const second = await visitor.newPage();
    await second.goto('/whoami');
    await first.goto(LOGOUT);
    assert.ok(await cookie(visitor), 'GET asks and ends nothing');
    await pressSignOut(first);
    await second.reload();
    assert.equal(pathOf(second), LOGIN);
    assert.equal(await cookie(visitor), undefined, 'the cookie is cleared');
  },

  async back_button_after_logout_shows_nothing(stage) {
    const visitor = await stage.visitor();
    const page = await visitor.newPage();
    await signIn(page, '/whoami');
    assert.equal(await page.locator('#x-user-id').textContent(), USER);
    await page.goto(LOGOUT);
    await pressSignOut(page);
    await backTo(page, '/whoami');
    const shown = await page.locator('#x-user-id').textContent({ timeout: 1_000 }).catch(() => '');
    assert.notEqual(shown, USER, 'the page of before is shown again');
    await page.goto('/whoami');
    assert.equal(pathOf(page), LOGIN);
  },

  async wrong_password_says_so_and_keeps_the_name(stage) {
    const visitor = await stage.visitor();
    const page = await visitor.newPage();
    await page.goto('/whoami?a=b');
    const answer = await submitLogin(page, { password: 'not the password' });
    assert.equal(answer.status(), 401);
    await page.getByRole('alert').waitFor();
    assert.match(await page.getByRole('alert').textContent(), /user name or password/i);
    assert.equal(await field.user(page).inputValue(), USER);
    assert.equal(await field.password(page).inputValue(), '');
    assert.equal(await cookie(visitor), undefined);
    await submitLogin(page);
    await page.locator('#x-user-id').waitFor();
    assert.equal(page.url(), `${stage.base}/whoami?a=b`);
  },

  async unknown_user_gets_the_answer_of_a_wrong_password(stage) {
    const texts = [];
    for (const user of [USER, 'nobody-of-that-name']) {
      const page = await (await stage.visitor()).newPage();
      await page.goto('/');
      const answer = await submitLogin(page, { user, password: 'not the password' });
      assert.equal(answer.status(), 401);
      texts.push(await page.getByRole('alert').textContent());
    }
    assert.equal(texts[0], texts[1]);
  },

  async expired_session_says_so_on_the_login_page(stage) {
    const page = await (await stage.visitor()).newPage();
    await signIn(page, '/whoami');
    await stage.advance(31 * 60);
    await page.goto('/whoami');
    assert.equal(pathOf(page), LOGIN);
    await page.getByText(/expired/i).first().waitFor();
    await submitLogin(page);
    await page.locator('#x-user-id').waitFor();
    assert.equal(pathOf(page), '/whoami');
  },

  async remembered_session_survives_a_browser_restart(stage) {
    const visitor = await stage.visitor();
    await signIn(await visitor.newPage(), '/', { remember: true });
    const days = ((await cookie(visitor)).expires - Date.now() / 1000) / DAY;
    assert.ok(days > 20 && days <= 400, `the cookie lives ${days} days`);
    const restarted = await stage.visitor({ storageState: await kept(visitor) });
    const page = await restarted.newPage();
    await page.goto('/whoami');
    assert.equal(await page.locator('#x-user-id').textContent(), USER);
  },

  async other_sessions_end_with_the_browser(stage) {
    const visitor = await stage.visitor();
    await signIn(await visitor.newPage(), '/');
    const found = await cookie(visitor);
    assert.equal(found.expires, -1);
    assert.deepEqual(
      [found.httpOnly, found.secure, found.sameSite, found.path], [true, true, 'Lax', '/']);
    const restarted = await stage.visitor({ storageState: await kept(visitor) });
    const page = await restarted.newPage();
    await page.goto('/whoami');
    assert.equal(pathOf(page), LOGIN);
  },

  async login_and_logout_without_javascript(stage) {
    const visitor = await stage.visitor({ javaScriptEnabled: false });
    const page = await visitor.newPage();
    await signIn(page, '/whoami');
    assert.equal(await page.locator('#x-user-id').textContent(), USER);
    await page.goto(LOGOUT);
    await pressSignOut(page);
    await page.goto('/whoami');
    assert.equal(pathOf(page), LOGIN);
  },

  // The old application checks token and Referer of its form, over a session cookie of its own.
  async form_of_the_application_passes(stage) {
    const page = await (await stage.visitor()).newPage();
    await signIn(page, '/form');
    await page.getByLabel('Note').fill('milk & bread');
    await page.getByRole('button', { name: 'Save note' }).click();
    await page.locator('#note').getByText('milk & bread').waitFor();
    assert.equal(await page.locator('body').getAttribute('data-script'), 'ran', 'its inline script runs');
  },

  // What was typed before the session expired is kept, offered, and sent by one press.
  async form_of_an_expired_session_goes_on_after_the_login(stage) {
    const page = await (await stage.visitor()).newPage();
    await signIn(page, '/form');
    await page.getByLabel('Note').fill('milk & bread\u00fc');
    await stage.advance(2 * 3_600);
    await page.getByRole('button', { name: 'Save note' }).click();
    await page.waitForURL((url) => url.pathname === LOGIN);
    await submitLogin(page);
    await page.getByRole('heading', { name: 'Continue sending?' }).waitFor();
    await page.getByRole('button', { name: 'Continue sending' }).click();
    await page.locator('#note').getByText('milk & bread\u00fc').waitFor();
    assert.equal(pathOf(page), '/form');
  },

  async websocket_from_the_page_is_echoed(stage) {
    const page = await (await stage.visitor()).newPage();
    await signIn(page, '/socket');
    await page.locator('#said').getByText('hello').waitFor();
    assert.equal(await page.locator('#state').textContent(), 'open');
  },

  // A script gets an answer that it can read, never a login page in the place of its data.
  async fetch_without_a_session_gets_json(stage) {
    const visitor = await stage.visitor();
    const page = await visitor.newPage();
    await signIn(page, '/');
    await visitor.clearCookies({ name: COOKIE });
    const answer = await page.evaluate(async () => {
      const response = await fetch('/headers');
      return {
        status: response.status,
        redirected: response.redirected,
        type: response.headers.get('content-type'),
        challenge: response.headers.get('www-authenticate'),
        body: await response.json(),
      };
    });
    assert.equal(answer.status, 401);
    assert.equal(answer.redirected, false);
    assert.match(answer.type, /^application\/json/);
    assert.ok(answer.challenge);
    assert.ok(answer.body.error);
    assert.ok(answer.body.login_url.startsWith(LOGIN) || answer.body.login_url.startsWith(stage.base + LOGIN));
  },

  // Our own pages break none of their own rules: nothing is blocked by their CSP, no error is logged.
  async own_pages_load_without_a_complaint(stage) {
    const visitor = await stage.visitor();
    const complaints = [];
    const look = async (path) => {
      const page = await visitor.newPage();
      page.on('console', (message) => complaints.push(`${path}: ${message.text()}`));
      page.on('pageerror', (error) => complaints.push(`${path}: ${error}`));
      const response = await page.goto(path, { waitUntil: 'networkidle' });
      assert.equal(response.status(), 200, path);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
      assert.equal(wide, false, `${path} scrolls sideways`);
    };
    await look(LOGIN);
    await signIn(await visitor.newPage(), '/whoami');
    for (const path of [LOGIN, LOGOUT, ACCOUNT]) await look(path);
    assert.deepEqual(complaints, []);
  },

  // The other browser is named, its session ends, and this one goes on.
  async another_session_is_ended_on_the_account_page(stage) {
    const other = await (await stage.visitor({ userAgent: AGENTS.iphone })).newPage();
    await signIn(other, '/whoami');
    const page = await (await stage.visitor({ userAgent: AGENTS.firefox })).newPage();
    await signIn(page, '/whoami');
    await page.goto(ACCOUNT);
    const sessions = page.getByRole('region', { name: 'Where you are signed in' }).getByRole('listitem');
    assert.equal(await sessions.count(), 2);
    assert.match(await sessions.filter({ hasText: 'Firefox on Linux' }).textContent(), /This device/);
    await page.getByRole('button', { name: /^Sign out: Safari on iPhone/ }).click();
    await page.getByRole('status').waitFor();
    assert.equal(await sessions.count(), 1);
    await other.reload();
    assert.equal(pathOf(other), LOGIN);
    await page.goto('/whoami');
    assert.equal(await page.locator('#x-user-id').textContent(), USER);
  },

  // Two sessions are allowed: the third login asks which of them to end, and goes on to its page.
  async too_many_sessions_are_chosen_from_without_javascript(stage) {
    const [phone, desk] = [
      await (await stage.visitor({ userAgent: AGENTS.iphone })).newPage(),
      await (await stage.visitor({ userAgent: AGENTS.firefox })).newPage(),
    ];
    for (const page of [phone, desk]) await signIn(page, '/whoami');
    const visitor = await stage.visitor({ javaScriptEnabled: false });
    const page = await visitor.newPage();
    await page.goto('/whoami?a=b');
    assert.equal((await submitLogin(page)).status(), 200);
    const choice = page.getByRole('group', { name: 'You are signed in on' }).getByRole('checkbox');
    assert.equal(await choice.count(), 2);
    assert.equal(await cookie(visitor), undefined, 'nobody is signed in yet');
    await goOn(page);
    await page.getByRole('alert').waitFor();
    await page.getByRole('checkbox', { name: 'Safari on iPhone' }).check();
    await goOn(page);
    assert.equal(page.url(), `${stage.base}/whoami?a=b`);
    assert.equal(await page.locator('#x-user-id').textContent(), USER);
    await phone.reload();
    assert.equal(pathOf(phone), LOGIN);
    await desk.reload();
    assert.equal(await desk.locator('#x-user-id').textContent(), USER);
  },
};

async function goOn(page) {
  await Promise.all([
    page.waitForEvent('load'),
    page.getByRole('button', { name: 'Sign out there and continue' }).click(),
  ]);
}

async function pressSignOut(page) {
  const answer = page.waitForResponse((response) => response.request().method() === 'POST');
  await field.signOut(page).click();
  await answer;
  await page.waitForLoadState();
}

async function cookie(visitor) {
  return (await visitor.cookies()).find(({ name }) => name === COOKIE);
}

// What is left of a profile once its browser was closed: the cookies that have an expiry.
async function kept(visitor) {
  const state = await visitor.storageState();
  return { ...state, cookies: state.cookies.filter(({ expires }) => expires !== -1) };
}

async function backTo(page, path) {
  for (let steps = 0; steps < 4; steps += 1) {
    await page.goBack().catch(() => {});
    if (pathOf(page) === path || pathOf(page) === LOGIN) return;
  }
}
