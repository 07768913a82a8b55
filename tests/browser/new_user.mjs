// node new_user.mjs STEP BASE_URL: what somebody does who has just begun, in a browser with an authenticator that is
// made of software; prints `ok` or `FAILED: why`. Who they are stands in VESTIBULE_TEST_USER and VESTIBULE_TEST_PASSWORD.

import assert from 'node:assert/strict';
import { authenticator, signOut } from './passkeys.mjs';
import { LOGIN, pathOf, play, signIn, submitLogin } from './stage.mjs';

const steps = {
  // The application is there, behind a login.
  async sign_in(stage) {
    const page = await (await stage.visitor()).newPage();
    await page.goto('/');
    assert.equal(pathOf(page), LOGIN);
    await submitLogin(page);
    await page.waitForURL((url) => url.pathname === '/');
    assert.equal(await page.locator('body').textContent(), 'hello');
  },

  // A passkey is made on the way to what demands one, and is then enough.
  async passkey(stage) {
    const page = await (await stage.visitor()).newPage();
    await authenticator(page);
    await signIn(page, '/');
    await page.goto('/vault');
    await page.getByRole('button', { name: 'Create a passkey' }).click();
    await page.getByRole('heading', { name: 'Recovery codes' }).waitFor();
    await page.getByRole('link', { name: 'Continue' }).click();
    await page.waitForURL((url) => url.pathname === '/vault');
    assert.equal(await page.locator('body').textContent(), 'hello');
    await signOut(page);
    await page.goto('/vault');
    await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
    await page.waitForURL((url) => url.pathname === '/vault');
    assert.equal(await page.locator('body').textContent(), 'hello');
  },
};

const [step, base] = process.argv.slice(2);
await play(steps[step], base);
