// node screenshots.mjs BASE_URL CONTROL_URL [FOLDER [at-limit]]: takes every page a person may see, whole, in a
// desktop's and a phone's size, light and dark, into FOLDER (docs/screenshots). With `at-limit`, only those that
// a gateway shows which lets nobody have more than two sessions.
//
// Expects a user who may see `/` but not `/admin`, `/broken` to lead to a backend that is down, and `/builtin` to the
// built-in page.

import { mkdir } from 'node:fs/promises';
import { ACCOUNT, AGENTS, LOGOUT, Stage, signIn, submitLogin } from './stage.mjs';

const [base, control, folder = 'docs/screenshots', which = 'ordinary'] = process.argv.slice(2);
if (!base) {
  console.error('usage: node screenshots.mjs BASE_URL CONTROL_URL [FOLDER [at-limit]]');
  process.exit(2);
}

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const SCHEMES = ['light', 'dark'];

const ordinary = {
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
  async forbidden(stage, page) {
    await signIn(page, '/whoami');
    await page.goto('/admin');
  },
  async error(stage, page) {
    await signIn(page, '/whoami');
    await page.goto('/broken');
  },
  async builtin(stage, page) {
    await signIn(page, '/builtin');
  },
};

const atLimit = {
  async 'at-limit'(stage, page) {
    await page.goto('/whoami');
    await submitLogin(page);
  },
  async 'at-limit-again'(stage, page) {
    await page.goto('/whoami');
    await submitLogin(page);
    await page.getByRole('button', { name: 'Sign out there and continue' }).click();
    await page.getByRole('alert').waitFor();
  },
};

// On a telephone first, and some minutes later at a desk.
async function signInElsewhere(stage) {
  for (const userAgent of [AGENTS.iphone, AGENTS.firefox]) {
    const visitor = await stage.visitor({ userAgent });
    await signIn(await visitor.newPage(), '/whoami');
    await visitor.close();
    await stage.advance(4 * 60);
  }
}

const pages = which === 'at-limit' ? atLimit : ordinary;
await mkdir(folder, { recursive: true });
const stage = await Stage.open(base, control, 'https://wiki.example.com');
try {
  if (which === 'at-limit') await signInElsewhere(stage);
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of SCHEMES) {
      for (const [name, reach] of Object.entries(pages)) {
        const visitor = await stage.visitor({ viewport, colorScheme });
        const page = await visitor.newPage();
        await reach(stage, page);
        await page.evaluate(() => document.activeElement?.blur());
        const path = `${folder}/${name}-${size}-${colorScheme}.png`;
        await page.screenshot({ path, fullPage: true });
        console.log(path);
        await visitor.close();
      }
    }
  }
} finally {
  await stage.close();
}
