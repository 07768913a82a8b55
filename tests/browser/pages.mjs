// Every page that a person may see, and how they come to see it; and what must hold on each.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { ACCOUNT, AGENTS, LOGIN, LOGOUT, field, pathOf, signIn, submitLogin } from './stage.mjs';

const FACTORS = `${ACCOUNT}/factors`;

// In the order in which they are visited: bob has a second factor from `codes` on.
export const pages = {
  async login(stage, page) {
    await page.goto('/whoami');
  },
  async 'login-error'(stage, page) {
    await page.goto('/whoami');
    await submitLogin(page, { password: 'not the password' });
    await page.getByRole('alert').waitFor();
  },
  async 'login-expired'(stage, page) {
    await signIn(page, '/whoami');
    await stage.advance(31 * 60);
    await page.goto('/whoami');
    await page.getByText(/expired/i).first().waitFor();
  },
  async switch(stage, page) {
    await signIn(page, '/whoami');
    await page.goto(LOGIN);
  },
  async logout(stage, page) {
    await signIn(page, '/whoami');
    await page.goto(LOGOUT);
  },
  async account(stage, page) {
    await signIn(page, '/whoami');
    await page.goto(ACCOUNT);
    const others = page.getByRole('button', { name: 'Sign out everywhere else' });
    if (await others.count()) await others.click();
    await signInElsewhere(stage);
    await page.goto(ACCOUNT);
  },
  async password(stage, page) {
    await signIn(page, '/whoami');
    await page.goto(`${ACCOUNT}/password`);
  },
  async 'password-error'(stage, page) {
    await pages.password(stage, page);
    await page.getByLabel('New password').fill('short');
    await page.getByLabel('The same again').fill('short');
    await page.getByRole('button', { name: 'Save the new password' }).click();
    await page.getByRole('alert').waitFor();
  },
  async 'factors-none'(stage, page) {
    await signIn(page, '/whoami');
    await page.goto(FACTORS);
  },
  async totp(stage, page) {
    await signIn(page, '/whoami');
    await page.goto(`${FACTORS}/totp`);
  },
  async codes(stage, page) {
    await signInAsBob(stage, page);
    if (stage.secret) {
      await page.goto(FACTORS);
      await page.getByRole('button', { name: 'Make new recovery codes' }).click();
    } else {
      await page.goto(`${FACTORS}/totp`);
      stage.secret = (await page.locator('.key').textContent()).replaceAll(' ', '');
      await page.getByLabel('Code that the app shows now').fill(await code(stage));
      await page.getByRole('button', { name: 'Turn on' }).click();
    }
    await page.getByRole('heading', { name: 'Recovery codes' }).waitFor();
  },
  async factor(stage, page) {
    await page.goto('/whoami');
    await submitLogin(page, { user: 'bob' });
    await page.getByRole('heading', { name: 'Second step' }).waitFor();
  },
  async 'factor-error'(stage, page) {
    await pages.factor(stage, page);
    await page.getByLabel('Code', { exact: true }).fill('000000');
    await field.signIn(page).first().click();
    await page.getByRole('alert').waitFor();
    await stage.advance(3_600);
  },
  async confirm(stage, page) {
    await signInAsBob(stage, page);
    await page.goto('/.vestibule/confirm?for=fresh&next=/whoami');
  },
  async factors(stage, page) {
    await signInAsBob(stage, page);
    await page.goto(FACTORS);
  },
  async continue(stage, page) {
    await signIn(page, '/form');
    await page.getByLabel('Note').fill('milk');
    await stage.advance(2 * 3_600);
    await page.getByRole('button', { name: 'Save note' }).click();
    await page.waitForURL((url) => url.pathname === LOGIN);
    await submitLogin(page);
    await page.getByRole('heading', { name: 'Continue sending?' }).waitFor();
  },
  async 'continue-gone'(stage, page) {
    await signIn(page, '/whoami');
    await page.goto('/.vestibule/continue?id=none');
  },
  async reset(stage, page) {
    await page.goto(process.env.VESTIBULE_TEST_RESET);
    await page.getByLabel('New password').waitFor();
  },
  async 'reset-dead'(stage, page) {
    await page.goto('/.vestibule/reset?token=none');
  },
  async forbidden(stage, page) {
    await signIn(page, '/whoami');
    await page.goto('/admin');
  },
  async explanation(stage, page) {
    await page.goto('/admin');
    await submitLogin(page, { user: 'dora' });
    await page.getByRole('link', { name: 'Why? For administrators' }).click();
    await page.getByRole('heading', { name: 'Why this was decided so' }).waitFor();
  },
  async 'explanation-gone'(stage, page) {
    await page.goto('/.vestibule/explain/none');
    await submitLogin(page, { user: 'dora' });
    await page.getByText('Nothing is known of this request').waitFor();
  },
  async done(stage, page) {
    await page.goto('/.vestibule/login/done');
    await submitLogin(page);
    await page.getByRole('heading', { name: 'You are signed in again' }).waitFor();
  },
  async error(stage, page) {
    await signIn(page, '/whoami');
    await page.goto('/broken');
  },
  async missing(stage, page) {
    await page.goto('/.vestibule/none');
  },
  async maintenance(stage, page) {
    await page.goto('/works');
  },
  async builtin(stage, page) {
    await signIn(page, '/builtin');
  },
};

