// What a person does with a passkey, in a browser with an authenticator that is made of software.

import assert from 'node:assert/strict';
import { LOGIN, LOGOUT, field, pathOf, signIn, submitLogin } from './stage.mjs';

const DEVICE = {
  protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true,
  hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true,
};

export const passkeyFlows = {
  async passkey_is_made_on_the_way_and_signs_in_without_a_password(stage) {
    const { page } = await owner(stage);
    await signOut(page);
    await page.goto('/passkey#part');
    assert.equal(pathOf(page), LOGIN);
    await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
    await page.waitForURL(`${stage.base}/passkey#part`);
    await page.goto('/whoami');
    assert.equal(await page.locator('#x-user-id').textContent(), 'alice');
  },

  async passkey_is_the_second_step_after_the_password(stage) {
    const { page } = await owner(stage);
    await signOut(page);
    await page.goto('/whoami#part');
    await submitLogin(page);
    await page.getByRole('heading', { name: 'Second step' }).waitFor();
    await page.getByRole('button', { name: 'Use your passkey' }).click();
    await page.locator('#x-user-id').waitFor();
    assert.equal(page.url(), `${stage.base}/whoami#part`);
    assert.equal(await page.locator('#x-user-id').textContent(), 'alice');
  },

  async passkey_of_another_authenticator_is_refused(stage) {
    const { page, device } = await owner(stage);
    await signOut(page);
    await device.client.send('WebAuthn.removeVirtualAuthenticator', { authenticatorId: device.id });
    await authenticator(page);
    await page.goto('/whoami');
    await submitLogin(page);
    await page.getByRole('button', { name: 'Use your passkey' }).click();
    await page.getByText('Your browser did not give a passkey').waitFor();
    await page.goto('/whoami');
    assert.equal(pathOf(page), LOGIN);
  },

  async login_page_without_javascript_offers_no_passkey(stage) {
    const page = await (await stage.visitor({ javaScriptEnabled: false })).newPage();
    await page.goto('/');
    assert.equal(await page.getByRole('button', { name: 'Sign in with a passkey' }).isVisible(), false);
    assert.equal(await field.signIn(page).isVisible(), true);
  },
};

export async function authenticator(page) {
  const client = await page.context().newCDPSession(page);
  await client.send('WebAuthn.enable');
  const { authenticatorId: id } = await client.send('WebAuthn.addVirtualAuthenticator', { options: DEVICE });
  return { client, id };
}

// Somebody who was sent to make a passkey, and came through.
async function owner(stage) {
  const page = await (await stage.visitor()).newPage();
  const device = await authenticator(page);
  await signIn(page, '/');
  await page.goto('/passkey#part');
  await page.getByRole('button', { name: 'Create a passkey' }).click();
  await page.getByRole('heading', { name: 'Recovery codes' }).waitFor();
  await page.getByRole('link', { name: 'Continue' }).click();
  await page.waitForURL(`${stage.base}/passkey#part`);
  return { page, device };
}

export async function signOut(page) {
  await page.goto(LOGOUT);
  await field.signOut(page).click();
  await page.waitForURL((url) => url.pathname === LOGIN);
}