export const pagesAtTheLimit = {
  async 'at-limit'(stage, page) {
    if (!stage.isFull) await signInElsewhere(stage);
    stage.isFull = true;
    await page.goto('/whoami');
    await submitLogin(page);
  },
  async 'at-limit-again'(stage, page) {
    await pagesAtTheLimit['at-limit'](stage, page);
    await page.getByRole('button', { name: 'Sign out there and continue' }).click();
    await page.getByRole('alert').waitFor();
  },
};

// Where the program has passkeys.
export const pagesOfPasskeys = {
  async 'login-passkey'(stage, page) {
    await page.goto('/whoami');
    await page.getByRole('button', { name: 'Sign in with a passkey' }).waitFor();
  },
  async passkey(stage, page) {
    await signIn(page, '/whoami');
    await page.goto(`${FACTORS}/passkey`);
    await page.getByRole('button', { name: 'Create a passkey' }).waitFor();
  },
};

// The pages as they look with JavaScript; nothing on them that a screen reader, a keyboard or weak eyes would
// stumble over; and never more than 30 KiB.
export const pageFlows = {
  async every_page_is_accessible_and_small_and_leads_on(stage) {
    await check(stage, pages);
  },
  async pages_at_the_limit_are_accessible_and_small_and_lead_on(stage) {
    await check(stage, pagesAtTheLimit);
  },
  async pages_of_passkeys_are_accessible_and_small_and_lead_on(stage) {
    await check(stage, pagesOfPasskeys);
  },
  async every_page_works_without_javascript(stage) {
    for (const [name, reach] of Object.entries(pages)) {
      const visitor = await stage.visitor({ javaScriptEnabled: false });
      const page = await visitor.newPage();
      await reach(stage, page);
      assert.ok(await waysOn(page) > 0, `${name} is a dead end without JavaScript`);
      await visitor.close();
    }
  },
  // The page is in the visitor's language as soon as their browser says so, and says it itself.
  async login_page_speaks_six_languages(stage) {
    const titles = {
      'en-GB': 'Sign in', 'de-AT': 'Anmelden', 'fr-CA': 'Se connecter', 'es-MX': 'Iniciar sesión',
      'zh-CN': '登录', 'ja-JP': 'サインイン',
    };
    for (const [locale, title] of Object.entries(titles)) {
      const visitor = await stage.visitor({ locale, viewport: PHONE });
      const page = await visitor.newPage();
      await page.goto('/whoami');
      await page.getByRole('heading', { name: title }).waitFor();
      const language = await page.locator('html').getAttribute('lang');
      assert.equal(language.slice(0, 2), locale.slice(0, 2));
      assert.deepEqual(await complaints(page), [], locale);
      assert.equal(await scrollsSideways(page), false, `${locale} scrolls sideways`);
      await visitor.close();
    }
  },
};

export const PHONE = { width: 390, height: 844 };

const LARGEST = 30 * 1024;

const axe = readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

async function check(stage, reaches) {
  for (const [name, reach] of Object.entries(reaches)) {
    const visitor = await stage.visitor({ viewport: PHONE });
    const page = await visitor.newPage();
    await reach(stage, page);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      assert.deepEqual(await complaints(page), [], `${name}, ${colorScheme}`);
    }
    assert.equal(await scrollsSideways(page), false, `${name} scrolls sideways`);
    assert.ok(await waysOn(page) > 0, `${name} is a dead end`);
    const weight = await weigh(page);
    assert.ok(weight < LARGEST, `${name} weighs ${weight} bytes`);
    await visitor.close();
  }
}

// What axe-core finds on a page, or in a part of it.
export async function complaints(page, part = 'html') {
  await page.evaluate(await axe);
  const { violations } = await page.evaluate((selector) => window.axe.run(selector), part);
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
}

function scrollsSideways(page) {
  return page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
}

// Links and buttons that can be seen.
function waysOn(page) {
  return page.locator('main').locator('a[href]:visible, button:visible').count();
}

// The page with all that it loads, in bytes.
async function weigh(page) {
  const files = await page.evaluate(() => [...document.querySelectorAll('link[href], script[src], img[src]')]
    .map((element) => element.href ?? element.src));
  const bodies = await Promise.all([...new Set(files)].map(async (file) => (await page.request.get(file)).body()));
  const html = Buffer.byteLength(await page.content());
  return bodies.reduce((sum, body) => sum + body.length, html);
}

async function signInAsBob(stage, page) {
  await page.goto('/whoami');
  await submitLogin(page, { user: 'bob' });
  if (stage.secret) {
    await page.getByLabel('Code', { exact: true }).fill(await code(stage));
    await field.signIn(page).first().click();
  }
  await page.waitForURL((url) => url.pathname === '/whoami');
  assert.equal(pathOf(page), '/whoami');
}

// On a telephone first, and some minutes later at a desk.
async function signInElsewhere(stage) {
  for (const userAgent of [AGENTS.iphone, AGENTS.firefox]) {
    const visitor = await stage.visitor({ userAgent });
    await signIn(await visitor.newPage(), '/whoami');
    await visitor.close();
    await stage.advance(4 * 60);
  }
}

// The next code of bob's application (RFC 6238); none serves twice.
async function code(stage) {
  await stage.advance(30);
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(await stage.now() / 30_000)));
  const mac = createHmac('sha1', fromBase32(stage.secret)).update(counter).digest();
  const number = mac.readUInt32BE(mac[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}

function fromBase32(letters) {
  const bits = [...letters].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'));
  return Buffer.from(bits.join('').match(/.{8}/g).map((byte) => parseInt(byte, 2)));
}
